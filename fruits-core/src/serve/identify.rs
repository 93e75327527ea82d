//! From the bytes of a photo to an answer in JSON.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use futures::StreamExt;
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{Limits, Refusal, answer_json};
use crate::error::{Error, ErrorKind, Result, Step};
use crate::recognise::{Answer, NearPhoto};
use crate::thumbnail::data_uri;

/// Bytes of a photo are counted in units of so many.
const UNIT: usize = 1 << 10;

/// From the bytes of a photo to what is known of it, on this thread.
pub(super) type Identify = Arc<dyn Fn(&[u8]) -> Result<Answer> + Send + Sync>;

/// Where photos are handed in: who answers, and what there is of memory, places in line and processors.
pub(super) struct Desk {
    identify: Identify,
    limits: Limits,
    memory: Arc<Semaphore>,
    line: Arc<Semaphore>,
    processors: Arc<Semaphore>,
}

impl Desk {
    pub(super) fn new(identify: Identify, limits: Limits) -> Self {
        let semaphore = |permits| Arc::new(Semaphore::new(permits));
        Desk {
            identify,
            limits,
            memory: semaphore(limits.memory / UNIT),
            line: semaphore(limits.line),
            processors: semaphore(limits.at_once),
        }
    }
}

/// The answer, as programs read it.
#[derive(Serialize)]
struct Reply<'a> {
    answer: &'a str,
    probability: f64,
    known: f64,
    is_unknown: bool,
    answers: Vec<&'a str>,
    probabilities: Vec<f64>,
    plausible: Vec<&'a str>,
    nearest: Vec<Alike<'a>>,
}

/// A photo that is alike, with its picture as a `data:` URI.
#[derive(Serialize)]
struct Alike<'a> {
    path: &'a str,
    label: &'a str,
    similarity: f64,
    picture: Option<String>,
}

impl<'a> Reply<'a> {
    fn new(answer: &'a Answer) -> Self {
        let (best, probability) = answer
            .answers
            .first()
            .map_or(("", 0.0), |(label, probability)| (label, *probability));
        Reply {
            answer: best,
            probability,
            known: answer.known,
            is_unknown: answer.is_unknown,
            answers: answer.answers.iter().map(|(label, _)| label.as_str()).collect(),
            probabilities: answer.answers.iter().map(|(_, probability)| *probability).collect(),
            plausible: answer
                .answers
                .iter()
                .take(answer.plausible)
                .map(|(label, _)| label.as_str())
                .collect(),
            nearest: answer.nearest.iter().map(Alike::new).collect(),
        }
    }
}

impl<'a> Alike<'a> {
    fn new(photo: &'a NearPhoto) -> Self {
        let picture = photo.picture.as_ref();
        Alike {
            path: &photo.path,
            label: &photo.label,
            similarity: photo.similarity,
            picture: picture.map(|jpeg| data_uri(jpeg)),
        }
    }
}

/// Answers a photo, which is the body of the request. All that can be known from its headers is checked before a byte of it is read.
pub(super) async fn identify(State(desk): State<Arc<Desk>>, request: Request) -> Result<Response, Refusal> {
    check_length(request.headers(), desk.limits.photo)?;
    check_type(request.headers())?;
    let reading = read(request.into_body(), &desk.memory);
    let (photo, memory) = tokio::time::timeout(desk.limits.upload, reading).await.map_err(|_| {
        let seconds = desk.limits.upload.as_secs();
        Refusal::new(
            StatusCode::REQUEST_TIMEOUT,
            format!("The photo did not come within {seconds} seconds."),
        )
    })??;
    let place = desk.line.clone().try_acquire_owned().map_err(|_| Refusal::busy())?;
    let unavailable = |_| Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "The server is being stopped.");
    let processor = desk.processors.clone().acquire_owned().await.map_err(unavailable)?;
    let identify = desk.identify.clone();
    // Once begun, it runs to its end even if nobody waits any more: what it takes is taken until then.
    let recognition = tokio::task::spawn_blocking(move || {
        let _taken = (memory, place, processor);
        let answer = identify(&photo)?;
        serde_json::to_string(&Reply::new(&answer)).map_err(|error| Error::from_source(Step::Serve, "", error))
    });
    match recognition.await {
        Ok(Ok(reply)) => Ok(answer_json(StatusCode::OK, reply)),
        Ok(Err(error)) => Err(refusal_of(&error)),
        Err(_panic) => Err(Refusal::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "The program has a fault that this photo brings to light; other photos are not concerned.",
        )),
    }
}

/// Whether the body is as large as it may be, as its header says. What comes is never more than that.
fn check_length(headers: &HeaderMap, limit: usize) -> Result<(), Refusal> {
    let length = headers.get(CONTENT_LENGTH).ok_or_else(|| {
        Refusal::new(
            StatusCode::LENGTH_REQUIRED,
            "Say the photo's size in the header Content-Length.",
        )
    })?;
    // hyper has checked that these are digits.
    let length = length.to_str().ok().and_then(|digits| digits.parse().ok());
    match length.unwrap_or(usize::MAX) {
        0 => Err(Refusal::new(
            StatusCode::BAD_REQUEST,
            "There is no photo: the body is empty.",
        )),
        length if length > limit => Err(Refusal::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("The photo is too large: it may have {} MB at most.", limit >> 20),
        )),
        _ => Ok(()),
    }
}

fn check_type(headers: &HeaderMap) -> Result<(), Refusal> {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = value.unwrap_or_default().split(';').next().unwrap_or_default();
    let essence = essence.trim().to_ascii_lowercase();
    match essence.starts_with("image/") || essence == "application/octet-stream" {
        true => Ok(()),
        false => Err(Refusal::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "Send the photo's bytes as the body, with the header Content-Type: image/jpeg, or whatever it is.",
        )),
    }
}

/// The whole body, and what it takes of the memory for all: as much as has come, so that who only announces something keeps nobody out.
async fn read(body: Body, memory: &Arc<Semaphore>) -> Result<(Vec<u8>, Vec<OwnedSemaphorePermit>), Refusal> {
    let (mut bytes, mut taken) = (Vec::new(), Vec::new());
    let mut stream = body.into_data_stream();
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|_| Refusal::new(StatusCode::BAD_REQUEST, "The photo did not come whole."))?;
        let units = (bytes.len() + chunk.len()).div_ceil(UNIT) - bytes.len().div_ceil(UNIT);
        let units = u32::try_from(units).map_err(|_| Refusal::busy())?;
        taken.push(
            memory
                .clone()
                .try_acquire_many_owned(units)
                .map_err(|_| Refusal::busy())?,
        );
        bytes.extend_from_slice(&chunk);
    }
    Ok((bytes, taken))
}

/// What an error of the recogniser is to who asked.
fn refusal_of(error: &Error) -> Refusal {
    let (status, begin) = match error.kind() {
        ErrorKind::Invalid => (StatusCode::UNPROCESSABLE_ENTITY, "The photo is damaged"),
        ErrorKind::Unsupported => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "The photo cannot be read"),
        ErrorKind::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "The photo is too large"),
        ErrorKind::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "The photo cannot be looked at now"),
        _ => (StatusCode::INTERNAL_SERVER_ERROR, "The photo could not be looked at"),
    };
    Refusal::new(status, format!("{begin}: {}.", error.message().trim_end_matches('.')))
}
