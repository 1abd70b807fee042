//! Sockets that speak through a relay, beside a scripted worker and readers of the streams, all by one clock.
//!
//! `python -m benchmarks.relay` starts Redis, the relay and this program with its options as one JSON object. It prints
//! a line at each phase and then the figures. It waits for a line on its input after the phases `ready` and `spoken`.

mod client;
mod direct;
mod figures;
mod trial;
mod worker;

use std::sync::Arc;

use futures_util::stream::{self, StreamExt, TryStreamExt};
use tokio::io::{AsyncBufReadExt, BufReader, Lines, Stdin};
use tokio::task::JoinSet;

use client::Socket;
use trial::{Fallible, Trial, phase};

const CONNECTING: usize = 50;

#[tokio::main(worker_threads = 2)]
async fn main() -> Fallible<()> {
    let Some(options) = std::env::args().nth(1).filter(|it| it.starts_with('{')) else {
        println!("started by: python -m benchmarks.relay");
        return Ok(());
    };
    let trial = Arc::new(Trial::new(serde_json::from_str(&options)?));
    let mut orders = BufReader::new(tokio::io::stdin()).lines();
    let worker = worker::start(&trial).await?;
    let sockets = connected(&trial).await?;
    wait("ready", &mut orders).await?;
    let direct = direct::start(&trial, sockets.iter().take(trial.options.direct)).await?;
    let mut spoken = JoinSet::new();
    for socket in sockets {
        spoken.spawn(socket.speak_all(trial.clone()));
    }
    let (mut sockets, mut chunks) = (Vec::new(), Vec::new());
    for result in spoken.join_all().await {
        let (socket, received) = result?;
        sockets.push(socket);
        chunks.extend(received);
    }
    let seen = direct.finished().await?;
    wait("spoken", &mut orders).await?;
    drop(sockets);
    worker.abort();
    println!("{}", figures::summary(&trial, &chunks, &seen)?);
    Ok(())
}

async fn connected(trial: &Arc<Trial>) -> Fallible<Vec<Socket>> {
    let connecting = (0..trial.options.sockets).map(|index| Socket::connect(trial.clone(), index));
    let mut sockets: Vec<Socket> = stream::iter(connecting).buffer_unordered(CONNECTING).try_collect().await?;
    sockets.sort_by_key(|it| it.index);
    Ok(sockets)
}

async fn wait(name: &str, orders: &mut Lines<BufReader<Stdin>>) -> Fallible<()> {
    phase(name);
    orders.next_line().await?;
    Ok(())
}
