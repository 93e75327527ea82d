//! Buckets of S3, and of services that speak its protocol.

mod client;
mod error;
mod list;
mod network;
mod requests;
mod settings;
mod write;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use aws_credential_types::provider::ProvideCredentials;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::Config;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::DateTime;
use aws_sdk_s3::types::RequestPayer;
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use tokio::sync::{OnceCell, mpsc};
use tracing::{debug, info};

pub(crate) use self::client::aws;
use self::client::{Connection, connect, is_set, timeouts};
use self::error::causes;
use self::write::Condition;
use super::{CHANGED, Entry, LIST_AHEAD, Length, Store, stream_of};
use crate::error::{Error, ErrorKind, Result, Step, printable};

/// Tries of an object whose answer breaks off: the SDK retries requests, but not what comes after the headers.
const BODY_ATTEMPTS: u32 = 6;
const BODY_BACKOFF: Duration = Duration::from_millis(100);
/// Tries to swap an object that others swap, too.
const SWAP_ATTEMPTS: u32 = 3;
/// Time in which nothing comes of an object, with all tries. A slow line may take as long as it takes.
const DEADLINE: Duration = Duration::from_secs(300);

/// A bucket of S3, or what is below a prefix in it.
///
/// Locations are `s3://bucket` or `s3://bucket/prefix`, taken literally: nothing is decoded, and there are no wildcards. The bucket may be
/// the ARN of an access point. Credentials, region and endpoint come from where the AWS command line takes them: variables, `~/.aws`, SSO,
/// the role of the machine; so do proxies (`HTTPS_PROXY`, `HTTP_PROXY`, `NO_PROXY`) and certificates (`AWS_CA_BUNDLE`). With an endpoint of
/// its own (`AWS_ENDPOINT_URL_S3`, `AWS_ENDPOINT_URL`) the bucket's name goes into the path. Three more variables:
/// `AWS_SKIP_SIGNATURE=true` reads public buckets without credentials, `AWS_REQUEST_PAYER=requester` agrees to pay for requests,
/// `AWS_VIRTUAL_HOSTED_STYLE_REQUEST=true` or `false` says whether the bucket's name goes into the host's.
///
/// Objects over 64 MiB are written in parts, and appear when the last one is there. Large folders are listed side by side, with up to 32
/// requests at the same time; S3 Express, whose listings are in no order, and services without delimiters are listed page after page.
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
    connection: OnceCell<Connection>,
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
        let connection = Connection { client, origin: None };
        Self::with(location, OnceCell::new_with(Some(connection)))
    }

    /// What leads to the service, by name: the profile, the region, the endpoint, proxies and certificates. No secret is in it.
    pub(crate) async fn settings(&self) -> Result<Vec<(&'static str, String)>> {
        Ok(match &self.bucket.connection().await?.origin {
            Some(origin) => origin.describe(),
            None => Vec::new(),
        })
    }

    /// Whether there are credentials, and until when.
    pub(crate) async fn credentials(&self) -> Result<String> {
        let origin = self.bucket.connection().await?.origin.as_ref();
        let provider = origin.and_then(|origin| origin.config.credentials_provider());
        let Some(provider) = provider else {
            return Ok("none: requests are not signed".to_owned());
        };
        match provider.provide_credentials().await {
            Ok(credentials) => Ok(match credentials.expiry() {
                Some(expiry) => format!("found; valid until {}", DateTime::from(expiry)),
                None => "found".to_owned(),
            }),
            Err(error) => Err(self.bucket.no_credentials(&error)),
        }
    }

    fn with(location: &str, connection: OnceCell<Connection>) -> Result<Self> {
        let rest = location.strip_prefix("s3://").unwrap_or_default();
        let (name, prefix) = split_bucket(rest);
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
                connection,
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
            if let Err(error) = list::list(bucket, &sender).await {
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
                    0 if now == 0 => return Err(self.bucket.overdue(Step::Read, key, DEADLINE)),
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
            let (put, delete) = futures::join!(put, delete);
            let mut is_refused = true;
            for result in [put, delete] {
                match result {
                    Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                    // Better said now than when all is computed.
                    Err(error) if error.kind() == ErrorKind::Denied => return Err(error),
                    _ => is_refused = false,
                }
            }
            Ok(is_refused)
        })
    }

    fn copy<'a>(&'a self, from: &'a str, to: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let source = self.bucket.copy_source(from);
            let request = self.bucket.client().await?.copy_object();
            let copy = request
                .bucket(&self.bucket.name)
                .key(self.bucket.full_key(to))
                .copy_source(&source)
                .if_none_match("*")
                .set_request_payer(self.bucket.request_payer.clone())
                .customize()
                .config_override(Config::builder().timeout_config(timeouts(DEADLINE)))
                .send();
            let error = match tokio::time::timeout(DEADLINE, copy).await {
                Ok(Ok(_)) => return Ok(()),
                Ok(Err(error)) if is_too_large_to_copy(&error) => {
                    return self.bucket.copy_parts(from, &source, to).await;
                }
                Ok(Err(error)) => self.bucket.error(Step::Write, from, error),
                Err(_) => return Err(self.bucket.overdue(Step::Write, to, DEADLINE)),
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

impl Bucket {
    fn uri(&self, key: &str) -> String {
        let uri = format!("s3://{}/{}{key}", self.name, self.prefix);
        match uri.strip_suffix('/') {
            // A prefix that ends in several slashes keeps them, so that the URI opens the same place.
            Some(short) if key.is_empty() && !short.ends_with('/') => short.to_owned(),
            _ => uri,
        }
    }

    fn full_key(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    /// An object as the source of a copy: in an access point, by its ARN.
    fn copy_source(&self, key: &str) -> String {
        let object = if self.name.starts_with("arn:") { "/object" } else { "" };
        let source = format!("{}{object}/{}", self.name, self.full_key(key));
        let parts: Vec<_> = source.split('/').map(urlencoding::encode).collect();
        parts.join("/")
    }

    async fn client(&self) -> Result<&Client> {
        Ok(&self.connection().await?.client)
    }

    async fn connection(&self) -> Result<&Connection> {
        // What is wrong with the settings is wrong for the store as a whole.
        let connect = async || {
            connect(&self.name).await.map_err(|error| {
                let message = format!("{}: {}", error.subject(), error.message());
                Error::new(error.kind(), Step::Input, self.uri(""), message)
            })
        };
        self.connection.get_or_try_init(connect).await
    }

    /// An object, and its ETag.
    async fn get(&self, key: &str, length: Length, received: &AtomicUsize) -> Result<(Bytes, Option<String>)> {
        let mut attempt = 1;
        loop {
            match self.try_get(key, length, received).await {
                // The answer broke off, or came short.
                Err(error) if error.kind() == ErrorKind::Io && attempt < BODY_ATTEMPTS => {
                    info!(attempt, "{error}");
                    tokio::time::sleep(BODY_BACKOFF * 2_u32.pow(attempt)).await;
                    attempt += 1;
                }
                result => return result,
            }
        }
    }

    async fn try_get(&self, key: &str, length: Length, received: &AtomicUsize) -> Result<(Bytes, Option<String>)> {
        let start = Instant::now();
        let request = self.client().await?.get_object();
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
        let ms = start.elapsed().as_millis() as u64;
        debug!(bytes = content.len(), ms, "{} read", printable(&uri()));
        Ok((content.into(), tag))
    }
}

/// The bucket, which may be the ARN of an access point, and the rest of a location.
fn split_bucket(rest: &str) -> (&str, &str) {
    // Slashes of an ARN: `accesspoint/name` has one, `outpost/id/accesspoint/name` has three.
    let own = match rest.strip_prefix("arn:") {
        Some(arn) if arn.contains(":outpost/") => 3,
        Some(arn) if arn.contains(":accesspoint/") => 1,
        _ => 0,
    };
    match rest.match_indices('/').nth(own) {
        Some((slash, _)) => (&rest[..slash], &rest[slash + 1..]),
        None => (rest, ""),
    }
}

/// S3 copies up to 5 GiB in one request.
fn is_too_large_to_copy<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>) -> bool {
    error.code() == Some("InvalidRequest")
        && error
            .message()
            .is_some_and(|message| message.contains("copy source is larger"))
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
        for location in ["s3://b/Test//", "s3://b//", "s3://b/Test", "s3://b"] {
            assert_eq!(
                uri(location, ""),
                location,
                "what a worker is told opens the same place"
            );
        }
        let point = "s3://arn:aws:s3:eu-west-3:123456789012:accesspoint/point";
        assert_eq!(uri(point, "1.jpg"), format!("{point}/1.jpg"));
        let store = S3Store::new(&format!("{point}/Test/a b")).unwrap();
        assert_eq!((&*store.bucket.name, &*store.bucket.prefix), (&point[5..], "Test/a b/"));
        assert_eq!(
            store.bucket.copy_source("1.jpg"),
            "arn%3Aaws%3As3%3Aeu-west-3%3A123456789012%3Aaccesspoint/point/object/Test/a%20b/1.jpg"
        );
        let outpost = "arn:aws:s3-outposts:eu-west-3:123456789012:outpost/op-1/accesspoint/point";
        assert_eq!(split_bucket(&format!("{outpost}/Test")), (outpost, "Test"));
        for location in ["s3://", "s3:///key", "gs://b"] {
            assert_eq!(S3Store::new(location).unwrap_err().kind(), ErrorKind::Invalid);
        }
    }
}
