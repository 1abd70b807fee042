//! A WebSocket with at most one message on its way, so that a stop has little to overtake.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::time::{Instant, sleep, timeout};

/// How long a client may take nothing while a message waits for it.
const STALLED: Duration = Duration::from_secs(60);
/// A ping in the silence finds connections that are gone.
const SILENCE: Duration = Duration::from_secs(30);
/// How long a client may take to close.
const CLOSING: Duration = Duration::from_secs(5);
/// How long a connection lives on behind bytes that are not read any more: closed earlier, it is reset, and the client
/// may lose the status.
const LINGER: Duration = Duration::from_secs(1);

/// Why a socket is closed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Close {
    /// The client closed it, or the connection is gone.
    Gone,
    ShuttingDown,
    TooSlow,
    TooLarge,
    NotUtf8,
    NotWebSocket,
}

impl Close {
    fn frame(self) -> Option<CloseFrame> {
        let (code, reason) = match self {
            Self::Gone => return None,
            Self::ShuttingDown => (1001, "the relay is shutting down; connect again"),
            Self::NotWebSocket => (1002, "a frame breaks the WebSocket protocol"),
            Self::NotUtf8 => (1007, "a text frame is not UTF-8"),
            Self::TooSlow => (1008, "nothing was read for 60 s"),
            Self::TooLarge => (1009, "a message has more than 1 MiB"),
        };
        Some(CloseFrame { code, reason: reason.into() })
    }

    /// The error's type is tungstenite's, which axum does not export.
    fn of(error: &axum::Error) -> Self {
        use std::error::Error as _;
        let text = error.to_string();
        let is_io = std::iter::successors(error.source(), |&it| it.source()).any(|it| it.is::<std::io::Error>());
        match () {
            () if text.contains("too long") => Self::TooLarge,
            () if text.contains("UTF-8") => Self::NotUtf8,
            () if is_io || text.contains("closing handshake") => Self::Gone,
            () => Self::NotWebSocket,
        }
    }
}

pub(super) enum Turn {
    /// The message that was on its way is sent.
    Sent,
    Received(Message),
    /// Nothing was sent to the client for a while.
    Silent,
    Over(Close),
}

pub(super) struct Wire {
    socket: WebSocket,
    is_sending: bool,
    /// When the last message was given to the socket, or was sent.
    since: Instant,
}

impl Wire {
    pub fn new(socket: WebSocket) -> Self {
        Self { socket, is_sending: false, since: Instant::now() }
    }

    pub fn is_sending(&self) -> bool {
        self.is_sending
    }

    /// Begins to send. An error shows in the next turn.
    pub fn send(&mut self, message: Message) {
        let _ = self.socket.start_send_unpin(message);
        (self.is_sending, self.since) = (true, Instant::now());
    }

    /// The next thing that happens; it may be dropped and called again.
    pub async fn turn(&mut self, may_read: bool) -> Turn {
        let limit = if self.is_sending { STALLED } else { SILENCE };
        let until = self.since + limit;
        tokio::select! {
            turn = self.traffic(may_read) => turn,
            () = tokio::time::sleep_until(until) => if limit == STALLED { Turn::Over(Close::TooSlow) } else { Turn::Silent },
        }
    }

    async fn traffic(&mut self, may_read: bool) -> Turn {
        poll_fn(|context| {
            if self.is_sending
                && let Poll::Ready(flushed) = self.socket.poll_flush_unpin(context)
            {
                (self.is_sending, self.since) = (false, Instant::now());
                return Poll::Ready(flushed.map_or_else(|it| Turn::Over(Close::of(&it)), |()| Turn::Sent));
            }
            if may_read && let Poll::Ready(received) = self.socket.poll_next_unpin(context) {
                return Poll::Ready(match received {
                    Some(Ok(Message::Close(_))) | None => Turn::Over(Close::Gone),
                    Some(Ok(message)) => Turn::Received(message),
                    Some(Err(problem)) => Turn::Over(Close::of(&problem)),
                });
            }
            Poll::Pending
        })
        .await
    }

    /// Sends the status and waits for the client's.
    pub async fn close(mut self, close: Close) {
        let farewell = async {
            if let Some(frame) = close.frame() {
                self.socket.send(Message::Close(Some(frame))).await?;
            }
            while let Some(message) = self.socket.next().await {
                message?;
            }
            if matches!(close, Close::TooLarge | Close::NotUtf8 | Close::NotWebSocket) {
                sleep(LINGER).await;
            }
            Ok::<(), axum::Error>(())
        };
        let _ = timeout(CLOSING, farewell).await;
    }
}
