//! Continues a session after the program that listened was restarted, at the sample where it was.
//!
//! Run it twice: `cargo run --example resume`, and a worker: `makima-tts dev --port 6399 --pace 1`.

use makima_tts_client::{Client, Event, Job, Resume, SessionId};
use std::time::Duration;
use tokio::time::timeout;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let file = std::env::temp_dir().join("makima-tts-resume.json");
    let client = Client::builder("redis://127.0.0.1:6399/0").build()?;
    let (session, mut events) = match std::fs::read(&file) {
        Ok(saved) => client.resume(serde_json::from_slice::<Resume>(&saved)?),
        Err(_) => client.open(SessionId::fresh()),
    };
    if session.unfinished().is_empty() {
        session.speak(Job::new("One, two, three, four, five, six, seven, eight, nine, ten.")).await?;
    }
    while let Ok(Some(event)) = timeout(Duration::from_secs(1), events.next()).await {
        match event {
            Event::Audio { pos, samples, .. } => println!("{} bytes from sample {pos} on", samples.len()),
            Event::Ended { .. } => {
                std::fs::remove_file(&file).ok();
                session.leave().await?;
                return Ok(());
            }
            _ => {}
        }
        std::fs::write(&file, serde_json::to_vec(&session.resume_point())?)?;
        if session.resume_point().cursor().n == 3 {
            println!("the program ends here; run it again");
            std::process::exit(0); // as a crash does: the session is not left
        }
    }
    Ok(())
}
