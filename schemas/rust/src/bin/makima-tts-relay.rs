//! The relay as a program. Every flag is also an environment variable.

use std::fmt::Display;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Arg, CommandFactory as _, FromArgMatches as _, Parser, value_parser};
use makima_tts_client::{Client, Readers, Relay, RelayOptions};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

/// Serves the speak socket of makima-tts to WebSocket clients, and a page that speaks
#[derive(Parser)]
#[command(version)]
struct Settings {
    /// The Redis of the jobs: redis://, rediss://, unix://, redis+sentinel:// or redis+cluster://
    #[arg(long, env = "MAKIMA_TTS_REDIS_URL", default_value = "redis://127.0.0.1:6379/0", hide_env_values = true)]
    redis_url: String,
    /// The Redis of the sessions, where it is another one
    #[arg(long, env = "MAKIMA_TTS_SESSION_REDIS_URL", hide_env_values = true)]
    session_redis_url: Option<String>,
    #[arg(long, env = "MAKIMA_TTS_REDIS_USERNAME")]
    redis_username: Option<String>,
    #[arg(long, env = "MAKIMA_TTS_REDIS_PASSWORD", hide_env_values = true)]
    redis_password: Option<String>,
    /// A file with the password, which other users cannot read on the command line
    #[arg(long, env = "MAKIMA_TTS_REDIS_PASSWORD_FILE")]
    redis_password_file: Option<PathBuf>,
    /// A PEM file with the certificate authority of a Redis with TLS
    #[arg(long, env = "MAKIMA_TTS_REDIS_CA_FILE")]
    redis_ca_file: Option<PathBuf>,
    /// The first part of all key names
    #[arg(long, env = "MAKIMA_TTS_PREFIX", default_value = "makima")]
    prefix: String,
    /// For how long a worker waits for a piece of an open text: as its own setting
    #[arg(long, env = "MAKIMA_TTS_TEXT_WAIT_S", default_value_t = 30.0)]
    text_wait_s: f64,
    /// The address to listen on; 0.0.0.0 for all
    #[arg(long, env = "MAKIMA_TTS_RELAY_HOST", default_value = "127.0.0.1")]
    host: String,
    /// 0 takes a free one
    #[arg(long, env = "MAKIMA_TTS_RELAY_PORT", default_value_t = 8080)]
    port: u16,
    /// A voice card of the workers; by default theirs
    #[arg(long, env = "MAKIMA_TTS_RELAY_VOICE")]
    voice: Option<String>,
    /// The language of all texts, or Auto; by default the script of each decides
    #[arg(long, env = "MAKIMA_TTS_RELAY_LANGUAGE")]
    language: Option<String>,
    /// How long an utterance may wait to begin
    #[arg(long, env = "MAKIMA_TTS_RELAY_TTL_MS")]
    ttl_ms: Option<u64>,
    /// How far a worker may be ahead of a listener; 0 for no limit
    #[arg(long, env = "MAKIMA_TTS_RELAY_AHEAD_MS")]
    ahead_ms: Option<u64>,
    /// The most audio that is sent to a client before it can have played it; 0 for no limit
    #[arg(long, env = "MAKIMA_TTS_RELAY_PACE_AHEAD_MS", default_value_t = 10_000, value_parser = value_parser!(u32).range(..=3_600_000))]
    pace_ahead_ms: u32,
    /// The most utterances of a socket that wait for their answer
    #[arg(long, env = "MAKIMA_TTS_RELAY_MAX_UNFINISHED", default_value_t = 10, value_parser = value_parser!(u32).range(1..=1_000))]
    max_unfinished: u32,
    /// The most sockets at once
    #[arg(long, env = "MAKIMA_TTS_RELAY_MAX_SOCKETS", default_value_t = 10_000, value_parser = value_parser!(u32).range(1..=1_000_000))]
    max_sockets: u32,
    /// A file with a token that each socket must send
    #[arg(long, env = "MAKIMA_TTS_RELAY_TOKEN_FILE")]
    token_file: Option<PathBuf>,
    /// Origins of other pages that are let in, separated by commas; * for all
    #[arg(long, env = "MAKIMA_TTS_RELAY_ORIGINS", value_delimiter = ',')]
    origins: Vec<String>,
    /// The most sessions that read on a connection of their own while they speak; the others share one and use hints
    #[arg(long, env = "MAKIMA_TTS_RELAY_OWN_CONNECTIONS", default_value_t = 64, value_parser = value_parser!(u32).range(..=10_000))]
    own_connections: u32,
}

/// A variable that is set to nothing counts as not set.
fn without_empty(flag: Arg) -> Arg {
    let is_empty = flag.get_env().and_then(std::env::var_os).is_some_and(|it| it.is_empty());
    if is_empty { flag.env(None) } else { flag }
}

fn main() -> ExitCode {
    let matches = Settings::command().mut_args(without_empty).get_matches();
    let settings = Settings::from_arg_matches(&matches).unwrap_or_else(|problem| problem.exit());
    let served = tokio::runtime::Runtime::new()
        .map_err(|problem| format!("no threads can be started ({problem})"))
        .and_then(|runtime| runtime.block_on(serve(&settings)));
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("makima-tts-relay: {problem}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(settings: &Settings) -> Result<(), String> {
    let client = client(settings)?;
    let relay = Relay::new(client.clone(), options(settings)?);
    let address = (settings.host.as_str(), settings.port);
    let listener = TcpListener::bind(address).await.map_err(|problem| {
        format!("cannot listen on {}:{} ({problem}); use another --host or --port", settings.host, settings.port)
    })?;
    let (mut terminated, mut interrupted) =
        (signal(SignalKind::terminate()).map_err(text)?, signal(SignalKind::interrupt()).map_err(text)?);
    let address = listener.local_addr().map_err(text)?;
    let _ = writeln!(std::io::stdout(), "makima-tts-relay listens on http://{address}/"); // stdout may be closed
    tokio::spawn(report_redis(client.clone()));
    let end = async move {
        tokio::select! { _ = terminated.recv() => {}, _ = interrupted.recv() => {} }
    };
    let served = relay.serve(listener, end).await.map_err(text);
    client.close().await;
    served
}

async fn report_redis(client: Client) {
    if let Err(problem) = client.ping().await {
        eprintln!("makima-tts-relay: {problem}; utterances are answered with unavailable until Redis answers");
    }
}

fn text(problem: impl Display) -> String {
    problem.to_string()
}

fn client(settings: &Settings) -> Result<Client, String> {
    let text_wait = Duration::try_from_secs_f64(settings.text_wait_s)
        .map_err(|problem| format!("--text-wait-s {}: {problem}; use seconds, for example 30", settings.text_wait_s))?;
    let mut builder = Client::builder(settings.redis_url.clone())
        .prefix(settings.prefix.clone())
        .text_wait(text_wait)
        .readers(Readers::own_connections(settings.own_connections as usize));
    if let Some(url) = &settings.session_redis_url {
        builder = builder.sessions(url);
    }
    if settings.redis_username.is_some() || settings.redis_password.is_some() {
        let [user, password] = [&settings.redis_username, &settings.redis_password].map(|it| it.clone());
        builder = builder.credentials(user.unwrap_or_default(), password.unwrap_or_default());
    }
    if let Some(path) = &settings.redis_password_file {
        builder = builder.password_file(path);
    }
    if let Some(path) = &settings.redis_ca_file {
        builder = builder.ca_file(path);
    }
    builder.build().map_err(text)
}

fn options(settings: &Settings) -> Result<RelayOptions, String> {
    let mut options = RelayOptions::new()
        .pace_ahead(Duration::from_millis(settings.pace_ahead_ms.into()))
        .max_unfinished(settings.max_unfinished as usize)
        .max_sockets(settings.max_sockets as usize);
    options = settings.voice.iter().fold(options, RelayOptions::voice);
    options = settings.language.iter().fold(options, RelayOptions::language);
    options = settings.ttl_ms.map(Duration::from_millis).into_iter().fold(options, RelayOptions::ttl);
    options = settings.ahead_ms.map(Duration::from_millis).into_iter().fold(options, RelayOptions::ahead);
    let origins = settings.origins.iter().map(|it| it.trim()).filter(|it| !it.is_empty());
    options = origins.fold(options, RelayOptions::origin);
    if let Some(path) = &settings.token_file {
        options = options.token(token(path)?);
    }
    options.check().map_err(text)?;
    Ok(options)
}

fn token(path: &Path) -> Result<String, String> {
    let (shown, remedy) = (path.display(), "write the token into it, alone");
    let file =
        std::fs::read_to_string(path).map_err(|problem| format!("{shown} cannot be read ({problem}); {remedy}"))?;
    let token = file.trim();
    if token.is_empty() || token.len() > 4_096 || !token.bytes().all(|it| it.is_ascii_graphic()) {
        return Err(format!("{shown} is empty, has blanks or more than 4,096 bytes; {remedy}"));
    }
    Ok(token.into())
}
