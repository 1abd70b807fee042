//! Interrupts speech as a listener does who begins to talk, and prints what was heard of it.
//!
//! `cargo run --example barge_in`, and a worker that speaks in real time: `makima-tts dev --port 6399 --pace 1`.

use makima_tts_client::{Client, Event, Job, SessionId};
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let client = Client::builder("redis://127.0.0.1:6399/0").build()?;
    let (session, mut events) = client.open(SessionId::fresh());
    let job = session.speak(Job::new("This is a long story. It has three sentences. Nobody hears the last.")).await?;

    let interruption = Instant::now() + Duration::from_secs(2);
    let mut played = 0; // samples that a player has put out; here all that came
    while let Ok(Some(event)) = timeout_at(interruption, events.next()).await {
        if let Event::Audio { pos, samples, .. } = event {
            played = pos + samples.len() as u64 / 2;
        }
    }
    session.stop(); // from here on no audio of the story comes
    if let Some(heard) = session.heard(&job, played) {
        println!("heard: {}", heard.text);
    }

    let answer = session.speak(Job::new("Yes, please?")).await?;
    while let Some(event) = events.next().await {
        match event {
            Event::Audio { job, samples, .. } => println!("{job}: {} bytes", samples.len()),
            Event::Ended { job, is_muted, .. } => {
                println!("{job} ended, muted: {is_muted}");
                if job == answer {
                    break;
                }
            }
            _ => {}
        }
    }
    session.leave().await?;
    Ok(())
}
