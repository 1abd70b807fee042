//! A client of the speak socket.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::{SinkExt, StreamExt};
use serde::Deserialize;
use serde_json::json;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use crate::trial::{Chunk, Fallible, Trial, Utterance};

const SILENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(100);

pub struct Socket {
    pub index: usize,
    pub session_id: String,
    web: WebSocketStream<TcpStream>,
}

#[derive(Deserialize)]
struct Received<'a> {
    r#type: &'a str,
    session_id: Option<String>,
    data: Option<&'a str>,
    is_final: Option<bool>,
    cancelled: Option<bool>,
    code: Option<String>,
    message: Option<String>,
}

/// The utterance that a text belongs to.
pub fn utterance(text: &str) -> Option<Utterance> {
    let mut words = text.split(' ');
    Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?))
}

impl Socket {
    /// A socket that has received `ready`.
    pub async fn connect(trial: Arc<Trial>, index: usize) -> Fallible<Self> {
        let stream = TcpStream::connect(&trial.options.relay).await?;
        stream.set_nodelay(true)?;
        let config = WebSocketConfig::default().read_buffer_size(16 << 10).write_buffer_size(0);
        let address = format!("ws://{}/api/v1/speak", trial.options.relay);
        let (web, _) = client_async_with_config(address, stream, Some(config)).await?;
        let mut socket = Self { index, session_id: String::new(), web };
        socket.send(json!({"type": "start", "sample_rate": 24_000, "binary": trial.options.binary})).await?;
        let ready = socket.receive().await?;
        let ready: Received<'_> = serde_json::from_str(ready.to_text()?)?;
        socket.session_id = ready.session_id.ok_or("start is not answered by ready")?;
        Ok(socket)
    }

    /// Speaks all utterances one after the other; returns every chunk that arrived.
    pub async fn speak_all(mut self, trial: Arc<Trial>) -> Fallible<(Self, Vec<Chunk>)> {
        let mut chunks = Vec::with_capacity(trial.options.utterances * trial.options.chunks);
        let period = Duration::from_millis(trial.options.chunk_ms);
        sleep(period.mul_f64(self.index as f64 / trial.options.sockets as f64)).await; // chunks spread over the period
        for number in 0..trial.options.utterances {
            let utterance = (self.index, number);
            trial.sent.set(utterance, trial.now());
            self.send(json!({"type": "speak", "text": format!("{} {number} of the benchmark.", self.index)})).await?;
            self.hear(&trial, utterance, &mut chunks).await.map_err(|it| format!("utterance {utterance:?}: {it}"))?;
            sleep(PAUSE).await;
        }
        trial.has_spoken();
        Ok((self, chunks))
    }

    /// Receives one utterance and compares its bytes.
    async fn hear(&mut self, trial: &Trial, utterance: Utterance, chunks: &mut Vec<Chunk>) -> Fallible<()> {
        let (mut audio, mut seq, mut n_final) = (Vec::with_capacity(trial.chunk_bytes()), 0, 0);
        loop {
            let message = self.receive().await?;
            if let Message::Binary(data) = message {
                audio.extend_from_slice(&data);
            } else {
                let read: Received<'_> = serde_json::from_str(message.to_text()?)?;
                match read.r#type {
                    "audio_chunk" => {
                        STANDARD.decode_vec(read.data.unwrap_or_default(), &mut audio)?;
                        n_final += usize::from(read.is_final == Some(true));
                    }
                    "complete" if read.cancelled != Some(true) => break,
                    other => return Err(format!("{other} {:?} {:?}", read.code, read.message).into()),
                }
            }
            while let Some((whole, _)) = audio.split_at_checked(trial.chunk_bytes()) {
                chunks.push(trial.read((utterance, seq), whole)?);
                audio.drain(..trial.chunk_bytes());
                seq += 1;
                if (utterance.1, seq) == (0, 1) {
                    trial.speaks();
                }
            }
        }
        match (seq == trial.options.chunks, audio.len(), n_final) {
            (true, 0, 1) => Ok(()),
            _ => Err(format!("{seq} chunks and {} bytes, {n_final} of them final", audio.len()).into()),
        }
    }

    async fn send(&mut self, message: serde_json::Value) -> Fallible<()> {
        Ok(self.web.send(Message::text(message.to_string())).await?)
    }

    async fn receive(&mut self) -> Fallible<Message> {
        loop {
            match timeout(SILENCE, self.web.next()).await.map_err(|_| "silence")?.ok_or("it was closed")?? {
                Message::Ping(_) | Message::Pong(_) => {}
                Message::Close(frame) => return Err(format!("it was closed: {frame:?}").into()),
                message => return Ok(message),
            }
        }
    }
}
