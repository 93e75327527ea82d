//! The server as clients meet it, over sockets.

use std::io::{ErrorKind as Io, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::runtime::Runtime;

use super::identify::Identify;
use super::{Limits, Server, page};
use crate::error::{Error, ErrorKind, Result, Step};
use crate::recognise::{Answer, NearPhoto};

/// How long a test waits for what should come at once.
const PATIENCE: Duration = Duration::from_secs(20);

/// A server that runs until it is dropped.
struct Running {
    address: SocketAddr,
    _runtime: Runtime,
}

/// Photos are words here, which say what is to happen.
fn identify(photo: &[u8]) -> Result<Answer> {
    let fail = |kind, message| Err(Error::new(kind, Step::Decode, "", message));
    match photo {
        b"unsupported" => return fail(ErrorKind::Unsupported, "no format that is known"),
        b"damaged" => return fail(ErrorKind::Invalid, "it ends too early"),
        b"enormous" => return fail(ErrorKind::TooLarge, "too many pixels"),
        b"unavailable" => return fail(ErrorKind::Unavailable, "no answer"),
        b"io" => return fail(ErrorKind::Io, "no answer"),
        b"panic" => panic!("a fault that a test makes"),
        _ => (),
    }
    let nearest = |picture| NearPhoto {
        path: "Pear/<1>.jpg".to_owned(),
        label: "Pear".to_owned(),
        similarity: 0.5,
        picture,
    };
    Ok(Answer {
        path: String::new(),
        answers: vec![("Pear".to_owned(), 0.75), ("Apple \"Red\"".to_owned(), 0.25)],
        plausible: 1,
        known: 0.5,
        is_unknown: photo == b"unknown",
        nearest: vec![nearest(Some("jpeg".into())), nearest(None)],
    })
}

fn start(limits: Limits) -> Running {
    start_with(limits, Arc::new(identify))
}

fn start_with(limits: Limits, identify: Identify) -> Running {
    let runtime = Runtime::new().unwrap();
    let page = page::page(&["<b>Pear".to_owned()], "Mostly right.", limits.photo);
    let server = Server::listen(0, page, identify, limits).unwrap();
    let server = server.with_names(["fruits.example.org"]).unwrap();
    let address = server.address();
    runtime.spawn(server.run());
    Running {
        address,
        _runtime: runtime,
    }
}

fn start_default() -> Running {
    start(Limits::default())
}

impl Running {
    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// The response to a line such as `GET /` with some headers.
    fn ask(&self, line: &str, headers: &[&str]) -> String {
        let mut stream = self.connect();
        let headers = headers.join("\r\n");
        write!(stream, "{line} HTTP/1.1\r\nConnection: close\r\n{headers}\r\n\r\n").unwrap();
        rest(stream)
    }

    /// The response to a photo.
    fn identify(&self, photo: &str) -> String {
        rest(self.begin(photo.len(), photo))
    }

    /// A connection on which a photo of so many bytes has been announced, and these have been sent.
    fn begin(&self, length: usize, bytes: &str) -> TcpStream {
        let mut stream = self.connect();
        let head = "POST /identify HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: image/jpeg";
        write!(stream, "{head}\r\nContent-Length: {length}\r\n\r\n{bytes}").unwrap();
        stream
    }

    /// A connection on which a photo of so many bytes has been announced, and the server has begun to read it.
    fn announce(&self, length: usize) -> TcpStream {
        let mut stream = self.connect();
        let head = "POST /identify HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: image/jpeg";
        write!(
            stream,
            "{head}\r\nContent-Length: {length}\r\nExpect: 100-continue\r\n\r\n"
        )
        .unwrap();
        let mut told = [0; CONTINUE.len()];
        stream.read_exact(&mut told).unwrap();
        assert_eq!(told, *CONTINUE);
        stream
    }
}

/// All that comes until the server closes the connection.
fn rest(mut stream: TcpStream) -> String {
    let mut response = Vec::new();
    match stream.read_to_end(&mut response) {
        Err(error) if error.kind() != Io::ConnectionReset => panic!("{error}"),
        _ => String::from_utf8(response).unwrap(),
    }
}

fn status(response: &str) -> u16 {
    let status = response.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3));
    status
        .unwrap_or_else(|| panic!("no response: {response:?}"))
        .parse()
        .unwrap()
}

fn json(response: &str) -> Value {
    let (head, body) = response.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("content-type: application/json"), "{head}");
    serde_json::from_str(body).unwrap()
}

/// Whether the connection is still open and silent.
fn is_open(stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    let read = stream.peek(&mut [0; 1]);
    stream.set_nonblocking(false).unwrap();
    read.is_err_and(|error| error.kind() == Io::WouldBlock)
}

/// Waits until something is so.
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !is_so() {
        assert!(begin.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

const CONTINUE: &[u8; 25] = b"HTTP/1.1 100 Continue\r\n\r\n";
const LOCAL: &str = "Host: localhost";

#[test]
fn an_answer_is_json() {
    let server = start_default();
    let response = server.identify("pear");
    assert_eq!(status(&response), 200);
    let picture = "data:image/jpeg;base64,anBlZw==";
    let expected = serde_json::json!({
        "answer": "Pear", "probability": 0.75, "known": 0.5, "is_unknown": false,
        "answers": ["Pear", "Apple \"Red\""], "probabilities": [0.75, 0.25], "plausible": ["Pear"],
        "nearest": [
            { "path": "Pear/<1>.jpg", "label": "Pear", "similarity": 0.5, "picture": picture },
            { "path": "Pear/<1>.jpg", "label": "Pear", "similarity": 0.5, "picture": null },
        ],
    });
    assert_eq!(json(&response), expected);
    let unknown = json(&server.identify("unknown"));
    assert_eq!(
        (&unknown["is_unknown"], &unknown["answer"]),
        (&Value::from(true), &Value::from("Pear"))
    );
}

#[test]
fn every_response_has_the_headers() {
    let server = start_default();
    let mut responses = vec![
        server.identify("pear"),
        server.identify("damaged"),
        server.identify("panic"),
    ];
    for (line, expected) in [
        ("GET /", 200),
        ("HEAD /", 200),
        ("GET /page.css", 200),
        ("GET /page.js", 200),
        ("GET /none", 404),
        ("PUT /", 405),
    ] {
        let response = server.ask(line, &[LOCAL]);
        assert_eq!(status(&response), expected, "{line}");
        responses.push(response);
    }
    responses.push(server.ask("GET /", &["Host: evil.org"]));
    for response in responses {
        for header in [
            "content-security-policy: default-src 'none'; script-src 'self'; ",
            "x-content-type-options: nosniff",
            "referrer-policy: no-referrer",
            "cross-origin-resource-policy: same-origin",
            "cross-origin-opener-policy: same-origin",
            "permissions-policy: camera=()",
            "cache-control: no-store",
        ] {
            assert!(response.contains(header), "{header} in {response}");
        }
        assert!(!response.contains("access-control"), "{response}");
    }
}

#[test]
fn the_page_has_nothing_inline_and_names_are_text() {
    let page = start_default().ask("GET /", &[LOCAL]);
    assert!(page.contains("content-type: text/html; charset=utf-8") && page.contains("<!DOCTYPE html>"));
    assert!(page.contains("&lt;b&gt;Pear") && page.contains("Mostly right."));
    for inline in ["<style", "style=", "<script>", " onclick", "http://", "https://"] {
        let rest = page.replace("http://www.w3.org/2000/svg", "");
        assert!(!rest.contains(inline), "{inline}");
    }
}

#[test]
fn only_known_hosts_are_answered() {
    let server = start_default();
    for host in [
        "localhost",
        "127.0.0.1:9",
        "[::1]:8888",
        "Fruits.Example.org",
        "fruits.example.org:443",
    ] {
        assert_eq!(status(&server.ask("GET /", &[&format!("Host: {host}")])), 200, "{host}");
    }
    for host in ["evil.org", "localhost.evil.org", "10.0.0.1", "0.0.0.0", ""] {
        assert_eq!(status(&server.ask("GET /", &[&format!("Host: {host}")])), 403, "{host}");
    }
    assert_eq!(status(&server.ask("GET /", &["X: y"])), 400, "no host");
    assert_eq!(
        status(&server.ask("GET /", &[LOCAL, "Host: evil.org"])),
        400,
        "two hosts"
    );
    assert_eq!(
        status(&server.ask("GET http://evil.org/", &[LOCAL])),
        400,
        "as of a proxy"
    );
}

#[test]
fn only_the_page_itself_may_ask() {
    let server = start_default();
    let origin = |origin: &str| status(&server.ask("GET /", &["Host: localhost:9", &format!("Origin: {origin}")]));
    for own in ["http://localhost:9", "https://localhost:9"] {
        assert_eq!(origin(own), 200, "{own}");
    }
    for other in [
        "null",
        "http://localhost",
        "http://127.0.0.1:9",
        "http://evil.org",
        "ftp://localhost:9",
        "http://localhost:9/",
        "",
    ] {
        assert_eq!(origin(other), 403, "{other}");
    }
    assert_eq!(
        status(&server.ask("GET /", &[LOCAL, "Origin: http://localhost", "Origin: null"])),
        403
    );
    let posted = |site: &str| {
        let headers = [
            LOCAL,
            "Content-Type: image/jpeg",
            "Content-Length: 0",
            &format!("Sec-Fetch-Site: {site}"),
        ];
        status(&server.ask("POST /identify", &headers))
    };
    assert_eq!(
        (posted("same-origin"), posted("none")),
        (400, 400),
        "their body is empty"
    );
    assert_eq!(
        (posted("same-site"), posted("cross-site"), posted("x")),
        (403, 403, 403)
    );
    assert_eq!(
        status(&server.ask("GET /", &[LOCAL, "Sec-Fetch-Site: cross-site"])),
        200,
        "a link leads here"
    );
}

#[test]
fn methods_are_those_that_there_are() {
    let server = start_default();
    for (line, allowed) in [
        ("POST /", "allow: GET,HEAD"),
        ("OPTIONS /identify", "allow: POST"),
        ("GET /identify", "allow: POST"),
        ("DELETE /page.js", "allow: GET,HEAD"),
    ] {
        let response = server.ask(line, &[LOCAL]);
        assert_eq!(status(&response), 405, "{line}");
        assert!(
            response.contains(allowed) && json(&response)["error"].is_string(),
            "{response}"
        );
    }
}

#[test]
fn what_is_no_photo_is_refused_in_words() {
    let server = start_default();
    for (photo, expected, words) in [
        ("unsupported", 415, "The photo cannot be read: no format that is known."),
        ("damaged", 422, "The photo is damaged: it ends too early."),
        ("enormous", 413, "The photo is too large: too many pixels."),
        ("unavailable", 503, "The photo cannot be looked at now: no answer."),
        ("io", 500, "The photo could not be looked at: no answer."),
        ("", 400, "There is no photo: the body is empty."),
    ] {
        let response = server.identify(photo);
        assert_eq!(
            (status(&response), &json(&response)["error"]),
            (expected, &Value::from(words))
        );
    }
    let post = |headers: &[&str]| status(&server.ask("POST /identify", &[&[LOCAL], headers].concat()));
    assert_eq!(post(&["Content-Type: image/jpeg"]), 411);
    assert_eq!(post(&["Content-Type: image/jpeg", "Transfer-Encoding: chunked"]), 411);
    assert_eq!(post(&["Content-Type: image/jpeg", "Content-Length: 1x"]), 400);
    assert_eq!(post(&["Content-Type: image/jpeg", "Content-Length: 99999999999"]), 413);
    for other in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "imagesque/x",
        "",
    ] {
        assert_eq!(
            post(&["Content-Length: 4", &format!("Content-Type: {other}")]),
            415,
            "{other}"
        );
    }
    assert_eq!(post(&["Content-Length: 4"]), 415, "no type");
    let with_parameter = "Content-Type: Image/JPEG; x=y\r\nContent-Length: 4\r\n\r\npear";
    assert_eq!(post(&[with_parameter]), 200);
}

#[test]
fn who_sends_too_much_gets_to_see_why_not() {
    let server = start(Limits {
        photo: 1 << 20,
        ..Limits::default()
    });
    let began = Instant::now();
    let response = rest(server.begin(16 << 20, ""));
    assert_eq!(status(&response), 413, "before any of it is read");
    assert!(began.elapsed() < Duration::from_secs(5));
    let mut stream = server.begin(16 << 20, "");
    let chunk = vec![0; 1 << 20];
    for _ in 0..16 {
        stream.write_all(&chunk).unwrap();
    }
    assert_eq!(status(&rest(stream)), 413, "after all of it is sent");
}

#[test]
fn a_panic_is_one_refusal() {
    let server = start(Limits {
        at_once: 1,
        line: 1,
        memory: 8 << 10,
        ..Limits::default()
    });
    for _ in 0..20 {
        assert_eq!(status(&server.identify("panic")), 500);
    }
    assert_eq!(status(&server.identify("pear")), 200, "nothing stays taken");
}

#[test]
fn a_slow_upload_ends() {
    let server = start(Limits {
        upload: Duration::from_millis(100),
        ..Limits::default()
    });
    let response = rest(server.begin(4, "pea"));
    assert_eq!(status(&response), 408);
    until("others are answered", || status(&server.identify("pear")) == 200);
}

#[test]
fn memory_is_bounded_and_comes_back() {
    let server = start(Limits {
        memory: 8 << 10,
        ..Limits::default()
    });
    let mut first = None;
    until("it is taken", || {
        // If another request had memory just then, it is refused, and begun anew.
        first = Some(server.begin(8 << 10, &"p".repeat((8 << 10) - 1)));
        std::thread::sleep(Duration::from_millis(50));
        status(&server.identify("pear")) == 429
    });
    let refused = server.identify("pear");
    assert!(
        status(&refused) == 429 && refused.contains("retry-after: 2\r\n"),
        "{refused}"
    );
    assert_eq!(status(&server.ask("GET /", &[LOCAL])), 200);
    drop(first); // the upload is cut
    until("the memory is free", || status(&server.identify("pear")) == 200);
    assert_eq!(
        status(&rest(server.begin(9 << 10, &"p".repeat(9 << 10)))),
        429,
        "more than there is"
    );
}

#[test]
fn the_line_is_bounded_and_who_leaves_makes_room() {
    let (entered, entering) = mpsc::channel();
    let (release, released) = mpsc::channel();
    let released = Mutex::new(released);
    let held = move |photo: &[u8]| {
        entered.send(()).unwrap();
        released.lock().unwrap().recv_timeout(PATIENCE).unwrap();
        identify(photo)
    };
    let limits = Limits {
        line: 2,
        at_once: 1,
        ..Limits::default()
    };
    let server = start_with(limits, Arc::new(held));
    let first = server.begin(4, "pear");
    entering.recv_timeout(PATIENCE).unwrap();
    // Of two more, one waits and one is refused.
    let mut others: Vec<TcpStream> = (0..2).map(|_| server.begin(4, "pear")).collect();
    until("the line is full", || !others.iter().all(is_open));
    let refused = others.remove(usize::from(is_open(&others[0])));
    assert_eq!(status(&rest(refused)), 429);
    assert!(others.iter().all(is_open));
    others.clear();
    let mut next = server.begin(4, "pear");
    until("there is room again", || {
        std::thread::sleep(Duration::from_millis(500));
        let waits = is_open(&next);
        if !waits {
            next = server.begin(4, "pear");
        }
        waits
    });
    assert!(entering.try_recv().is_err(), "one at a time");
    for waiting in [first, next] {
        release.send(()).unwrap();
        assert_eq!(status(&rest(waiting)), 200);
    }
    assert_eq!(entering.try_iter().count(), 1, "who left was not looked at");
}

#[test]
fn headers_are_bounded() {
    let server = start_default();
    let long = format!("X: {}", "x".repeat(20 << 10));
    assert_eq!(status(&server.ask("GET /", &[LOCAL, &long])), 431);
    assert_eq!(status(&server.ask("GET /", &["X: y"; 200])), 431);
    let long = format!("GET /{}", "x".repeat(70_000));
    assert!(matches!(status(&server.ask(&long, &[LOCAL])), 414 | 431));
    assert_eq!(status(&server.ask("\u{1}", &[LOCAL])), 400);
}

#[test]
fn connections_without_a_request_are_closed() {
    let limits = Limits {
        idle: Duration::from_secs(1),
        ..Limits::default()
    };
    let server = start(limits);
    let silent = server.connect();
    let mut slow = server.connect();
    let mut kept = server.connect();
    write!(kept, "GET /page.css HTTP/1.1\r\n{LOCAL}\r\n\r\n").unwrap();
    let mut in_request = server.announce(4);
    until("slow headers end", || {
        slow.write_all(b"GET").is_err() || !is_open(&slow)
    });
    assert_eq!(rest(silent), "");
    assert_eq!(status(&rest(kept)), 200, "and then it is closed");
    std::thread::sleep(2 * limits.idle);
    in_request.write_all(b"pear").unwrap();
    assert_eq!(status(&rest(in_request)), 200, "who is in a request may take longer");
}

#[test]
fn idle_connections_keep_nobody_out() {
    let server = start(Limits {
        connections: 8,
        ..Limits::default()
    });
    let mut kept = server.announce(4); // the oldest, but in a request
    let idle: Vec<TcpStream> = (0..100).map(|_| server.connect()).collect();
    for _ in 0..20 {
        assert_eq!(status(&server.identify("pear")), 200);
    }
    until("the older ones are closed", || {
        idle[..93].iter().all(|stream| !is_open(stream))
    });
    kept.write_all(b"pear").unwrap();
    assert_eq!(status(&rest(kept)), 200);
}

#[test]
fn if_all_are_in_requests_the_next_one_waits() {
    let server = start(Limits {
        connections: 2,
        ..Limits::default()
    });
    let mut taken: Vec<TcpStream> = (0..2).map(|_| server.announce(4)).collect();
    let next = server.begin(4, "pear");
    std::thread::sleep(Duration::from_millis(100));
    assert!(is_open(&next));
    taken[0].write_all(b"pear").unwrap();
    assert_eq!(status(&rest(next)), 200);
    taken[1].write_all(b"pear").unwrap();
    assert!(taken.into_iter().all(|stream| status(&rest(stream)) == 200));
}

#[test]
fn one_connection_takes_many_requests() {
    let server = start_default();
    let mut stream = server.connect();
    for i in 0..50 {
        let close = if i == 49 { "Connection: close\r\n" } else { "" };
        let head = format!("POST /identify HTTP/1.1\r\n{LOCAL}\r\n{close}Content-Type: image/jpeg");
        write!(stream, "{head}\r\nContent-Length: 4\r\n\r\npear").unwrap();
    }
    assert_eq!(rest(stream).matches("HTTP/1.1 200 OK").count(), 50);
}

#[test]
fn a_port_that_is_taken_is_named() {
    let server = start_default();
    let port = server.address.port();
    let error = Server::listen(port, String::new(), Arc::new(identify), Limits::default()).err();
    let error = error.map(|error| error.to_string()).unwrap_or_default();
    assert!(
        error.starts_with(&format!("127.0.0.1:{port}: serve: Address already in use")),
        "{error}"
    );
}

#[test]
fn a_server_that_is_dropped_closes_its_connections() {
    let server = start_default();
    let idle = server.connect();
    assert_eq!(status(&server.ask("GET /", &[LOCAL])), 200);
    assert!(is_open(&idle));
    drop(server);
    assert_eq!(rest(idle), "");
}
