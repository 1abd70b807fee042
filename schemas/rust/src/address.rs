//! Redis URLs: the same that the worker takes.
//!
//! `redis://user:password@host:6379/0`, `unix:///path?db=0`, `redis+sentinel://host:26379,host:26379/service/0` and
//! `redis+cluster://host:6379,host:6379`; with TLS `rediss` for `redis`. Behind a ? may stand db, username and password.

use crate::failures::ConfigError;
use std::path::PathBuf;

const EXAMPLE: &str = "redis://127.0.0.1:6379/0";
const UNREADABLE: ConfigError = ConfigError::fixed(
    "the Redis URL cannot be read",
    "it looks like redis://user:password@host:6379/0, with characters such as @ / # : of a password written as \
     %40 %2F %23 %3A (or give the password apart from the URL)",
);

/// Where the servers are. A place is a host and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Server(String, u16),
    Socket(PathBuf),
    Sentinels(Vec<(String, u16)>, String),
    Cluster(Vec<(String, u16)>),
}

/// A Redis URL, checked.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Address {
    pub place: Place,
    pub is_tls: bool,
    pub db: u32,
    pub username: Option<String>,
    pub password: Option<String>,
}

/// An address is parsed from a URL without spaces around it. Errors never contain the URL, which may have a password.
pub(crate) fn parse(url: &str) -> Result<Address, ConfigError> {
    let (scheme, rest) = url.split_once("://").ok_or_else(unknown_scheme)?;
    let scheme = scheme.to_ascii_lowercase();
    let (is_tls, kind) = match scheme.as_str() {
        "redis" | "redis+sentinel" | "redis+cluster" | "unix" => (false, scheme.trim_start_matches("redis")),
        "rediss" | "rediss+sentinel" | "rediss+cluster" => (true, scheme.trim_start_matches("rediss")),
        _ => return Err(unknown_scheme()),
    };
    let (rest, fragment) = rest.split_once('#').unwrap_or((rest, ""));
    if !fragment.is_empty() {
        return Err(UNREADABLE); // a # of a password that is not quoted
    }
    let (before, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (netloc, path) = before.find('/').map_or((before, ""), |at| before.split_at(at));
    let (login, hosts) = netloc.rsplit_once('@').unwrap_or(("", netloc));
    let (username, password) = login.split_once(':').unwrap_or((login, ""));
    let mut address = Address {
        place: Place::Socket(PathBuf::new()),
        is_tls,
        db: 0,
        username: given(unquoted(username)?),
        password: given(unquoted(password)?),
    };
    match kind {
        "+sentinel" => sentinel(&mut address, hosts, path, query)?,
        "+cluster" => cluster(&mut address, hosts, path, query)?,
        "unix" => socket(&mut address, path, query)?,
        _ => server(&mut address, hosts, path, query)?,
    }
    Ok(address)
}

fn server(address: &mut Address, host: &str, path: &str, query: &str) -> Result<(), ConfigError> {
    let db = path.trim_matches('/');
    if !db.is_empty() {
        address.db = database(db).ok_or(UNREADABLE)?;
    }
    if host.is_empty() {
        return Err(ConfigError::new("the Redis URL names no host", format!("write for example {EXAMPLE}")));
    }
    let (host, port) = place(host, 6379).ok_or(UNREADABLE)?;
    address.place = Place::Server(host, port);
    options(address, query)
}

fn socket(address: &mut Address, path: &str, query: &str) -> Result<(), ConfigError> {
    if path.trim_matches('/').is_empty() {
        return Err(ConfigError::new("the Redis URL names no socket", "write for example unix:///run/redis.sock"));
    }
    address.place = Place::Socket(unquoted(path)?.into());
    options(address, query)
}

fn sentinel(address: &mut Address, hosts: &str, path: &str, query: &str) -> Result<(), ConfigError> {
    let hosts = places(hosts, query, 26379)?;
    let (service, db) = path.trim_matches('/').split_once('/').unwrap_or((path.trim_matches('/'), ""));
    let number = if db.is_empty() { Some(0) } else { database(db) };
    let (Some(db), false) = (number, service.is_empty()) else {
        let remedy = "write redis+sentinel://host:26379,host:26379/service/0";
        return Err(ConfigError::new("a Sentinel URL names the service", remedy));
    };
    address.db = db;
    address.place = Place::Sentinels(hosts, service.to_string());
    Ok(())
}

fn cluster(address: &mut Address, hosts: &str, path: &str, query: &str) -> Result<(), ConfigError> {
    let hosts = places(hosts, query, 6379)?;
    if !matches!(path, "" | "/" | "/0") {
        return Err(ConfigError::new("a Cluster has one database", "write redis+cluster://host:6379,host:6379"));
    }
    address.place = Place::Cluster(hosts);
    Ok(())
}

fn options(address: &mut Address, query: &str) -> Result<(), ConfigError> {
    let unusable = || {
        let problem = "an option of the Redis URL is unknown or has no usable value";
        ConfigError::new(problem, "use db, username, password, or no option")
    };
    let mut known = Vec::new();
    for option in query.split('&').filter(|_| !query.is_empty()) {
        let (name, value) = option.split_once('=').ok_or(UNREADABLE)?;
        let value = unquoted(&value.replace('+', " "))?;
        if value.is_empty() || !matches!(name, "db" | "username" | "password") {
            return Err(unusable());
        }
        if known.contains(&name) {
            continue; // the first one counts
        }
        known.push(name);
        match name {
            "db" => address.db = database(&value).ok_or_else(unusable)?,
            "username" => address.username = address.username.take().or(Some(value)),
            _ => address.password = address.password.take().or(Some(value)),
        }
    }
    Ok(())
}

fn places(hosts: &str, query: &str, default_port: u16) -> Result<Vec<(String, u16)>, ConfigError> {
    if !query.is_empty() {
        let problem = "a Sentinel or Cluster URL has no options behind a ?";
        return Err(ConfigError::new(problem, "set them apart from the URL"));
    }
    let unusable = || ConfigError::new("a part of the Redis URL is no host:port", "write host:6379,host:6379");
    hosts.split(',').map(|part| place(part, default_port).ok_or_else(unusable)).collect()
}

/// Host and port of `host`, `host:port` or `[::1]:port`.
fn place(part: &str, default_port: u16) -> Option<(String, u16)> {
    let (host, port) = match part.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']')?;
            (host, if port.is_empty() { "" } else { port.strip_prefix(':')? })
        }
        None => part.split_once(':').unwrap_or((part, "")),
    };
    let port = if port.is_empty() { 0 } else { digits(port)?.parse().ok()? };
    let host = unquoted(host).ok()?.to_lowercase();
    (!host.is_empty()).then_some((host, if port == 0 { default_port } else { port }))
}

fn database(number: &str) -> Option<u32> {
    digits(number).filter(|it| it.len() < 10)?.parse().ok()
}

fn digits(number: &str) -> Option<&str> {
    (!number.is_empty() && number.bytes().all(|it| it.is_ascii_digit())).then_some(number)
}

fn given(value: String) -> Option<String> {
    (!value.is_empty()).then_some(value)
}

/// The text with its %XX replaced. A % without two hexadecimal digits stays as it is.
fn unquoted(text: &str) -> Result<String, ConfigError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, behind)) = rest.split_first() {
        let code = (first == b'%').then(|| behind.get(..2)).flatten();
        let code = code.filter(|it| it.iter().all(u8::is_ascii_hexdigit)).and_then(|it| std::str::from_utf8(it).ok());
        let byte = code.and_then(|it| u8::from_str_radix(it, 16).ok());
        bytes.push(byte.unwrap_or(first));
        rest = if byte.is_some() { &behind[2..] } else { behind };
    }
    String::from_utf8(bytes).map_err(|_| UNREADABLE)
}

fn unknown_scheme() -> ConfigError {
    let known = "redis://, rediss://, unix://, redis+sentinel://, rediss+sentinel://, redis+cluster://, \
                 rediss+cluster://";
    ConfigError::new("a Redis URL begins with its scheme", format!("use one of {known}, for example {EXAMPLE}"))
}

#[cfg(test)]
#[path = "address_tests.rs"]
mod tests;
