//! The messages of a client.

use std::collections::HashMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;

use crate::Encoding;

/// The largest message that is read, in bytes.
const MAX_BYTES: usize = 65_536;
const MEMBERS: [&str; 7] = ["type", "text", "sample_rate", "encoding", "binary", "segments", "played_ms"];
const SAMPLE_RATES: [u32; 6] = [8_000, 16_000, 22_050, 24_000, 44_100, 48_000];
const TYPES: &str = "start, speak, text, flush, end or stop";

/// A message of a client, checked but for the rate and encoding of a `start`.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Request {
    Start(Start),
    Speak(String),
    Text(String),
    Flush,
    End,
    /// With the milliseconds that the client has played.
    Stop(Option<f64>),
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Start {
    /// None if the rate or the encoding is none of those that the protocol lists.
    pub format: Option<(u32, Encoding)>,
    pub is_binary: bool,
    pub has_segments: bool,
}

/// Reads one text frame. An Err is the message of a `bad_message`.
pub(super) fn read(frame: &str) -> Result<Request, String> {
    if frame.len() > MAX_BYTES {
        return Err(format!("the message has {} bytes; send at most {MAX_BYTES} in one message", frame.len()));
    }
    let members: Members =
        serde_json::from_str(frame).map_err(|problem| format!("this is no JSON object ({problem}); send one"))?;
    match members.text("type")?.as_deref() {
        Some("start") => members.start().map(Request::Start),
        Some("speak") => members.needed_text().map(Request::Speak),
        Some("text") => members.needed_text().map(Request::Text),
        Some("flush") => Ok(Request::Flush),
        Some("end") => Ok(Request::End),
        Some("stop") => members.played_ms().map(Request::Stop),
        Some(_) => Err(format!("the type is unknown; use {TYPES}")),
        None => Err(format!("the member type is missing; use {TYPES}")),
    }
}

/// The members of a JSON object that the protocol lists; null counts as missing. Of one name the last one holds.
///
/// All others are skipped without being built, however deep they are.
struct Members(HashMap<String, Value>);

impl Members {
    fn get<T>(&self, name: &str, wanted: &str, as_type: impl Fn(&Value) -> Option<T>) -> Result<Option<T>, String> {
        let Some(value) = self.0.get(name).filter(|it| !it.is_null()) else { return Ok(None) };
        as_type(value).map(Some).ok_or_else(|| format!("the member {name} has another type; send {wanted}"))
    }

    fn text(&self, name: &str) -> Result<Option<String>, String> {
        self.get(name, "a string", |it| it.as_str().map(String::from))
    }

    fn needed_text(&self) -> Result<String, String> {
        self.text("text")?.ok_or_else(|| "the member text is missing; send a string".into())
    }

    fn flag(&self, name: &str) -> Result<bool, String> {
        Ok(self.get(name, "true or false", Value::as_bool)?.unwrap_or(false))
    }

    fn played_ms(&self) -> Result<Option<f64>, String> {
        self.get("played_ms", "a number of at least 0", |it| it.as_f64().filter(|ms| *ms >= 0.0))
    }

    fn start(&self) -> Result<Start, String> {
        let rate = self.get("sample_rate", "an integer", integer)?.unwrap_or(24_000);
        let encoding = self.text("encoding")?;
        let encoding = encoding.map_or(Some(Encoding::default()), |name| Encoding::from_name(&name));
        let rate = SAMPLE_RATES.into_iter().find(|it| i64::from(*it) == rate);
        Ok(Start { format: rate.zip(encoding), is_binary: self.flag("binary")?, has_segments: self.flag("segments")? })
    }
}

/// An integer, of which those beyond 64 bits, which serde_json reads as floats, become -1.
fn integer(value: &Value) -> Option<i64> {
    let is_huge = || value.as_u64().is_some() || value.as_f64().is_some_and(|it| it.abs() >= 9.2e18);
    value.as_i64().or_else(|| is_huge().then_some(-1))
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Members, A::Error> {
        let mut members = HashMap::new();
        while let Some(name) = object.next_key::<String>()? {
            if MEMBERS.contains(&name.as_str()) {
                members.insert(name, object.next_value()?);
            } else {
                object.next_value::<IgnoredAny>()?;
            }
        }
        Ok(Members(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(members: &str) -> Result<Start, String> {
        let comma = if members.is_empty() { "" } else { "," };
        match read(&format!(r#"{{"type":"start"{comma}{members}}}"#))? {
            Request::Start(start) => Ok(start),
            other => panic!("{other:?}"),
        }
    }

    fn format_of(members: &str) -> Option<(u32, Encoding)> {
        start(members).unwrap().format
    }

    #[test]
    fn a_start_has_defaults_also_for_null() {
        let plain = Start { format: Some((24_000, Encoding::PcmS16le)), is_binary: false, has_segments: false };
        assert_eq!(start("").unwrap(), plain);
        assert_eq!(start(r#""sample_rate":null,"encoding":null,"binary":null,"segments":null"#).unwrap(), plain);
        let all = start(r#""sample_rate":8000,"encoding":"mulaw","binary":true,"segments":true"#).unwrap();
        assert_eq!(all, Start { format: Some((8_000, Encoding::Mulaw)), is_binary: true, has_segments: true });
        assert_eq!(format_of(r#""encoding":"pcm16""#), Some((24_000, Encoding::PcmS16le)));
    }

    #[test]
    fn a_format_that_is_not_listed_is_no_bad_message() {
        for members in [r#""sample_rate":12345"#, r#""sample_rate":-1"#, r#""sample_rate":0"#, r#""encoding":"mp3""#] {
            assert_eq!(format_of(members), None, "{members}");
        }
        for huge in ["18446744073709551615", "18446744073709551616", &"9".repeat(300), "-9223372036854775809"] {
            assert_eq!(format_of(&format!(r#""sample_rate":{huge}"#)), None, "{huge}");
        }
    }

    #[test]
    fn members_of_another_type_are_bad() {
        for members in [
            r#""sample_rate":"24000""#,
            r#""sample_rate":24000.0"#,
            r#""sample_rate":2.4e4"#,
            r#""sample_rate":true"#,
            r#""sample_rate":[24000]"#,
            r#""encoding":1"#,
            r#""binary":1"#,
            r#""binary":"true""#,
            r#""segments":{}"#,
        ] {
            assert!(start(members).is_err(), "{members}");
        }
        for message in [
            r#"{"type":"speak"}"#,
            r#"{"type":"speak","text":null}"#,
            r#"{"type":"speak","text":7}"#,
            r#"{"type":"text","text":["a"]}"#,
            r#"{"type":"stop","played_ms":-0.1}"#,
            r#"{"type":"stop","played_ms":"1"}"#,
            r#"{"type":"stop","played_ms":true}"#,
            r#"{"type":"stop","played_ms":NaN}"#,
            r#"{"type":"stop","played_ms":1e999}"#,
            r#"{"type":"stop","played_ms":Infinity}"#,
            r#"{"type":7}"#,
            r#"{"type":null}"#,
            r#"{"type":"Speak","text":"a"}"#,
            r#"{"text":"a"}"#,
        ] {
            assert!(read(message).is_err(), "{message}");
        }
    }

    #[test]
    fn what_is_no_json_object_is_bad() {
        let deep = "[".repeat(60_000);
        let half = r#"{"type":"speak","text":"\ud83d"}"#;
        for frame in ["", " ", "{", "null", "[]", "1", r#""stop""#, "{'type':'stop'}", "\u{feff}{}", &deep, half] {
            assert!(read(frame).is_err(), "{frame:.40}");
        }
        assert!(read(r#"{"type":"flush"} x"#).is_err());
        assert!(read(r#"{"type":"flush",}"#).is_err());
    }

    #[test]
    fn members_that_are_not_listed_are_ignored() {
        let deep = format!("{}{}", "[".repeat(30_000), "]".repeat(30_000));
        for extra in [r#""\ud800""#, "1e999", "{}", "-0", &deep] {
            assert_eq!(read(&format!(r#"{{"x":{extra},"type":"flush"}}"#)).unwrap(), Request::Flush, "{extra:.40}");
        }
        assert!(read(&format!(r#"{{"text":{deep},"type":"speak"}}"#)).is_err());
    }

    #[test]
    fn the_last_member_of_a_name_holds() {
        let message = r#"{"type":"flush","text":1,"type":"speak","text":"b"}"#;
        assert_eq!(read(message).unwrap(), Request::Speak("b".into()));
    }

    #[test]
    fn escapes_and_every_character_arrive() {
        let text = r#"{"type":"text","text":"\ud83d\ude00 \u0000\n語"}"#;
        assert_eq!(read(text).unwrap(), Request::Text("😀 \0\n語".into()));
        assert_eq!(read(r#"{"type":"stop"}"#).unwrap(), Request::Stop(None));
        assert_eq!(read(r#" {"played_ms":12.5,"type":"stop"} "#).unwrap(), Request::Stop(Some(12.5)));
        assert_eq!(read(r#"{"played_ms":-0,"type":"stop"}"#).unwrap(), Request::Stop(Some(-0.0)));
    }

    #[test]
    fn a_message_of_65_536_bytes_is_read_and_a_longer_one_is_not() {
        let frame = |n: usize| format!(r#"{{"type":"text","text":"{}"}}"#, "a".repeat(n - 25));
        assert_eq!(frame(MAX_BYTES).len(), MAX_BYTES);
        assert!(read(&frame(MAX_BYTES)).is_ok());
        assert!(read(&frame(MAX_BYTES + 1)).is_err());
    }
}
