//! One socket: its client's messages in, replies out.

use std::collections::VecDeque;
use std::future::pending;
use std::sync::Arc;

use axum::extract::ws::{Message, WebSocket};
use bytes::Bytes;
use tokio::time::{Instant, sleep_until};

use super::Shared;
use super::metrics::add;
use super::pace::Pace;
use super::reply::Reply;
use super::request::{self, Request, Start};
use super::utterances::Utterances;
use super::wire::{Close, Turn, Wire};
use crate::{Encoding, ErrorCode, Event, Events, FieldError, Job, JobId, Session, SessionId, TextWriter};

/// Replies that wait. Beyond that nothing is read from a client that does not read.
const MAX_WAITING: usize = 64;

/// The samples of one chunk, in bytes. tungstenite keeps a buffer of the largest message of each socket.
const MAX_CHUNK: usize = 8 * 1024;

pub(super) struct Conversation {
    relay: Arc<Shared>,
    wire: Wire,
    waiting: VecDeque<Reply>,
    dialogue: Option<Dialogue>,
}

impl Conversation {
    pub fn new(relay: Arc<Shared>, socket: WebSocket) -> Self {
        Self { relay, wire: Wire::new(socket), waiting: VecDeque::new(), dialogue: None }
    }

    /// Ends when the socket is closed and its session is left.
    pub async fn run(mut self) {
        add(&self.relay.metrics.opened, 1);
        let close = self.converse().await;
        if close == Close::TooSlow {
            add(&self.relay.metrics.slow, 1);
        }
        let leave = async {
            if let Some(Dialogue { session, open_text, .. }) = self.dialogue {
                let _ = session.leave().await; // without Redis its jobs expire by themselves
                drop(open_text); // only now: it would end the text, and the rest would be spoken
            }
        };
        tokio::join!(self.wire.close(close), leave);
    }

    async fn converse(&mut self) -> Close {
        let mut shutdown = self.relay.shutdown.subscribe();
        loop {
            if !self.wire.is_sending()
                && let Some(reply) = self.waiting.pop_front()
            {
                let format = self.dialogue.as_ref().map(|it| it.format);
                self.relay.metrics.sent(&reply, format.unwrap_or_default());
                match reply.into_message() {
                    Ok(message) => self.wire.send(message),
                    Err(_) => continue, // a reply of strings and numbers is always JSON
                }
            }
            let (is_free, may_read) = (!self.wire.is_sending(), self.waiting.len() < MAX_WAITING);
            tokio::select! {
                _ = shutdown.wait_for(|it| *it) => return Close::ShuttingDown,
                turn = self.wire.turn(may_read) => match turn {
                    Turn::Sent => {}
                    Turn::Received(message) => self.receive(message),
                    Turn::Silent => self.waiting.push_back(Reply::Ping),
                    Turn::Over(close) => return close,
                },
                replies = next(&mut self.dialogue), if is_free => match replies {
                    Some(replies) => self.waiting.extend(replies),
                    None => return Close::ShuttingDown,
                },
            }
        }
    }

    fn receive(&mut self, message: Message) {
        let replies = match message {
            Message::Text(frame) => match request::read(&frame) {
                Ok(request) => self.answer(request),
                Err(problem) => vec![Reply::error(ErrorCode::BadMessage, problem)],
            },
            Message::Binary(_) => vec![Reply::error(ErrorCode::BadMessage, "a binary frame; send JSON in text frames")],
            _ => Vec::new(),
        };
        self.waiting.extend(replies);
    }

    fn answer(&mut self, request: Request) -> Vec<Reply> {
        match (request, &mut self.dialogue) {
            (Request::Start(_), Some(_)) => {
                vec![Reply::error(ErrorCode::AlreadyStarted, "the first start holds; open another socket for a second")]
            }
            (Request::Start(start), None) => vec![self.start(&start)],
            (_, None) => vec![Reply::error(ErrorCode::NotStarted, "send start first")],
            (Request::Speak(text), Some(it)) => it.speak(&self.relay, text),
            (Request::Text(piece), Some(it)) => it.text(&self.relay, &piece),
            (Request::Flush, Some(it)) => it.flush(),
            (Request::End, Some(it)) => it.end(),
            (Request::Stop(played_ms), Some(it)) => it.stop(played_ms),
        }
    }

    fn start(&mut self, start: &Start) -> Reply {
        let Some(format) = start.format else {
            let remedy = "sample_rate is 8000, 16000, 22050, 24000, 44100 or 48000, \
                encoding is pcm_s16le, pcm_f32le, mulaw or alaw; send start again";
            return Reply::error(ErrorCode::UnsupportedFormat, format!("the format is not known; {remedy}"));
        };
        let (session, events) = self.relay.client.open(SessionId::fresh());
        let session_id = session.id().to_string();
        self.dialogue = Some(Dialogue {
            session,
            events,
            format,
            utterances: Utterances::new(format.1, start.is_binary, start.has_segments),
            pace: Pace::new(self.relay.options.pace(), format.0, Instant::now()),
            held: None,
            open_text: None,
        });
        Reply::Ready { session_id }
    }
}

/// None at the end of the session. It may be dropped and called again.
async fn next(dialogue: &mut Option<Dialogue>) -> Option<Vec<Reply>> {
    match dialogue {
        Some(dialogue) => dialogue.next().await,
        None => pending().await,
    }
}

/// A socket from its `start` on.
struct Dialogue {
    session: Session,
    events: Events,
    format: (u32, Encoding),
    utterances: Utterances,
    pace: Pace,
    held: Option<Held>,
    open_text: Option<OpenText>,
}

/// Audio that waits until its listener may have it. Nothing else is read meanwhile.
struct Held {
    job: JobId,
    samples: Bytes,
    is_final: bool,
}

/// Without a writer if it was refused: its further pieces are dropped, as those of a text that was answered.
struct OpenText(Option<TextWriter>);

impl Dialogue {
    async fn next(&mut self) -> Option<Vec<Reply>> {
        while self.held.is_none() {
            match self.events.next().await? {
                Event::Audio { job, samples, is_final, .. } => {
                    let is_heard = self.utterances.is_heard(&job);
                    self.held = is_heard.then_some(Held { job, samples, is_final });
                }
                event => return Some(self.utterances.take(event)),
            }
        }
        let (piece, now) = (self.piece(), Instant::now());
        let due = self.pace.due(piece, now);
        if due > now {
            sleep_until(due).await; // which takes a millisecond at least
        }
        Some(self.release())
    }

    /// The samples of the held audio that are sent at once.
    fn piece(&self) -> u64 {
        let n_bytes = self.held.as_ref().map_or(0, |it| it.samples.len().min(MAX_CHUNK));
        self.pace.piece().min((n_bytes / self.utterances.sample_bytes) as u64)
    }

    fn release(&mut self) -> Vec<Reply> {
        let (n, size) = (self.piece(), self.utterances.sample_bytes);
        let Some(Held { job, mut samples, is_final }) = self.held.take() else { return Vec::new() };
        self.pace.sent(n, Instant::now());
        let n_bytes = usize::try_from(n).unwrap_or(usize::MAX).saturating_mul(size);
        let has_more = samples.len() >= n_bytes.saturating_add(size);
        if has_more {
            self.held = Some(Held { job: job.clone(), samples: samples.split_off(n_bytes), is_final });
        }
        self.utterances.audio(&job, samples, is_final && !has_more)
    }

    fn speak(&mut self, relay: &Shared, text: String) -> Vec<Reply> {
        let number = self.utterances.number();
        let job = relay.options.dress(Job::new(text), self.format);
        match self.admit(relay).and_then(|()| self.session.submit(job).map_err(refused)) {
            Ok(job) => self.utterances.published(number, job),
            Err(refusal) => return vec![refusal],
        }
        Vec::new()
    }

    fn text(&mut self, relay: &Shared, piece: &str) -> Vec<Reply> {
        if piece.is_empty() {
            return Vec::new();
        }
        let mut replies = Vec::new();
        if self.open_text.is_none() {
            let number = self.utterances.number();
            let job = relay.options.dress(Job::open(), self.format);
            let opened = self.admit(relay).and_then(|()| self.session.open_text(job).map_err(refused));
            let writer = opened.map_err(|refusal| replies.push(refusal)).ok();
            if let Some(writer) = &writer {
                self.utterances.published(number, writer.job_id().clone());
            }
            self.open_text = Some(OpenText(writer));
        }
        if let Some(OpenText(Some(writer))) = &self.open_text
            && let Err(full) = writer.write(piece)
        {
            replies.push(Reply::error(ErrorCode::BadMessage, full.to_string()));
        }
        replies
    }

    fn flush(&self) -> Vec<Reply> {
        let Some(OpenText(writer)) = &self.open_text else { return vec![no_text()] };
        writer.iter().for_each(TextWriter::flush);
        Vec::new()
    }

    fn end(&mut self) -> Vec<Reply> {
        if self.open_text.take().is_some() { Vec::new() } else { vec![no_text()] }
    }

    fn stop(&mut self, played_ms: Option<f64>) -> Vec<Reply> {
        let heard = played_ms.map(|ms| self.heard(ms));
        self.session.stop();
        (self.held, self.open_text) = (None, None);
        self.pace.reset(Instant::now());
        let mut replies = self.utterances.stop();
        replies.extend(heard);
        replies
    }

    fn heard(&self, played_ms: f64) -> Reply {
        let n = played_ms * f64::from(self.format.0) / 1_000.0;
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // it is at least 0, and the cast saturates
        let Some((number, job, n)) = self.utterances.played(n.round() as u64) else {
            return Reply::TextHeard { utterance: None, text: String::new(), is_estimate: false };
        };
        let heard = self.session.heard(job, n).unwrap_or_default();
        Reply::TextHeard { utterance: Some(number), text: heard.text, is_estimate: heard.is_estimate }
    }

    fn admit(&self, relay: &Shared) -> Result<(), Reply> {
        add(&relay.metrics.utterances, 1);
        let n = self.utterances.n_unanswered();
        if n < relay.options.max_unfinished {
            return Ok(());
        }
        let problem = format!("{n} utterances of this socket are not answered yet; wait for an answer, or send stop");
        Err(Reply::error(ErrorCode::Unavailable, problem))
    }
}

fn refused(problem: FieldError) -> Reply {
    Reply::error(ErrorCode::InvalidField, problem.to_string())
}

fn no_text() -> Reply {
    Reply::error(ErrorCode::BadMessage, "no text is open; open one with text")
}
