use std::time::Duration;

use crate::{FieldError, JobId, SessionId};

const LANGUAGES: [&str; 11] = [
    "Chinese",
    "English",
    "Japanese",
    "Korean",
    "German",
    "French",
    "Russian",
    "Portuguese",
    "Spanish",
    "Italian",
    "Auto",
];
const SAMPLE_RATES: [u32; 6] = [8_000, 16_000, 22_050, 24_000, 44_100, 48_000];

/// The format of samples. All are mono; the PCM formats are little-endian.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Encoding {
    /// Signed 16-bit integers.
    #[default]
    PcmS16le,
    /// 32-bit floating point, -1 to 1.
    PcmF32le,
    /// G.711 mu-law.
    Mulaw,
    /// G.711 A-law.
    Alaw,
}

impl Encoding {
    /// The encoding's name in the contract.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PcmS16le => "pcm_s16le",
            Self::PcmF32le => "pcm_f32le",
            Self::Mulaw => "mulaw",
            Self::Alaw => "alaw",
        }
    }

    /// The encoding with this name; `pcm16` is another name of `pcm_s16le`.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::PcmS16le, Self::PcmF32le, Self::Mulaw, Self::Alaw]
            .into_iter()
            .find(|it| it.as_str() == name)
            .or_else(|| (name == "pcm16").then_some(Self::PcmS16le))
    }

    /// The bytes of one sample.
    pub fn sample_bytes(self) -> usize {
        match self {
            Self::PcmS16le => 2,
            Self::PcmF32le => 4,
            Self::Mulaw | Self::Alaw => 1,
        }
    }
}

/// One request to speak. What is not set is decided by the worker.
///
/// ```
/// use makima_tts_client::Job;
/// let job = Job::new("Good morning.").language("English").sample_rate(48_000);
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
#[must_use]
pub struct Job {
    text: Option<String>,
    voice: Option<String>,
    language: Option<String>,
    sample_rate: Option<u32>,
    encoding: Option<Encoding>,
    ttl: Option<Duration>,
    seed: Option<u64>,
    temperature: Option<f64>,
    ahead: Option<Duration>,
    traceparent: Option<String>,
}

impl Job {
    /// A job whose text is complete.
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: Some(text.into()), ..Self::default() }
    }

    /// A job whose text is written while it is spoken.
    pub fn open() -> Self {
        Self::default()
    }

    /// The name of a voice card.
    pub fn voice(mut self, name: impl Into<String>) -> Self {
        self.voice = Some(name.into());
        self
    }

    /// One of the ten languages, or `Auto`. Without it the script of the text decides.
    pub fn language(mut self, name: impl Into<String>) -> Self {
        self.language = Some(name.into());
        self
    }

    /// Samples a second: 8000, 16000, 22050, 24000, 44100 or 48000.
    pub fn sample_rate(mut self, hertz: u32) -> Self {
        self.sample_rate = Some(hertz);
        self
    }

    /// The format of the samples.
    pub fn encoding(mut self, encoding: Encoding) -> Self {
        self.encoding = Some(encoding);
        self
    }

    /// How long the job may wait to begin: 1 ms to 5 minutes.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// The same seed, text and voice give the same speech: at most 2^63-1.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// The temperature of sampling: 0 to 2.
    pub fn temperature(mut self, temperature: f64) -> Self {
        self.temperature = Some(temperature);
        self
    }

    /// How far speech may be ahead of its listener: 3 s to 10 minutes, or zero for no limit.
    pub fn ahead(mut self, ahead: Duration) -> Self {
        self.ahead = Some(ahead);
        self
    }

    /// The W3C Trace Context of the publisher's span.
    pub fn traceparent(mut self, traceparent: impl Into<String>) -> Self {
        self.traceparent = Some(traceparent.into());
        self
    }

    /// Whether its text is written while it is spoken.
    pub fn is_open(&self) -> bool {
        self.text.is_none()
    }

    /// How long the job may wait to begin, with the contract's default.
    pub fn time_to_live(&self) -> Duration {
        self.ttl.unwrap_or(Duration::from_secs(30))
    }

    /// The flat fields of the job's entry.
    pub fn fields(&self, session: &SessionId, job: &JobId) -> Result<Vec<(&'static str, String)>, FieldError> {
        let mut fields = vec![("session_id", session.to_string()), ("job_id", job.to_string())];
        fields.push(self.text.clone().map_or(("text_from", "stream".into()), |text| ("text", text)));
        let optional = [
            ("voice", checked(&self.voice, "voice", |it| (1..=128).contains(&it.len()), "use 1 to 128 bytes")?),
            ("language", checked(&self.language, "language", |it| is_language(it), "use one of the ten, or Auto")?),
            ("sample_rate", checked(&self.sample_rate, "sample_rate", |it| SAMPLE_RATES.contains(it), RATES)?),
            ("encoding", self.encoding.map(|it| it.as_str().to_string())),
            ("ttl_ms", checked(&self.ttl.map(ms), "ttl_ms", |it| (1..=300_000).contains(it), "use 1 to 300000")?),
            ("seed", checked(&self.seed, "seed", |it| i64::try_from(*it).is_ok(), "use at most 2^63-1")?),
            ("temperature", self.checked_temperature()?),
            ("ahead_ms", checked(&self.ahead.map(ms), "ahead_ms", |it| is_ahead(*it), "use 0 or 3000 to 600000")?),
            ("traceparent", self.traceparent.clone()),
        ];
        fields.extend(optional.into_iter().filter_map(|(name, value)| Some((name, value?))));
        Ok(fields)
    }

    fn checked_temperature(&self) -> Result<Option<String>, FieldError> {
        checked(&self.temperature, "temperature", |it| (0.0..=2.0).contains(it), "use 0 to 2")?;
        Ok(self.temperature.map(|it| format!("{:.6}", it.abs()))) // without exponent or the sign of -0
    }
}

const RATES: &str = "use 8000, 16000, 22050, 24000, 44100 or 48000";

fn ms(duration: Duration) -> u128 {
    duration.as_millis()
}

fn is_language(name: &str) -> bool {
    LANGUAGES.iter().any(|it| it.eq_ignore_ascii_case(name))
}

fn is_ahead(ms: u128) -> bool {
    ms == 0 || (3_000..=600_000).contains(&ms)
}

fn checked<T: ToString>(
    value: &Option<T>,
    field: &'static str,
    is_allowed: impl Fn(&T) -> bool,
    remedy: &str,
) -> Result<Option<String>, FieldError> {
    match value {
        Some(value) if !is_allowed(value) => {
            Err(FieldError::new(field, format!("{} is not allowed; {remedy}", value.to_string())))
        }
        value => Ok(value.as_ref().map(T::to_string)),
    }
}
