//! Speaks a text while a language model writes it.
//!
//! `cargo run --example llm_text`, and a worker: `makima-tts dev --port 6399`.

use futures_util::{Stream, StreamExt, stream};
use makima_tts_client::{Client, Event, Job, SessionId};
use std::time::{Duration, Instant};

/// The tokens of a model; here a text, word by word.
fn tokens() -> impl Stream<Item = String> {
    let words = "I looked it up. The train leaves at nine, from platform two. Shall I wake you at eight?";
    stream::iter(words.split_inclusive(' ')).then(async |word| {
        tokio::time::sleep(Duration::from_millis(80)).await;
        word.to_string()
    })
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let client = Client::builder("redis://127.0.0.1:6399/0").build()?;
    let (session, mut events) = client.open(SessionId::fresh());
    let began = Instant::now();

    let listening = async {
        while let Some(event) = events.next().await {
            match event {
                Event::Segment { segment, .. } => println!("{:?} {}", began.elapsed(), segment.text),
                Event::Ended { .. } => break,
                _ => {}
            }
        }
    };
    let writing = async {
        let job = session.speak_stream(Job::open().language("English"), tokens()).await;
        println!("{:?} the text is complete", began.elapsed());
        job
    };
    let (job, ()) = tokio::join!(writing, listening);
    println!("{} was spoken", job?);
    session.leave().await?;
    Ok(())
}
