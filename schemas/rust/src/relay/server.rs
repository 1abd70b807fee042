use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{State, WebSocketUpgrade};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use axum::serve::ListenerExt as _;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::time::{sleep, timeout};

use super::admission::{self, Refusal};
use super::conversation::Conversation;
use super::metrics::Metrics;
use super::{Relay, RelayOptions, Shared};
use crate::Client;

const PAGE: &str = include_str!("../../page/index.html");
const SPEAK: &str = "/api/v1/speak";
/// tungstenite takes 128 KiB for each direction of each socket by default.
const BUFFER: usize = 8 * 1024;
const MAX_FRAME: usize = 1024 * 1024;
/// How long sockets may take to close at a shutdown. A client has 5 s.
const DRAIN: Duration = Duration::from_secs(8);
/// How long requests that are no sockets may take after that.
const REST: Duration = Duration::from_secs(1);
const PING: Duration = Duration::from_secs(2);

const FULL: Refusal = (StatusCode::SERVICE_UNAVAILABLE, "the relay has as many sockets as it may have; try later\n");
const CLOSED: Refusal = (StatusCode::SERVICE_UNAVAILABLE, "the relay is shutting down; connect again\n");

impl Relay {
    /// A relay without a socket yet.
    pub fn new(client: Client, options: RelayOptions) -> Self {
        let sockets = Arc::new(Semaphore::new(options.max_sockets.min(Semaphore::MAX_PERMITS)));
        let (metrics, shutdown) = (Metrics::default(), watch::Sender::new(false));
        Self { shared: Arc::new(Shared { client, options, metrics, shutdown, sockets }) }
    }

    /// The route of the speak socket, `/api/v1/speak`.
    pub fn speak_route(&self) -> Router {
        Router::new().route(SPEAK, get(speak)).with_state(self.shared.clone())
    }

    /// All routes: the speak socket, the page at `/`, `/healthz` and `/metrics`.
    pub fn router(&self) -> Router {
        let rest = Router::new().route("/", get(page)).route("/healthz", get(health)).route("/metrics", get(metrics));
        self.speak_route().merge(rest.with_state(self.shared.clone()))
    }

    /// The open sockets.
    pub fn n_sockets(&self) -> usize {
        self.shared.n_sockets()
    }

    /// The counters as Prometheus text.
    pub fn metrics(&self) -> String {
        self.shared.metrics.text(self.n_sockets())
    }

    /// Refuses new sockets, closes all others with status 1001 and leaves their sessions. Returns after at most 8 s.
    pub async fn drain(&self) {
        self.shared.shutdown.send_replace(true);
        let all = async {
            while self.n_sockets() > 0 {
                sleep(Duration::from_millis(20)).await;
            }
        };
        let _ = timeout(DRAIN, all).await;
    }

    /// Serves all routes until `shutdown` is ready, then drains.
    pub async fn serve<F>(&self, listener: TcpListener, shutdown: F) -> io::Result<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        // Small chunks would wait for each other otherwise. A socket that refuses it works all the same.
        let listener = listener.tap_io(|tcp| drop(tcp.set_nodelay(true)));
        let (relay, (drained, is_drained)) = (self.clone(), oneshot::channel());
        let server = axum::serve(listener, self.router()).with_graceful_shutdown(async move {
            shutdown.await;
            relay.drain().await;
            let _ = drained.send(());
        });
        tokio::select! {
            ended = server => ended,
            () = async { let _ = is_drained.await; sleep(REST).await } => Ok(()),
        }
    }
}

impl Shared {
    fn n_sockets(&self) -> usize {
        self.options.max_sockets.min(Semaphore::MAX_PERMITS) - self.sockets.available_permits()
    }
}

async fn speak(
    State(relay): State<Arc<Shared>>,
    uri: Uri,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    match admit(&relay, &uri, &headers, upgrade) {
        Ok(response) => response,
        Err(response) => {
            relay.metrics.refused(response.status().as_u16());
            response
        }
    }
}

#[allow(clippy::result_large_err)] // both are the response
fn admit(
    relay: &Arc<Shared>,
    uri: &Uri,
    headers: &HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Response> {
    admission::check(&relay.options, uri, headers).map_err(IntoResponse::into_response)?;
    if *relay.shutdown.borrow() {
        return Err(CLOSED.into_response());
    }
    let upgrade = upgrade.map_err(IntoResponse::into_response)?;
    let permit = relay.sockets.clone().try_acquire_owned().map_err(|_| FULL.into_response())?;
    let upgrade = upgrade.read_buffer_size(BUFFER).write_buffer_size(BUFFER);
    let relay = relay.clone();
    Ok(upgrade.max_message_size(MAX_FRAME).max_frame_size(MAX_FRAME).on_upgrade(async move |socket| {
        Conversation::new(relay, socket).run().await;
        drop(permit);
    }))
}

async fn page() -> impl IntoResponse {
    ([(header::CACHE_CONTROL, "no-cache"), (header::X_CONTENT_TYPE_OPTIONS, "nosniff")], Html(PAGE))
}

async fn health(State(relay): State<Arc<Shared>>) -> impl IntoResponse {
    match timeout(PING, relay.client.ping()).await {
        Ok(Ok(())) => (StatusCode::OK, "ok\n"),
        _ => (StatusCode::SERVICE_UNAVAILABLE, "Redis does not answer; start it, or correct the relay's address\n"),
    }
}

async fn metrics(State(relay): State<Arc<Shared>>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], relay.metrics.text(relay.n_sockets()))
}
