//! Pages of a listing, asked for with patience for services that take long to answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::config::Config;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::SdkError;
use aws_sdk_s3::operation::list_objects_v2::builders::ListObjectsV2FluentBuilder;
use aws_sdk_s3::operation::list_objects_v2::{ListObjectsV2Error, ListObjectsV2Output};
use aws_sdk_s3::primitives::DateTime;
use aws_sdk_s3::types::{EncodingType, Object};
use tracing::{debug, warn};

use crate::error::{Error, ErrorKind, Result, Step, printable};
use crate::store::Entry;
use crate::store::s3::client::{ATTEMPTS, STALL, retries, timeouts};
use crate::store::s3::error::{causes, has_cause};
use crate::store::s3::{Bucket, DEADLINE};

/// Tries of a page, if nothing answers: a mistyped endpoint should be said at once.
const FIRST_ATTEMPTS: u32 = 3;
/// Tries of a page of a service that is slow, each of which may take minutes.
const SLOW_ATTEMPTS: u32 = 10;

/// Where a page begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// With the first key.
    Start,
    /// With the first key behind this one, which need not exist.
    After(String),
    /// Where the page ended that gave this token.
    Token(String),
}

/// Some keys, as the service lists them.
#[derive(Debug)]
pub(super) struct Page {
    pub entries: Vec<Entry>,
    /// What cannot be understood, and where it stands among the keys.
    pub failed: Vec<(Vec<u8>, Error)>,
    /// Folders beside the keys, in a page that was asked for them. They end in `/`.
    pub folders: Vec<String>,
    /// Where the next page begins. Behind the last, nowhere.
    pub next: Option<Place>,
}

impl Page {
    /// Whether the keys are in order, and behind a key before.
    pub fn is_sorted_after(&self, last: &str) -> bool {
        let is_behind = self.entries.first().is_none_or(|first| *last <= *first.key);
        is_behind && self.entries.is_sorted_by(|a, b| a.key <= b.key)
    }
}

/// The pages of one listing.
#[derive(Debug)]
pub(super) struct Pages {
    pub bucket: Arc<Bucket>,
    /// Whether a page did not come in time. Buckets full of deleted objects, and other services' large ones, take their time.
    is_slow: AtomicBool,
    listed: AtomicUsize,
}

impl Pages {
    pub fn new(bucket: Arc<Bucket>) -> Self {
        Pages {
            bucket,
            is_slow: AtomicBool::new(false),
            listed: AtomicUsize::new(0),
        }
    }

    /// A page of all keys.
    pub async fn keys(&self, place: Place) -> Result<Page> {
        self.page("", place, None).await
    }

    /// A page of what lies directly in a folder: keys, and folders instead of the keys in them.
    pub async fn folders(&self, folder: &str, place: Place) -> Result<Page> {
        self.page(folder, place, Some("/".to_owned())).await
    }

    async fn page(&self, folder: &str, place: Place, delimiter: Option<String>) -> Result<Page> {
        let bucket = &self.bucket;
        let is_first = place == Place::Start;
        let (after, token) = match place {
            Place::Start => (None, None),
            Place::After(key) => (Some(bucket.full_key(&key)), None),
            Place::Token(token) => (None, Some(token)),
        };
        let request = bucket.client().await?.list_objects_v2();
        let request = request
            .bucket(&bucket.name)
            .prefix(bucket.full_key(folder))
            .encoding_type(EncodingType::Url) // XML cannot hold every key
            .set_delimiter(delimiter)
            .set_start_after(after)
            .set_continuation_token(token)
            .set_request_payer(bucket.request_payer.clone());
        let output = self.send(request, is_first).await;
        let output = output.map_err(|error| bucket.error(Step::List, "", error))?;
        let keys = output.contents().len();
        let listed = self.listed.fetch_add(keys, Ordering::Relaxed) + keys;
        debug!("{}: {listed} keys listed", printable(&bucket.uri("")));
        let is_truncated = output.is_truncated == Some(true);
        if is_first && keys == 0 && !is_truncated {
            let message = "nothing is there: no object's key begins with it";
            return Err(Error::new(ErrorKind::NotFound, Step::List, bucket.uri(""), message));
        }
        let token = output.next_continuation_token.clone().filter(|_| is_truncated);
        if is_truncated && token.is_none() {
            let message = "the service has more to list, but does not say where to go on";
            return Err(Error::new(ErrorKind::Unavailable, Step::List, bucket.uri(""), message));
        }
        Ok(bucket.read(&output, token.map(Place::Token)))
    }

    /// Who does not answer at all is not asked for long; who is slow or busy, or has answered before, is.
    async fn send(
        &self,
        request: ListObjectsV2FluentBuilder,
        is_first: bool,
    ) -> Result<ListObjectsV2Output, SdkError<ListObjectsV2Error, HttpResponse>> {
        let send = async |attempts, patience| {
            let patience = Config::builder()
                .retry_config(retries(attempts))
                .timeout_config(timeouts(patience));
            request.clone().customize().config_override(patience).send().await
        };
        let mut attempts = 1;
        loop {
            let patience = match self.is_slow.load(Ordering::Relaxed) {
                true => DEADLINE,
                false => STALL,
            };
            match send(attempts, patience).await {
                Err(error) if patience < DEADLINE && is_slow(&error) => {
                    if !self.is_slow.swap(true, Ordering::Relaxed) {
                        warn!(
                            "{}: a page of the listing did not come within {} s; {} s are given to each now",
                            printable(&self.bucket.uri("")),
                            patience.as_secs(),
                            DEADLINE.as_secs()
                        );
                    }
                }
                Err(error) if attempts == 1 && !is_slow(&error) && !has_cause::<CredentialsError>(&error) => {
                    attempts = match (error.raw_response(), is_first) {
                        (None, true) => FIRST_ATTEMPTS,
                        _ if patience == DEADLINE => SLOW_ATTEMPTS,
                        _ => ATTEMPTS,
                    };
                }
                result => return result,
            }
        }
    }
}

impl Bucket {
    fn read(&self, output: &ListObjectsV2Output, next: Option<Place>) -> Page {
        let is_encoded = output.encoding_type() == Some(&EncodingType::Url);
        let (mut entries, mut failed) = (Vec::with_capacity(output.contents().len()), Vec::new());
        for object in output.contents() {
            let listed = object.key().unwrap_or_default();
            let key = decoded(listed, is_encoded);
            match self.entry(object, &key) {
                Ok(Some(entry)) => entries.push(entry),
                Ok(None) => {}
                Err(message) => {
                    let error = Error::new(ErrorKind::Invalid, Step::List, self.uri(listed), message);
                    failed.push((self.place(&key), error));
                }
            }
        }
        let folder = |listed: &str| self.below(&decoded(listed, is_encoded)).ok().map(str::to_owned);
        let folders = output
            .common_prefixes()
            .iter()
            .filter_map(|group| folder(group.prefix()?));
        Page {
            entries,
            failed,
            folders: folders.collect(),
            next,
        }
    }

    /// An object as listed; nothing for the marker that consoles put where they show a folder.
    fn entry(&self, object: &Object, key: &[u8]) -> Result<Option<Entry>, &'static str> {
        let key = self.below(key)?;
        let modified = || object.last_modified().map(DateTime::to_string);
        Ok((!key.is_empty()).then(|| Entry {
            key: key.to_owned(),
            size: object.size().and_then(|size| size.try_into().ok()).unwrap_or_default(),
            version: object.e_tag().map(str::to_owned).or_else(modified).unwrap_or_default(),
        }))
    }

    /// A full key below the store's root.
    fn below<'a>(&self, key: &'a [u8]) -> Result<&'a str, &'static str> {
        let key = std::str::from_utf8(key).map_err(|_| "the key is not UTF-8")?;
        key.strip_prefix(&self.prefix)
            .ok_or("the service listed a key outside of what it was asked for")
    }

    /// Where any full key stands among those below the root: before them, behind them, or between.
    fn place(&self, key: &[u8]) -> Vec<u8> {
        match key.strip_prefix(self.prefix.as_bytes()) {
            Some(below) => below.to_vec(),
            None if key < self.prefix.as_bytes() => Vec::new(),
            None => vec![u8::MAX],
        }
    }
}

/// A key as it is.
fn decoded(listed: &str, is_encoded: bool) -> Vec<u8> {
    match is_encoded {
        // As in forms, a space is a plus.
        true => urlencoding::decode_binary(listed.replace('+', " ").as_bytes()).into_owned(),
        false => listed.as_bytes().to_vec(),
    }
}

/// Whether there is a connection, but no answer yet. The kinds of timeouts differ by their words only.
fn is_slow<E, R>(error: &SdkError<E, R>) -> bool
where
    SdkError<E, R>: std::error::Error + 'static,
{
    matches!(error, SdkError::DispatchFailure(failure) if failure.is_timeout()) && causes(error).contains("HTTP read")
}
