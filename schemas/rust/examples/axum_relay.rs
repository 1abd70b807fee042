//! An axum server of your own that serves the speak socket beside its other routes.
//!
//! `cargo run --features axum --example axum_relay`, and a worker: `makima-tts dev --port 6399`.

use std::time::Duration;

use axum::serve::ListenerExt as _;
use axum::{Router, routing::get};
use makima_tts_client::{Client, Relay, RelayOptions};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let client = Client::builder("redis://127.0.0.1:6399/0").build()?;
    let options = RelayOptions::new().language("English").pace_ahead(Duration::from_secs(5));
    let relay = Relay::new(client.clone(), options);

    let app = Router::new().route("/", get(async || "my server")).merge(relay.speak_route()); // ws://127.0.0.1:8080/api/v1/speak

    // Small chunks must not wait for each other.
    let listener = TcpListener::bind("127.0.0.1:8080").await?.tap_io(|tcp| drop(tcp.set_nodelay(true)));
    let shutdown = async move {
        let _ = tokio::signal::ctrl_c().await;
        relay.drain().await; // closes the sockets, leaves their sessions
    };
    axum::serve(listener, app).with_graceful_shutdown(shutdown).await?;
    client.close().await;
    Ok(())
}
