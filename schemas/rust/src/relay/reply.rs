//! The messages to a client.

use axum::extract::ws::Message;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Serialize;

use crate::ErrorCode;

/// A message to a client, or samples as a binary frame.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Reply {
    Ready {
        session_id: String,
    },
    #[serde(skip)]
    AudioChunk {
        data: Bytes,
        is_final: bool,
    },
    Complete {
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        cancelled: bool,
    },
    Error {
        code: String,
        message: String,
    },
    Segment {
        utterance: u64,
        index: u32,
        pos: u64,
        text: String,
    },
    TextHeard {
        utterance: Option<u64>,
        text: String,
        is_estimate: bool,
    },
    #[serde(skip)]
    Samples(Bytes),
    #[serde(skip)]
    Ping,
}

impl Reply {
    pub fn error(code: ErrorCode, message: impl Into<String>) -> Self {
        Self::Error { code: code.as_str().into(), message: message.into() }
    }

    pub fn into_message(self) -> Result<Message, serde_json::Error> {
        Ok(match self {
            Self::Samples(samples) => Message::Binary(samples),
            Self::AudioChunk { data, is_final } => Message::Text(audio_chunk(&data, is_final).into()),
            Self::Ping => Message::Ping(Bytes::new()),
            json => Message::Text(serde_json::to_string(&json)?.into()),
        })
    }
}

/// Written by hand, because serde_json looks at each character of a string.
fn audio_chunk(data: &[u8], is_final: bool) -> String {
    let mut json = String::with_capacity(data.len() / 3 * 4 + 64);
    json.push_str(r#"{"type":"audio_chunk","data":""#);
    STANDARD.encode_string(data, &mut json);
    json.push_str(if is_final { r#"","is_final":true}"# } else { r#"","is_final":false}"# });
    json
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(reply: Reply) -> String {
        match reply.into_message().unwrap() {
            Message::Text(text) => text.to_string(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn messages_have_the_members_of_the_protocol() {
        let data = Bytes::from_static(b"\x00\x00\x01\x00");
        let chunk = r#"{"type":"audio_chunk","data":"AAABAA==","is_final":false}"#;
        assert_eq!(text(Reply::AudioChunk { data, is_final: false }), chunk);
        assert_eq!(text(Reply::Complete { cancelled: false }), r#"{"type":"complete"}"#);
        assert_eq!(text(Reply::Complete { cancelled: true }), r#"{"type":"complete","cancelled":true}"#);
        let heard = Reply::TextHeard { utterance: None, text: String::new(), is_estimate: false };
        assert_eq!(text(heard), r#"{"type":"text_heard","utterance":null,"text":"","is_estimate":false}"#);
        let error = Reply::error(ErrorCode::BadMessage, "a \"b\"\n");
        assert_eq!(text(error), r#"{"type":"error","code":"bad_message","message":"a \"b\"\n"}"#);
    }

    #[test]
    fn samples_are_a_binary_frame_without_a_header() {
        let samples = Bytes::from_static(&[1, 2, 3, 4]);
        assert_eq!(Reply::Samples(samples.clone()).into_message().unwrap(), Message::Binary(samples));
    }
}
