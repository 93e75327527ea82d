//! Buckets of S3, and of services that speak its protocol.

mod client;
mod error;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::Config;
use aws_sdk_s3::primitives::DateTime;
use aws_sdk_s3::types::{EncodingType, Object, RequestPayer};
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use tokio::sync::{OnceCell, mpsc};

pub(crate) use self::client::aws;
use self::client::{connect, is_set, retries, timeouts};
use self::error::causes;
use super::{CHANGED, Entry, LIST_AHEAD, Length, Store, stream_of};
use crate::error::{Error, ErrorKind, Result, Step};

/// Tries of the first request to a store, if nothing answers: a mistyped endpoint should be said at once.
const FIRST_ATTEMPTS: u32 = 3;
/// Tries of an object whose answer breaks off: the SDK retries requests, but not what comes after the headers.
const BODY_ATTEMPTS: u32 = 6;
const BODY_BACKOFF: Duration = Duration::from_millis(100);
/// Tries to swap an object that others swap, too.
const SWAP_ATTEMPTS: u32 = 3;
/// Time in which nothing comes of an object, with all tries. A slow line may take as long as it takes.
const DEADLINE: Duration = Duration::from_secs(300);
/// Bytes a second that a line has at least, for what is sent: how far that has come, nobody sees.
const SLOWEST_UPLOAD: u64 = 4 << 10;

/// A bucket of S3, or what is below a prefix in it.
///
/// Locations are `s3://bucket` or `s3://bucket/prefix`, taken literally: nothing is decoded, and there are no wildcards. Credentials,
/// region and endpoint come from where the AWS command line takes them: variables, `~/.aws`, SSO, the role of the machine; with an
/// endpoint of its own (`AWS_ENDPOINT_URL_S3`, `AWS_ENDPOINT_URL`) the bucket's name goes into the path. Two more variables:
/// `AWS_SKIP_SIGNATURE=true` reads public buckets without credentials, `AWS_REQUEST_PAYER=requester` agrees to pay for requests.
///
/// Requests are tried again when the service is busy or the connection breaks, an object as a whole. What no other try can mend
/// (denied, expired, no such bucket) fails at once, with a sentence that says what to do.
#[derive(Debug, Clone)]
pub struct S3Store {
    bucket: Arc<Bucket>,
}

#[derive(Debug)]
struct Bucket {
    name: String,
    /// Empty, or ends in `/`.
    prefix: String,
    request_payer: Option<RequestPayer>,
    client: OnceCell<Client>,
}

impl S3Store {
    /// The store at `s3://bucket/prefix`. Nothing is asked of the service yet.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if the location does not begin with `s3://` and a bucket's name.
    pub fn new(location: &str) -> Result<Self> {
        Self::with(location, OnceCell::new())
    }

    /// The store at `s3://bucket/prefix`, through a client that was set up otherwise.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_client(location: &str, client: Client) -> Result<Self> {
        Self::with(location, OnceCell::new_with(Some(client)))
    }

    fn with(location: &str, client: OnceCell<Client>) -> Result<Self> {
        let rest = location.strip_prefix("s3://").unwrap_or_default();
        let (name, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if name.is_empty() {
            let message = "not a location on S3; give s3://bucket/prefix";
            return Err(Error::new(ErrorKind::Invalid, Step::Input, location, message));
        }
        let slash = if prefix.is_empty() || prefix.ends_with('/') {
            ""
        } else {
            "/"
        };
        Ok(S3Store {
            bucket: Arc::new(Bucket {
                name: name.to_owned(),
                prefix: format!("{prefix}{slash}"),
                request_payer: is_set("AWS_REQUEST_PAYER").then_some(RequestPayer::Requester),
                client,
            }),
        })
    }
}

impl Store for S3Store {
    fn uri(&self, key: &str) -> String {
        self.bucket.uri(key)
    }

    fn list(&self) -> BoxStream<'static, Result<Entry>> {
        let (sender, receiver) = mpsc::channel(LIST_AHEAD);
        let bucket = self.bucket.clone();
        let task = tokio::spawn(async move {
            if let Err(error) = bucket.list(&sender).await {
                // Nobody may be left who wants to know.
                let _ = sender.send(Err(error)).await;
            }
        });
        stream_of(self.uri(""), receiver, task)
    }

    fn get<'a>(&'a self, key: &'a str, length: Length) -> BoxFuture<'a, Result<Bytes>> {
        let received = AtomicUsize::new(0);
        Box::pin(async move {
            let mut get = std::pin::pin!(self.bucket.get(key, length, &received));
            let mut before = 0;
            loop {
                if let Ok(result) = tokio::time::timeout(DEADLINE, get.as_mut()).await {
                    return result.map(|(content, _)| content);
                }
                let now = received.load(Ordering::Relaxed);
                match now - before {
                    0 if now == 0 => return Err(self.bucket.overdue(Step::Read, key)),
                    0 => {
                        let message = format!("nothing came for {} s after {now} bytes", DEADLINE.as_secs());
                        return Err(Error::new(ErrorKind::Io, Step::Read, self.uri(key), message));
                    }
                    _ => before = now,
                }
            }
        })
    }

    fn put<'a>(&'a self, key: &'a str, content: Bytes) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.bucket.put(key, content, Condition::None))
    }

    fn swap<'a>(&'a self, key: &'a str, from: Option<Bytes>, to: Option<Bytes>) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let changed = || Error::new(ErrorKind::AlreadyExists, Step::Write, self.uri(key), CHANGED);
            let limit = [&from, &to]
                .into_iter()
                .flatten()
                .map(Bytes::len)
                .max()
                .unwrap_or_default() as u64;
            for attempt in 0..SWAP_ATTEMPTS {
                let (there, tag) = match self.bucket.get(key, Length::AtMost(limit), &AtomicUsize::new(0)).await {
                    Ok((content, tag)) => (Some(content), tag),
                    Err(error) if error.kind() == ErrorKind::NotFound => (None, None),
                    Err(error) if error.kind() == ErrorKind::TooLarge => return Err(changed()),
                    Err(error) => return Err(error),
                };
                // An earlier try may have arrived although its answer did not.
                if attempt > 0 && there == to {
                    return Ok(());
                }
                if there != from {
                    return Err(changed());
                }
                let condition = match (from.is_some(), tag) {
                    (false, _) => Condition::Absent,
                    (true, Some(tag)) => Condition::Tag(tag),
                    (true, None) => Condition::None,
                };
                let result = match to.clone() {
                    Some(content) => self.bucket.put(key, content, condition).await,
                    None if there.is_none() => Ok(()),
                    None => self.bucket.delete(key, condition).await,
                };
                match result {
                    Err(error) if matches!(error.kind(), ErrorKind::AlreadyExists | ErrorKind::NotFound) => {}
                    result => return result,
                }
            }
            Err(changed())
        })
    }

    fn compares<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<bool>> {
        Box::pin(async move {
            self.bucket.put(key, Bytes::new(), Condition::None).await?;
            let put = self.bucket.put(key, Bytes::new(), Condition::Absent);
            let delete = self.bucket.delete(key, Condition::Tag("\"0\"".to_owned()));
            let refused = |result: Result<()>| matches!(result, Err(error) if error.kind() == ErrorKind::AlreadyExists);
            let (put, delete) = futures::join!(put, delete);
            Ok(refused(put) && refused(delete))
        })
    }

    fn copy<'a>(&'a self, from: &'a str, to: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let source = format!("{}/{}", self.bucket.name, self.bucket.full_key(from));
            let source: Vec<_> = source.split('/').map(urlencoding::encode).collect();
            let request = self.bucket.client().await.copy_object();
            let copy = request
                .bucket(&self.bucket.name)
                .key(self.bucket.full_key(to))
                .copy_source(source.join("/"))
                .if_none_match("*")
                .set_request_payer(self.bucket.request_payer.clone())
                .customize()
                .config_override(Config::builder().timeout_config(timeouts(DEADLINE)))
                .send();
            let error = match tokio::time::timeout(DEADLINE, copy).await {
                Ok(Ok(_)) => return Ok(()),
                Ok(Err(error)) => self.bucket.error(Step::Write, from, error),
                Err(_) => return Err(self.bucket.overdue(Step::Write, to)),
            };
            if error.kind() != ErrorKind::AlreadyExists {
                return Err(error);
            }
            // An earlier try may have arrived although its answer did not.
            let read = async |key| self.get(key, Length::AtMost(u64::MAX)).await;
            let (source, there) = futures::join!(read(from), read(to));
            match source? == there? {
                true => Ok(()),
                false => Err(error.about(self.uri(to))),
            }
        })
    }

    fn delete<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.bucket.delete(key, Condition::None))
    }
}

/// What must hold for a write to happen.
enum Condition {
    None,
    Absent,
    Tag(String),
}

impl Bucket {
    fn uri(&self, key: &str) -> String {
        let uri = format!("s3://{}/{}{key}", self.name, self.prefix);
        match key {
            "" => uri[..uri.len() - 1].to_owned(),
            _ => uri,
        }
    }

    fn full_key(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    async fn client(&self) -> &Client {
        self.client.get_or_init(connect).await
    }

    async fn list(&self, entries: &mpsc::Sender<Result<Entry>>) -> Result<()> {
        let client = self.client().await;
        let (mut token, mut is_first) = (None, true);
        loop {
            let request = client.list_objects_v2();
            let request = request
                .bucket(&self.name)
                .prefix(&self.prefix)
                .encoding_type(EncodingType::Url) // XML cannot hold every key
                .set_continuation_token(token)
                .set_request_payer(self.request_payer.clone());
            let quick = Config::builder().retry_config(retries(FIRST_ATTEMPTS));
            let page = match is_first {
                true => match request.clone().customize().config_override(quick).send().await {
                    // It is there, but busy.
                    Err(error) if error.raw_response().is_some() => request.send().await,
                    result => result,
                },
                false => request.send().await,
            };
            let page = page.map_err(|error| self.error(Step::List, "", error))?;
            let is_truncated = page.is_truncated == Some(true);
            if is_first && page.contents().is_empty() && !is_truncated {
                let message = "nothing is there: no object's key begins with it";
                return Err(Error::new(ErrorKind::NotFound, Step::List, self.uri(""), message));
            }
            is_first = false;
            let is_encoded = page.encoding_type() == Some(&EncodingType::Url);
            for object in page.contents() {
                let Some(entry) = self.entry(object, is_encoded).transpose() else {
                    continue;
                };
                if entries.send(entry).await.is_err() {
                    return Ok(());
                }
            }
            token = page.next_continuation_token;
            match (is_truncated, &token) {
                (false, _) => return Ok(()),
                (true, Some(_)) => {}
                (true, None) => {
                    let message = "the service has more to list, but does not say where to go on";
                    return Err(Error::new(ErrorKind::Unavailable, Step::List, self.uri(""), message));
                }
            }
        }
    }

    /// An object as listed; nothing for the marker that consoles put where they show a folder.
    fn entry(&self, object: &Object, is_encoded: bool) -> Result<Option<Entry>> {
        let listed = object.key().unwrap_or_default();
        let decoded = if is_encoded {
            // As in forms, a space is a plus.
            urlencoding::decode(&listed.replace('+', " ")).map(|key| key.into_owned())
        } else {
            Ok(listed.to_owned())
        };
        let invalid = |message| Error::new(ErrorKind::Invalid, Step::List, self.uri(listed), message);
        let key = decoded.map_err(|_| invalid("the key is not UTF-8"))?;
        let key = key
            .strip_prefix(&self.prefix)
            .ok_or_else(|| invalid("the service listed a key outside of what it was asked for"))?;
        let modified = || object.last_modified().map(DateTime::to_string);
        Ok((!key.is_empty()).then(|| Entry {
            key: key.to_owned(),
            size: object.size().and_then(|size| size.try_into().ok()).unwrap_or_default(),
            version: object.e_tag().map(str::to_owned).or_else(modified).unwrap_or_default(),
        }))
    }

    /// An object, and its ETag.
    async fn get(&self, key: &str, length: Length, received: &AtomicUsize) -> Result<(Bytes, Option<String>)> {
        let mut attempt = 1;
        loop {
            match self.try_get(key, length, received).await {
                // The answer broke off, or came short.
                Err(error) if error.kind() == ErrorKind::Io && attempt < BODY_ATTEMPTS => {
                    tokio::time::sleep(BODY_BACKOFF * 2_u32.pow(attempt)).await;
                    attempt += 1;
                }
                result => return result,
            }
        }
    }

    async fn try_get(&self, key: &str, length: Length, received: &AtomicUsize) -> Result<(Bytes, Option<String>)> {
        let request = self.client().await.get_object();
        let answer = request
            .bucket(&self.name)
            .key(self.full_key(key))
            .set_request_payer(self.request_payer.clone())
            .send()
            .await
            .map_err(|error| self.error(Step::Read, key, error))?;
        let uri = || self.uri(key);
        let tag = answer.e_tag().map(str::to_owned);
        let announced = answer.content_length().and_then(|bytes| u64::try_from(bytes).ok());
        if let Some(announced) = announced {
            length.check(announced, uri)?;
        }
        let mut content = Vec::with_capacity(announced.unwrap_or_default() as usize);
        let mut body = answer.body;
        while content.len() as u64 <= length.limit()
            && let Some(chunk) = body.next().await
        {
            let chunk = chunk.map_err(|error| {
                let message = format!("the answer broke off after {} bytes: {}", content.len(), causes(&error));
                Error::new(ErrorKind::Io, Step::Read, uri(), message)
            })?;
            received.fetch_add(chunk.len(), Ordering::Relaxed);
            content.extend_from_slice(&chunk);
        }
        length.check(content.len() as u64, uri)?;
        Ok((content.into(), tag))
    }

    async fn put(&self, key: &str, content: Bytes, condition: Condition) -> Result<()> {
        let (if_none_match, if_match) = match condition {
            Condition::None => (None, None),
            Condition::Absent => (Some("*".to_owned()), None),
            Condition::Tag(tag) => (None, Some(tag)),
        };
        let deadline = DEADLINE + Duration::from_secs(content.len() as u64 / SLOWEST_UPLOAD);
        let request = self.client().await.put_object();
        let put = request
            .bucket(&self.name)
            .key(self.full_key(key))
            .body(content.into())
            .set_if_none_match(if_none_match)
            .set_if_match(if_match)
            .set_request_payer(self.request_payer.clone())
            .customize()
            .config_override(Config::builder().timeout_config(timeouts(deadline)))
            .send();
        match tokio::time::timeout(deadline, put).await {
            Ok(result) => result.map(|_| ()).map_err(|error| self.error(Step::Write, key, error)),
            Err(_) => Err(self.overdue(Step::Write, key)),
        }
    }

    async fn delete(&self, key: &str, condition: Condition) -> Result<()> {
        let tag = match condition {
            Condition::Tag(tag) => Some(tag),
            _ => None,
        };
        let request = self.client().await.delete_object();
        request
            .bucket(&self.name)
            .key(self.full_key(key))
            .set_if_match(tag)
            .set_request_payer(self.request_payer.clone())
            .send()
            .await
            .map(|_| ())
            .map_err(|error| self.error(Step::Write, key, error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_are_taken_literally() {
        let uri = |location: &str, key: &str| S3Store::new(location).unwrap().uri(key);
        assert_eq!(uri("s3://b", "1.jpg"), "s3://b/1.jpg");
        assert_eq!(uri("s3://b/", ""), "s3://b");
        assert_eq!(uri("s3://b/Test", "a b/é%2F+.jpg"), "s3://b/Test/a b/é%2F+.jpg");
        assert_eq!(uri("s3://b/Test/", ""), "s3://b/Test");
        assert_eq!(uri("s3://b/Test//", "/1.jpg"), "s3://b/Test///1.jpg");
        for location in ["s3://", "s3:///key", "gs://b"] {
            assert_eq!(S3Store::new(location).unwrap_err().kind(), ErrorKind::Invalid);
        }
    }
}
