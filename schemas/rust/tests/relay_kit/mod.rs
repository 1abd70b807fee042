//! A scripted worker, a relay and its clients, for the tests of the relay.
#![allow(dead_code, clippy::unwrap_used)] // each test uses a part

use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use makima_tts_client::{Client, Relay, RelayOptions};
use redis::AsyncCommands as _;
use redis::streams::{StreamReadOptions, StreamReadReply};
use serde::Serialize;
use serde_json::{Value as Json, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use crate::support::Server;

const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Serialize)]
struct Audio<'a> {
    v: u32,
    r#type: &'a str,
    job_id: &'a str,
    session_id: &'a str,
    seq: u64,
    pos: u64,
    data: Bytes,
    is_final: bool,
}

/// Sample n of every job is n.
pub fn samples(from: usize, n: usize) -> Vec<u8> {
    (from..from + n).flat_map(|it| (it as u16).to_le_bytes()).collect()
}

/// Speaks each job. Its text has the number of chunks, the samples of each, and how it ends: `3 480 complete`. With
/// another last word it does not end.
pub fn worker(server: &Server) -> JoinHandle<()> {
    let client = redis::Client::open(server.url()).unwrap();
    tokio::spawn(async move {
        let config = redis::AsyncConnectionConfig::new().set_response_timeout(None);
        let mut connection = client.get_multiplexed_async_connection_with_config(&config).await.unwrap();
        let (mut last, options) = ("0".to_string(), StreamReadOptions::default().block(0).count(16));
        loop {
            let reply: StreamReadReply =
                connection.xread_options(&["makima:{speak}:jobs"], &[&last], &options).await.unwrap();
            for entry in reply.keys.into_iter().flat_map(|it| it.ids) {
                last.clone_from(&entry.id);
                let field = |name: &str| entry.get::<String>(name).unwrap_or_default();
                speak(&mut connection, &field("session_id"), &field("job_id"), &field("text")).await;
            }
        }
    })
}

async fn speak(redis: &mut redis::aio::MultiplexedConnection, session_id: &str, job_id: &str, text: &str) {
    let words: Vec<&str> = text.split(' ').collect();
    let [n_chunks, n, end] = words[..] else { panic!("{text:?} is no script") };
    let (n_chunks, n): (usize, usize) = (n_chunks.parse().unwrap(), n.parse().unwrap());
    let own = |kind: &str| json!({"v": 1, "type": kind, "job_id": job_id, "session_id": session_id});
    let with = |kind: &str, members: Json| {
        let (mut all, Json::Object(members)) = (own(kind), members) else { unreachable!() };
        all.as_object_mut().unwrap().extend(members);
        rmp_serde::to_vec_named(&all).unwrap()
    };
    let begin = json!({"voice": "v", "model": "m", "sample_rate": 24000, "encoding": "pcm_s16le", "attempt": 1,
        "resumed_at": 0, "resumed_by": null});
    let mut entries = vec![("begin", with("begin", begin))];
    entries.push(("segment", with("segment", json!({"index": 0, "pos": 0, "text": "Hello there."}))));
    for seq in 0..n_chunks {
        let is_final = seq + 1 == n_chunks && end == "complete";
        let (pos, data) = (seq * n, samples(seq * n, n).into());
        let audio =
            Audio { v: 1, r#type: "audio", job_id, session_id, seq: seq as u64, pos: pos as u64, data, is_final };
        entries.push(("audio", rmp_serde::to_vec_named(&audio).unwrap()));
    }
    if end == "complete" {
        let complete = json!({"finish": "stop", "samples": n * n_chunks, "chunks": n_chunks, "audio_ms": 0, "queue_ms": 0,
            "first_audio_ms": 0, "leading_silence_ms": 0, "rtf": 0.5, "seed": 1, "voice": "v", "model": "m",
            "text_spoken": ""});
        entries.push(("complete", with("complete", complete)));
    }
    let key = format!("makima:{{{session_id}}}:audio");
    for (kind, data) in entries {
        let fields: [(&str, &[u8]); 3] = [("type", kind.as_bytes()), ("job_id", job_id.as_bytes()), ("data", &data)];
        let _: redis::RedisResult<String> = redis.xadd(&key, "*", &fields).await; // a cancel's ID may be above
    }
}

/// A relay in this process.
pub struct Served {
    pub relay: Relay,
    pub address: String,
    end: Option<oneshot::Sender<()>>,
    task: JoinHandle<std::io::Result<()>>,
}

impl Served {
    pub async fn start(server: &Server, options: RelayOptions) -> Self {
        let client = Client::builder(server.url()).build().unwrap();
        let relay = Relay::new(client, options);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (end, ended) = oneshot::channel();
        let serving = relay.clone();
        let task = tokio::spawn(async move { serving.serve(listener, async { drop(ended.await) }).await });
        Self { relay, address, end: Some(end), task }
    }

    pub async fn call(&self) -> Caller {
        let url = format!("ws://{}/api/v1/speak", self.address);
        Caller { socket: tokio_tungstenite::connect_async(url).await.unwrap().0 }
    }

    pub async fn started(&self, members: Json) -> Caller {
        let mut caller = self.call().await;
        caller.send(json!({"type": "start"}), members).await;
        assert_eq!(caller.receive().await["type"], "ready");
        caller
    }

    pub fn shut_down(&mut self) {
        drop(self.end.take());
    }

    pub async fn ended(self) {
        timeout(PATIENCE, self.task).await.unwrap().unwrap().unwrap();
    }
}

pub struct Caller {
    pub socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl Caller {
    pub async fn send(&mut self, mut message: Json, members: Json) {
        message.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        self.socket.send(Message::text(message.to_string())).await.unwrap();
    }

    pub async fn speak(&mut self, text: &str) {
        self.send(json!({"type": "speak", "text": text}), json!({})).await;
    }

    pub async fn stop(&mut self, members: Json) {
        self.send(json!({"type": "stop"}), members).await;
    }

    pub async fn next(&mut self) -> Message {
        loop {
            match timeout(PATIENCE, self.socket.next()).await.unwrap().unwrap().unwrap() {
                Message::Ping(_) | Message::Pong(_) => {}
                message => return message,
            }
        }
    }

    /// The next message; a binary frame as its samples.
    pub async fn receive(&mut self) -> Json {
        match self.next().await {
            Message::Text(text) => serde_json::from_str(&text).unwrap(),
            Message::Binary(samples) => json!({"binary": samples.to_vec()}),
            other => panic!("{other:?}"),
        }
    }

    pub async fn status(&mut self) -> u16 {
        loop {
            if let Message::Close(frame) = self.next().await {
                return frame.unwrap().code.into();
            }
        }
    }

    /// The samples of the next utterance, in binary frames, and its answer.
    pub async fn utterance(&mut self) -> (Vec<u8>, Json) {
        let (mut samples, mut n_final) = (Vec::new(), 0);
        loop {
            match self.next().await {
                Message::Binary(more) => samples.extend_from_slice(&more),
                Message::Text(text) => {
                    let message: Json = serde_json::from_str(&text).unwrap();
                    match message["type"].as_str().unwrap() {
                        "audio_chunk" => n_final += u8::from(message["is_final"] == true),
                        "complete" | "error" => {
                            assert_eq!(n_final, u8::from(!samples.is_empty()), "one final chunk");
                            return (samples, message);
                        }
                        _ => {}
                    }
                }
                other => panic!("{other:?}"),
            }
        }
    }
}
