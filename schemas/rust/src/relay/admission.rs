//! Whom a relay lets in.

use axum::extract::Query;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use serde::Deserialize;
use subtle::ConstantTimeEq;

use super::RelayOptions;

pub(super) type Refusal = (StatusCode, &'static str);

const FORBIDDEN: Refusal =
    (StatusCode::FORBIDDEN, "pages of this origin are not let in; add it to the relay's origins\n");
const UNAUTHORIZED: Refusal =
    (StatusCode::UNAUTHORIZED, "the token is missing or wrong; send Authorization: Bearer, or ?access_token=\n");

#[derive(Deserialize)]
struct Access {
    access_token: Option<String>,
}

/// Checks the origin and the token of a request for a socket.
pub(super) fn check(options: &RelayOptions, uri: &Uri, headers: &HeaderMap) -> Result<(), Refusal> {
    let host = text(headers, header::HOST).or(uri.authority().map(|it| it.as_str())).unwrap_or_default();
    for origin in headers.get_all(header::ORIGIN) {
        let origin = origin.to_str().unwrap_or_default();
        if !is_own(origin, host) && !options.origins.iter().any(|it| it == "*" || is_same(it, origin)) {
            return Err(FORBIDDEN);
        }
    }
    let Some(token) = &options.token else { return Ok(()) };
    let is_right = |given: &str| bool::from(given.as_bytes().ct_eq(token.0.as_bytes()));
    let query = Query::<Access>::try_from_uri(uri).ok().and_then(|it| it.0.access_token);
    let header = text(headers, header::AUTHORIZATION).and_then(bearer);
    let is_let_in = header.is_some_and(is_right) || query.is_some_and(|it| is_right(&it));
    is_let_in.then_some(()).ok_or(UNAUTHORIZED)
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

fn bearer(authorization: &str) -> Option<&str> {
    let (scheme, token) = authorization.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

/// Whether a page of this origin came from this host.
fn is_own(origin: &str, host: &str) -> bool {
    let Some((scheme, authority)) = origin.split_once("://") else { return false };
    let default_port = match scheme {
        "http" => ":80",
        "https" => ":443",
        _ => return false,
    };
    let place = |it: &str| it.strip_suffix(default_port).unwrap_or(it).to_ascii_lowercase();
    !authority.is_empty() && place(authority) == place(host)
}

fn is_same(configured: &str, origin: &str) -> bool {
    configured.trim_end_matches('/').eq_ignore_ascii_case(origin)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(options: &RelayOptions, uri: &str, given: &[(&str, &str)]) -> u16 {
        let mut headers = HeaderMap::new();
        for (name, value) in given {
            headers.append(header::HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
        }
        check(options, &uri.parse().unwrap(), &headers).err().map_or(200, |it| it.0.as_u16())
    }

    fn of_origin(options: &RelayOptions, origin: &str, host: &str) -> u16 {
        status(options, "/api/v1/speak", &[("host", host), ("origin", origin)])
    }

    #[test]
    fn a_page_of_the_relay_is_let_in_and_no_other() {
        let options = RelayOptions::new();
        for (origin, host) in [
            ("http://127.0.0.1:8080", "127.0.0.1:8080"),
            ("https://tts.example", "tts.example"),
            ("https://tts.example", "tts.example:443"),
            ("http://TTS.example:80", "tts.EXAMPLE"),
            ("http://[::1]:8080", "[::1]:8080"),
        ] {
            assert_eq!(of_origin(&options, origin, host), 200, "{origin} at {host}");
        }
        for (origin, host) in [
            ("http://127.0.0.1:8081", "127.0.0.1:8080"),
            ("http://tts.example.evil.example", "tts.example"),
            ("https://tts.example:80", "tts.example"),
            ("null", "tts.example"),
            ("", ""),
            ("http://", ""),
            ("file://tts.example", "tts.example"),
        ] {
            assert_eq!(of_origin(&options, origin, host), 403, "{origin} at {host}");
        }
        assert_eq!(status(&options, "/", &[("host", "a")]), 200);
        assert_eq!(status(&options, "/", &[("host", "a"), ("origin", "http://a"), ("origin", "http://b")]), 403);
    }

    #[test]
    fn configured_origins_are_let_in_too() {
        let options = RelayOptions::new().origin("https://app.example/").origin("http://localhost:5173");
        assert_eq!(of_origin(&options, "https://App.example", "tts"), 200);
        assert_eq!(of_origin(&options, "http://localhost:5173", "tts"), 200);
        assert_eq!(of_origin(&options, "http://app.example", "tts"), 403);
        assert_eq!(of_origin(&RelayOptions::new().origin("*"), "null", "tts"), 200);
    }

    #[test]
    fn a_token_comes_as_a_header_or_in_the_address() {
        let options = RelayOptions::new().token("se+cret");
        for (uri, given, wanted) in [
            ("/", vec![("authorization", "Bearer se+cret")], 200),
            ("/", vec![("authorization", "bearer  se+cret")], 200),
            ("/?access_token=se%2Bcret", vec![], 200),
            ("/?a=b&access_token=se%2Bcret", vec![("authorization", "Basic eDp5")], 200),
            ("/", vec![], 401),
            ("/?access_token=", vec![], 401),
            ("/?access_token=se+cret", vec![], 401),
            ("/?access_token=se%2Bcre", vec![("authorization", "Bearer se+crett")], 401),
            ("/", vec![("authorization", "se+cret")], 401),
        ] {
            assert_eq!(status(&options, uri, &given), wanted, "{uri} {given:?}");
        }
        assert!(!format!("{options:?}").contains("cret"));
    }
}
