//! Speaks one text and writes its samples to standard output.
//!
//! `cargo run --example speak "Good morning." | aplay -f S16_LE -r 24000`, and a worker: `makima-tts dev --port 6399`.

use makima_tts_client::{Client, End, Event, Job, SessionId};
use std::io::Write;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let text = std::env::args().nth(1).unwrap_or_else(|| "Hello, I am Makima.".into());
    let client = Client::builder("redis://127.0.0.1:6399/0").build()?;
    let (session, mut events) = client.open(SessionId::fresh());
    session.speak(Job::new(text)).await?;

    let mut out = std::io::stdout();
    while let Some(event) = events.next().await {
        match event {
            Event::Audio { samples, .. } => out.write_all(&samples)?,
            Event::Ended { end: End::Failed(failure), .. } => return Err(failure.into()),
            Event::Ended { .. } => break,
            _ => {}
        }
    }
    session.leave().await?;
    Ok(())
}
