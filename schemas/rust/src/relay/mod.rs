//! The relay: WebSocket clients on one side, the client of this crate on the other.

mod admission;
mod conversation;
mod metrics;
mod options;
mod pace;
mod reply;
mod request;
mod server;
mod utterances;
mod wire;

use std::sync::Arc;

use axum::Router;
use tokio::sync::{Semaphore, watch};

pub use options::RelayOptions;

use crate::Client;
use metrics::Metrics;

struct Shared {
    client: Client,
    options: RelayOptions,
    metrics: Metrics,
    shutdown: watch::Sender<bool>,
    /// One permit for each socket.
    sockets: Arc<Semaphore>,
}

/// A relay for an axum server of your own: a route that serves the speak socket at `/api/v1/speak`.
///
/// Use [`Relay`] for its metrics, its page, or to close its sockets at a shutdown.
///
/// ```
/// use makima_tts_client::{Client, RelayOptions, speak_route};
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let client = Client::builder("redis://127.0.0.1:6379/0").build()?;
/// let app: axum::Router = axum::Router::new().merge(speak_route(client, RelayOptions::new()));
/// # Ok(())
/// # }
/// ```
pub fn speak_route(client: Client, options: RelayOptions) -> Router {
    Relay::new(client, options).speak_route()
}

/// A relay between WebSocket clients and the workers. Clones share their sockets and counters.
#[derive(Clone)]
pub struct Relay {
    shared: Arc<Shared>,
}
