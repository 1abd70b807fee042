//! A connection that is made again for ever. Each new connection is a generation: what a lost Redis may have forgotten
//! is written again when the generation changes.

use crate::failures::Unavailable;
use crate::plane::{Connection, OnPush, Plane, REPLY_WITHIN};
use redis::{Cmd, PushInfo, PushKind, RedisError, RetryMethod};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::watch;

/// Locks a mutex; a panic of another thread changes nothing about what it protects.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a link reports: pushes of the server, and each new connection but the first.
pub(crate) trait Listener: Send + Sync + 'static {
    fn pushed(&self, push: &PushInfo);
    fn reconnected(&self);
}

#[derive(Clone)]
pub(crate) struct Up {
    pub connection: Connection,
    pub generation: u64,
}

#[derive(Clone)]
enum State {
    Down,
    Up(Up),
    Closed,
}

#[derive(Clone)]
pub(crate) struct Link(Arc<Inner>);

struct Inner {
    plane: Plane,
    handle: Handle,
    listener: Weak<dyn Listener>,
    state: watch::Sender<State>,
    is_connecting: Mutex<bool>,
    generation: AtomicU64,
    last_error: Mutex<String>,
}

impl Link {
    pub fn new(plane: Plane, handle: Handle, listener: Weak<dyn Listener>) -> Self {
        Self(Arc::new(Inner {
            plane,
            handle,
            listener,
            state: watch::Sender::new(State::Down),
            is_connecting: Mutex::new(false),
            generation: AtomicU64::new(0),
            last_error: Mutex::default(),
        }))
    }

    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// The connection, if there is one now.
    pub fn now(&self) -> Option<Up> {
        match &*self.0.state.borrow() {
            State::Up(up) => Some(up.clone()),
            _ => None,
        }
    }

    /// The connection, once there is one. None after `close`.
    pub async fn up(&self) -> Option<Up> {
        if let Some(up) = self.now() {
            return Some(up);
        }
        self.0.connect_if_down();
        let mut states = self.0.state.subscribe();
        let state = states.wait_for(|it| !matches!(it, State::Down)).await;
        match state.as_deref() {
            Ok(State::Up(up)) => Some(up.clone()),
            _ => None,
        }
    }

    /// Reports an error of a command on that generation. Returns whether the command may be repeated.
    pub fn failed(&self, generation: u64, error: &RedisError) -> bool {
        let is_passing = is_passing(error);
        if is_passing {
            *lock(&self.0.last_error) = error.to_string();
        }
        if is_passing && !is_waiting(error) {
            self.0.lost(generation);
        }
        is_passing
    }

    /// Whether the server of `key` answers, within `within`.
    pub async fn ping(&self, key: &str, within: Duration) -> Result<(), Unavailable> {
        let ping = async {
            let Some(mut up) = self.up().await else { return Err(Unavailable::closed()) };
            let command: Cmd = redis::cmd("PING");
            up.connection.run_at(key, &command).await.map(drop).map_err(|problem| {
                if self.failed(up.generation, &problem) {
                    Unavailable::away(&problem.to_string())
                } else {
                    Unavailable::refused(&problem.to_string())
                }
            })
        };
        tokio::time::timeout(within, ping).await.unwrap_or_else(|_| Err(self.away()))
    }

    pub fn away(&self) -> Unavailable {
        Unavailable::away(&lock(&self.0.last_error))
    }

    pub fn reconnects(&self) -> u64 {
        self.0.generation.load(Ordering::Relaxed).saturating_sub(1)
    }

    pub fn close(&self) {
        self.0.state.send_replace(State::Closed);
    }
}

impl Inner {
    fn connect_if_down(self: &Arc<Self>) {
        let mut is_connecting = lock(&self.is_connecting);
        if !*is_connecting && matches!(*self.state.borrow(), State::Down) {
            *is_connecting = true;
            self.handle.spawn(connect(Arc::downgrade(self)));
        }
    }

    fn lost(self: &Arc<Self>, generation: u64) {
        let is_lost = self.state.send_if_modified(|state| {
            let is_that = matches!(state, State::Up(up) if up.generation == generation);
            if is_that {
                *state = State::Down;
            }
            is_that
        });
        if is_lost {
            note!("a connection to Redis is lost; it is made again");
            self.connect_if_down();
        }
    }

    fn connected(self: &Arc<Self>, connection: Connection, generation: u64) {
        let mut is_connecting = lock(&self.is_connecting);
        *is_connecting = false;
        self.state.send_if_modified(|state| {
            let is_down = matches!(state, State::Down);
            if is_down {
                *state = State::Up(Up { connection, generation });
            }
            is_down
        });
        drop(is_connecting);
        if let Some(listener) = self.listener.upgrade().filter(|_| generation > 1) {
            listener.reconnected();
        }
    }

    fn on_push(self: &Arc<Self>, generation: u64) -> OnPush {
        let (link, listener) = (Arc::downgrade(self), self.listener.clone());
        Arc::new(move |push| {
            if push.kind == PushKind::Disconnection {
                if let Some(link) = link.upgrade() {
                    link.lost(generation);
                }
            } else if let Some(listener) = listener.upgrade() {
                listener.pushed(&push);
            }
        })
    }
}

/// Connects until it succeeds, or nobody needs the link any more.
async fn connect(link: Weak<Inner>) {
    let mut failures = 0;
    loop {
        let Some(link) = link.upgrade().filter(|it| !matches!(*it.state.borrow(), State::Closed)) else { return };
        let generation = link.generation.load(Ordering::Relaxed) + 1;
        match link.plane.connect(REPLY_WITHIN, Some(link.on_push(generation))).await {
            Ok(connection) => {
                link.generation.store(generation, Ordering::Relaxed);
                return link.connected(connection, generation);
            }
            Err(problem) => {
                if failures == 0 {
                    note!("no connection to Redis, which is tried for ever: {problem}");
                }
                *lock(&link.last_error) = problem.to_string();
            }
        }
        drop(link);
        tokio::time::sleep(backoff(failures)).await;
        failures += 1;
    }
}

/// Doubles from 50 ms to 1 s, times a random 0.5 to 1: many clients do not come back at one moment.
pub(crate) fn backoff(failures: u32) -> Duration {
    let whole = Duration::from_millis(50 << failures.min(5)).min(Duration::from_secs(1));
    let share = getrandom::u32().unwrap_or(u32::MAX) as f64 / f64::from(u32::MAX);
    whole.mul_f64(0.5 + share / 2.0)
}

/// Whether the same command may succeed later. Refusals (OOM, NOPERM, a key of another type) do not pass.
pub(crate) fn is_passing(error: &RedisError) -> bool {
    error.is_io_error()
        || error.is_timeout()
        || codes(error).iter().any(|it| PASSING.contains(&it.as_str()))
        || !matches!(error.retry_method(), RetryMethod::NoRetry)
}

/// The server answered and needs time: a new connection would not help.
fn is_waiting(error: &RedisError) -> bool {
    codes(error).iter().any(|it| WAITING.contains(&it.as_str()))
}

const PASSING: [&str; 12] = [
    "MISCONF",
    "LOADING",
    "CLUSTERDOWN",
    "MASTERDOWN",
    "TRYAGAIN",
    "BUSY",
    "NOREPLICAS",
    "READONLY",
    "MOVED",
    "ASK",
    "NOAUTH",
    "UNBLOCKED",
];
const WAITING: [&str; 7] = ["LOADING", "CLUSTERDOWN", "MASTERDOWN", "TRYAGAIN", "BUSY", "NOREPLICAS", "MISCONF"];

/// The codes of the replies: of a transaction those of its commands.
fn codes(error: &RedisError) -> Vec<String> {
    let own = error.code().map(str::to_string);
    let inner = error.clone().into_server_errors();
    own.into_iter().chain(inner.iter().flat_map(|it| it.iter()).map(|(_, it)| it.code().to_string())).collect()
}

/// An XADD was refused because its ID is not above the last one: it is there already, or a later one is.
pub(crate) fn is_not_above(error: &RedisError) -> bool {
    error.to_string().contains("equal or smaller")
}
