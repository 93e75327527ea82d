//! A small web server on this machine: someone shows a photo and learns which fruit it is.
//!
//! | module | what it knows |
//! |---|---|
//! | `page` | the page for people, which has its style and its script in files beside it |
//! | `identify` | from the bytes of a photo to an answer in JSON, within limits |
//! | `guard` | who may ask, and the headers of every response |
//! | `connections` | the open connections: how many, and for how long |

mod connections;
mod guard;
mod identify;
mod page;
#[cfg(test)]
mod tests;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::json;

use crate::error::{Error, Result, Step};
use crate::interrupt;
use crate::recognise::Recogniser;
use guard::Names;
use identify::{Desk, Identify};

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JAVASCRIPT: &str = "text/javascript; charset=utf-8";
const JSON: &str = "application/json";

/// After so many seconds, who was refused because others were served may ask again.
const RETRY_SECONDS: u32 = 2;

/// What the server takes upon itself at most.
#[derive(Debug, Clone, Copy)]
struct Limits {
    /// Bytes of one photo.
    photo: usize,
    /// Bytes of the photos of all requests.
    memory: usize,
    /// Photos that are being recognised or wait for it.
    line: usize,
    /// Photos that are being recognised.
    at_once: usize,
    /// Time that a photo's bytes may take to come.
    upload: Duration,
    /// Time that a connection stays open without a request: the time for the headers of the next one, and to take the last response.
    idle: Duration,
    /// Open connections.
    connections: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            photo: 32 << 20,
            memory: 128 << 20,
            line: 256,
            at_once: std::thread::available_parallelism().map_or(1, usize::from),
            upload: Duration::from_secs(30),
            idle: Duration::from_secs(10),
            connections: 4096,
        }
    }
}

/// A web server on 127.0.0.1 with a page that tells which fruit is on a photo. Programs ask it with the photo's bytes:
///
/// ```text
/// curl --data-binary @photo.jpg -H 'Content-Type: image/jpeg' http://127.0.0.1:8080/identify
/// ```
///
/// ```no_run
/// use fruits_core::{Recogniser, Server};
///
/// # async fn example(recogniser: Recogniser) -> fruits_core::Result<()> {
/// let server = Server::bind(recogniser, 8080)?.with_names(["fruits.example.org"])?;
/// println!("http://{}", server.address());
/// server.run().await?;
/// # Ok(())
/// # }
/// ```
///
/// It answers requests to `127.0.0.1`, `localhost` and `[::1]`, on any port (so a tunnel may lead to it), and from its own page only. Photos
/// stay in memory until they are answered; nothing is written and nothing of them is logged.
///
/// It speaks HTTP without TLS and listens on no other address. For phones, put a proxy with TLS in front of it, which passes on the header
/// `Host`, and say its name: see [`with_names`](Self::with_names). Whoever reaches the proxy may ask: who that is, is the proxy's to say.
pub struct Server {
    page: String,
    identify: Identify,
    listener: TcpListener,
    address: SocketAddr,
    names: Names,
    limits: Limits,
}

impl Server {
    /// A server on this port of 127.0.0.1; port 0 stands for any that is free. Connections wait until it [runs](Self::run).
    ///
    /// # Errors
    /// If the port is taken, or may not be used.
    pub fn bind(recogniser: Recogniser, port: u16) -> Result<Self> {
        let limits = Limits::default();
        let page = page::page(
            recogniser.classifier().labels(),
            &recogniser.expectation(),
            limits.photo,
        );
        let identify = move |photo: &[u8]| {
            let mut answer = recogniser.identify_alone(photo, "")?;
            // Where they lie on this machine is nobody's business.
            let source = &recogniser.classifier().features().manifest().source;
            for near in &mut answer.nearest {
                let below = near.path.strip_prefix(source.as_str()).unwrap_or(&near.path);
                near.path = below.trim_start_matches('/').to_owned();
            }
            Ok(answer)
        };
        Self::listen(port, page, Arc::new(identify), limits)
    }

    fn listen(port: u16, page: String, identify: Identify, limits: Limits) -> Result<Self> {
        let wanted = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let listener = TcpListener::bind(wanted).and_then(|listener| {
            listener.set_nonblocking(true)?;
            Ok((listener.local_addr()?, listener))
        });
        let (address, listener) =
            listener.map_err(|error| Error::from_source(Step::Serve, wanted.to_string(), error))?;
        Ok(Server {
            page,
            identify,
            listener,
            address,
            names: Names::default(),
            limits,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Further names of hosts under which it may be asked, such as `fruits.example.org`, without a port.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if one of them is no name of a host.
    pub fn with_names<T: AsRef<str>>(mut self, names: impl IntoIterator<Item = T>) -> Result<Self> {
        for name in names {
            self.names.add(name.as_ref())?;
        }
        Ok(self)
    }

    /// Serves until the future is dropped, or in a notebook the cell is interrupted, which closes all connections.
    ///
    /// # Errors
    /// If the system does not let it wait for connections; [`ErrorKind::Interrupted`](crate::ErrorKind::Interrupted).
    pub async fn run(self) -> Result<()> {
        let Limits { connections, idle, .. } = self.limits;
        let router = router(self.page, self.identify, self.names, self.limits);
        let listener = tokio::net::TcpListener::from_std(self.listener)
            .map_err(|error| Error::from_source(Step::Serve, self.address.to_string(), error))?;
        match interrupt::race(Step::Serve, connections::serve(listener, router, connections, idle)).await? {}
    }
}

fn router(page: String, identify: Identify, names: Names, limits: Limits) -> Router {
    let fixed = |kind: &'static str, content: bytes::Bytes| {
        get(async move || ([(CONTENT_TYPE, HeaderValue::from_static(kind))], content))
    };
    Router::new()
        .route("/", fixed(HTML, page.into()))
        .route("/page.css", fixed(CSS, page::STYLE.into()))
        .route("/page.js", fixed(JAVASCRIPT, page::SCRIPT.into()))
        .route("/identify", post(identify::identify))
        .fallback(async || Refusal::new(StatusCode::NOT_FOUND, "There is nothing here; the page is at /."))
        .method_not_allowed_fallback(async || {
            Refusal::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "This cannot be asked in this way; see the header Allow.",
            )
        })
        .layer(middleware::from_fn_with_state(Arc::new(names), guard::check))
        .with_state(Arc::new(Desk::new(identify, limits)))
}

/// Why there is no answer: a status, and a sentence for people.
#[derive(Debug)]
struct Refusal {
    status: StatusCode,
    sentence: String,
}

impl Refusal {
    fn new(status: StatusCode, sentence: impl Into<String>) -> Self {
        Refusal {
            status,
            sentence: sentence.into(),
        }
    }

    /// Others are served at the moment.
    fn busy() -> Self {
        Refusal::new(
            StatusCode::TOO_MANY_REQUESTS,
            "Many photos are being looked at; please try again in a moment.",
        )
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = answer_json(self.status, json!({ "error": self.sentence }).to_string());
        if self.status == StatusCode::TOO_MANY_REQUESTS {
            response.headers_mut().insert(RETRY_AFTER, RETRY_SECONDS.into());
        }
        response
    }
}

fn answer_json(status: StatusCode, json: String) -> Response {
    (status, [(CONTENT_TYPE, HeaderValue::from_static(JSON))], json).into_response()
}
