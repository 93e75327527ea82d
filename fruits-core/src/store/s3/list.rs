//! Listing: page after page, with patience for services that take long to answer.

use std::time::Duration;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::config::Config;
use aws_sdk_s3::error::SdkError;
use aws_sdk_s3::operation::list_objects_v2::builders::ListObjectsV2FluentBuilder;
use aws_sdk_s3::operation::list_objects_v2::{ListObjectsV2Error, ListObjectsV2Output};
use aws_sdk_s3::primitives::DateTime;
use aws_sdk_s3::types::{EncodingType, Object};
use tokio::sync::mpsc;
use tracing::{debug, warn};

use super::client::{ATTEMPTS, STALL, retries, timeouts};
use super::error::{causes, has_cause};
use super::{Bucket, DEADLINE};
use crate::error::{Error, ErrorKind, Result, Step, printable};
use crate::store::Entry;

/// Tries of a page, if nothing answers: a mistyped endpoint should be said at once.
const FIRST_ATTEMPTS: u32 = 3;
/// Tries of a page of a service that is slow, each of which may take minutes.
const SLOW_ATTEMPTS: u32 = 10;
/// How the names of S3 Express' buckets, and of their access points, end. Their listings are in no order.
const EXPRESS: [&str; 2] = ["--x-s3", "--xa-s3"];

impl Bucket {
    /// Sends all entries, in the order of their keys. A service that lists in no order is listed to its end first.
    pub(super) async fn list(&self, entries: &mpsc::Sender<Result<Entry>>) -> Result<()> {
        let mut pages = Pages {
            bucket: self,
            token: None,
            patience: STALL,
            listed: 0,
        };
        let mut all = EXPRESS.iter().any(|end| self.name.ends_with(end)).then(Vec::new);
        let mut last = String::new();
        let mut is_first = true;
        while let Some(page) = pages.next(is_first).await? {
            let (mut found, mut failed, mut is_sorted) = (Vec::with_capacity(page.contents().len()), Vec::new(), true);
            let is_encoded = page.encoding_type() == Some(&EncodingType::Url);
            for object in page.contents() {
                match self.entry(object, is_encoded) {
                    Ok(Some(entry)) => {
                        is_sorted &= last <= entry.key;
                        last.clone_from(&entry.key);
                        found.push(entry);
                    }
                    Ok(None) => {}
                    Err(error) => failed.push(error),
                }
            }
            match &mut all {
                Some(all) => all.append(&mut found),
                None if is_sorted => {}
                None if is_first => all = Some(std::mem::take(&mut found)),
                None => {
                    let message = "the service lists keys in order first, and then not: no order of rows could be kept";
                    return Err(Error::new(ErrorKind::Unavailable, Step::List, self.uri(""), message));
                }
            }
            is_first = false;
            for item in failed.into_iter().map(Err).chain(found.into_iter().map(Ok)) {
                if entries.send(item).await.is_err() {
                    return Ok(());
                }
            }
        }
        let mut all = all.unwrap_or_default();
        all.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        for entry in all {
            if entries.send(Ok(entry)).await.is_err() {
                return Ok(());
            }
        }
        Ok(())
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
}

/// Where a listing goes on.
struct Pages<'a> {
    bucket: &'a Bucket,
    token: Option<String>,
    /// How long an answer may take to begin. Buckets full of deleted objects, and other services' large ones, take their time.
    patience: Duration,
    listed: usize,
}

impl Pages<'_> {
    async fn next(&mut self, is_first: bool) -> Result<Option<ListObjectsV2Output>> {
        if !is_first && self.token.is_none() {
            return Ok(None);
        }
        let bucket = self.bucket;
        let request = bucket.client().await?.list_objects_v2();
        let request = request
            .bucket(&bucket.name)
            .prefix(&bucket.prefix)
            .encoding_type(EncodingType::Url) // XML cannot hold every key
            .set_continuation_token(self.token.take())
            .set_request_payer(bucket.request_payer.clone());
        let page = self.page(request, is_first).await;
        let page = page.map_err(|error| bucket.error(Step::List, "", error))?;
        self.listed += page.contents().len();
        debug!("{}: {} keys listed", printable(&bucket.uri("")), self.listed);
        let is_truncated = page.is_truncated == Some(true);
        if is_first && page.contents().is_empty() && !is_truncated {
            let message = "nothing is there: no object's key begins with it";
            return Err(Error::new(ErrorKind::NotFound, Step::List, bucket.uri(""), message));
        }
        self.token = page.next_continuation_token.clone().filter(|_| is_truncated);
        if is_truncated && self.token.is_none() {
            let message = "the service has more to list, but does not say where to go on";
            return Err(Error::new(ErrorKind::Unavailable, Step::List, bucket.uri(""), message));
        }
        Ok(Some(page))
    }

    /// A page. Who does not answer at all is not asked for long; who is slow or busy, or has answered before, is.
    async fn page(
        &mut self,
        request: ListObjectsV2FluentBuilder,
        is_first: bool,
    ) -> Result<ListObjectsV2Output, SdkError<ListObjectsV2Error, aws_sdk_s3::config::http::HttpResponse>> {
        let send = async |attempts, patience| {
            let patience = Config::builder()
                .retry_config(retries(attempts))
                .timeout_config(timeouts(patience));
            request.clone().customize().config_override(patience).send().await
        };
        let mut attempts = 1;
        loop {
            match send(attempts, self.patience).await {
                Err(error) if self.patience < DEADLINE && is_slow(&error) => {
                    warn!(
                        "{}: a page of the listing did not come within {} s; {} s are given to each now",
                        printable(&self.bucket.uri("")),
                        self.patience.as_secs(),
                        DEADLINE.as_secs()
                    );
                    self.patience = DEADLINE;
                }
                Err(error) if attempts == 1 && !is_slow(&error) && !has_cause::<CredentialsError>(&error) => {
                    attempts = match (error.raw_response(), is_first) {
                        (None, true) => FIRST_ATTEMPTS,
                        _ if self.patience == DEADLINE => SLOW_ATTEMPTS,
                        _ => ATTEMPTS,
                    };
                }
                result => return result,
            }
        }
    }
}

/// Whether there is a connection, but no answer yet. The kinds of timeouts differ by their words only.
fn is_slow<E, R>(error: &SdkError<E, R>) -> bool
where
    SdkError<E, R>: std::error::Error + 'static,
{
    matches!(error, SdkError::DispatchFailure(failure) if failure.is_timeout()) && causes(error).contains("HTTP read")
}
