//! Who may ask, and the headers of every response.
//!
//! Every site that someone has open in a browser can send requests to this machine. Names that lead here only because a site says so (DNS
//! rebinding), and requests that come from another page, are refused.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HOST, HeaderName, ORIGIN, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::Refusal;
use crate::error::{Error, ErrorKind, Result, Step};

/// Names that always lead to this machine.
const LOCAL: [&str; 3] = ["127.0.0.1", "localhost", "[::1]"];
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// What browsers are told with every response: nothing but what comes from here, in no other page, nothing kept.
const HEADERS: [(HeaderName, &str); 7] = [
    (
        CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src data: blob:; connect-src 'self'; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'",
    ),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (REFERRER_POLICY, "no-referrer"),
    (CACHE_CONTROL, "no-store"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (
        HeaderName::from_static("permissions-policy"),
        "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    ),
];

/// Names of hosts under which the server may be asked, beside the local ones.
#[derive(Debug, Default)]
pub(super) struct Names(Vec<String>);

impl Names {
    /// Adds a name.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if it is no name of a host.
    pub(super) fn add(&mut self, name: &str) -> Result<()> {
        let is_part = |part: &str| {
            !part.is_empty() && part.len() < 64 && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
        };
        if name.len() > 253 || !name.split('.').all(is_part) {
            let message = "not the name of a host; give it without https:// and port, as in fruits.example.org";
            return Err(Error::new(ErrorKind::Invalid, Step::Input, name, message));
        }
        self.0.push(name.to_owned());
        Ok(())
    }

    /// Whether a header `Host` has one of the names, with or without a port.
    fn include(&self, host: &str) -> bool {
        let name = match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) => name,
            _ => host,
        };
        let names = self.0.iter().map(String::as_str).chain(LOCAL);
        names.into_iter().any(|known| known.eq_ignore_ascii_case(name))
    }
}

/// Refuses what may not ask, and adds the headers to whatever is answered.
pub(super) async fn check(State(names): State<Arc<Names>>, request: Request, next: Next) -> Response {
    let mut response = match may_ask(&names, &request) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    };
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

fn may_ask(names: &Names, request: &Request) -> Result<(), Refusal> {
    let bad = |sentence: &str| Refusal::new(StatusCode::BAD_REQUEST, sentence);
    let forbidden = |sentence: &str| Refusal::new(StatusCode::FORBIDDEN, sentence);
    let headers = request.headers();
    if request.uri().authority().is_some() {
        return Err(bad("This is no proxy; ask for a path such as /."));
    }
    let host = match only(headers, HOST) {
        Some(Some(host)) => host,
        _ => return Err(bad("A request has one header Host.")),
    };
    if !names.include(host) {
        return Err(forbidden(
            "This server is not known by that name; ask 127.0.0.1 or localhost, or start it with the name.",
        ));
    }
    let is_from_here = |origin: &str| {
        let rest = origin
            .strip_prefix("https://")
            .or_else(|| origin.strip_prefix("http://"));
        rest == Some(host)
    };
    if only(headers, ORIGIN).is_some_and(|origin| !origin.is_some_and(is_from_here)) {
        return Err(forbidden("Requests from other pages are refused."));
    }
    let is_same_site = |site: &str| matches!(site, "same-origin" | "none");
    if request.method() == Method::POST
        && only(headers, SEC_FETCH_SITE).is_some_and(|site| !site.is_some_and(is_same_site))
    {
        return Err(forbidden("Requests from other sites are refused."));
    }
    Ok(())
}

/// The header's value, if it is there; nothing in place of the value, if it is there more than once or is no text.
fn only(headers: &HeaderMap, name: HeaderName) -> Option<Option<&str>> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?;
    Some(first.to_str().ok().filter(|_| values.next().is_none()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_names_of_hosts() {
        let mut names = Names::default();
        for name in ["fruits.example.org", "box", "10.0.0.7"] {
            names.add(name).unwrap();
        }
        for name in ["", "https://box", "box:443", "a..b", "a b", "fruit\u{e9}.org", "*"] {
            assert_eq!(names.add(name).unwrap_err().kind(), ErrorKind::Invalid, "{name}");
        }
        for host in [
            "127.0.0.1",
            "127.0.0.1:80",
            "LocalHost:8080",
            "[::1]",
            "[::1]:8080",
            "BOX",
            "box:443",
            "10.0.0.7",
        ] {
            assert!(names.include(host), "{host}");
        }
        for host in [
            "",
            ":80",
            "evil.org",
            "127.0.0.1.evil.org",
            "localhost.",
            "localhost:x",
            "::1",
            "box:1:2",
            "127.0.0.2",
        ] {
            assert!(!names.include(host), "{host}");
        }
    }
}
