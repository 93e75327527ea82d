//! Listing, asked of a service in this process: whatever it does, the list is that of its keys, in their order.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::{BehaviorVersion, Config, Credentials, Region};
use aws_sdk_s3::primitives::SdkBody;
use aws_smithy_runtime_api::client::http::{HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use futures::StreamExt;

use super::spans::{PAGES_AHEAD, REQUESTS};
use crate::error::{Error, ErrorKind};
use crate::store::s3::S3Store;
use crate::store::{LIST_AHEAD, Store};

/// Plays S3 as far as listing goes. Clones are the same service.
#[derive(Debug, Clone, Default)]
struct Service {
    keys: Arc<BTreeSet<String>>,
    page: usize,
    takes: Duration,
    knows_no_delimiter: bool,
    knows_no_start: bool,
    /// As some do: where a listing of folders begins in one of them, that one is left out.
    leaves_out_begun: bool,
    is_unsorted: bool,
    /// What begins with this is not listed, but denied.
    denied: Option<&'static str>,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    requests: AtomicUsize,
    of_folders: AtomicUsize,
    now: AtomicUsize,
    most: AtomicUsize,
}

/// A request that somebody waits for.
struct Underway(Arc<Counts>);

impl Drop for Underway {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Service {
    fn new(page: usize, keys: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Service {
            keys: Arc::new(keys.into_iter().map(Into::into).collect()),
            page,
            ..Service::default()
        }
    }

    fn store(&self, location: &str) -> S3Store {
        let connector = SharedHttpConnector::new(self.clone());
        let config = Config::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .region(Region::from_static("us-east-1"))
            .credentials_provider(Credentials::new("id", "key", None, None, "test"))
            .endpoint_url("http://127.0.0.1:1")
            .disable_s3_express_session_auth(true)
            .http_client(http_client_fn(move |_, _| connector.clone()))
            .force_path_style(true)
            .build();
        S3Store::with_client(location, Client::from_conf(config)).unwrap()
    }

    /// What is listed, up to the first error.
    async fn list(&self) -> (Vec<String>, Option<Error>) {
        let (mut keys, mut entries) = (Vec::new(), self.store("s3://b/Test").list());
        while let Some(entry) = entries.next().await {
            match entry {
                Ok(entry) => keys.push(entry.key),
                Err(error) => return (keys, Some(error)),
            }
        }
        (keys, None)
    }

    /// The keys that should be listed.
    fn expected(&self) -> Vec<String> {
        let below = self.keys.iter().filter_map(|key| key.strip_prefix("Test/"));
        below.filter(|key| !key.is_empty()).map(str::to_owned).collect()
    }

    async fn assert_lists_all(&self) {
        let (keys, error) = self.list().await;
        assert!(error.is_none(), "{error:?}");
        assert_eq!(keys, self.expected());
    }

    fn requests(&self) -> usize {
        self.counts.requests.load(Ordering::Relaxed)
    }

    fn of_folders(&self) -> usize {
        self.counts.of_folders.load(Ordering::Relaxed)
    }

    fn most(&self) -> usize {
        self.counts.most.load(Ordering::Relaxed)
    }

    fn answer(&self, uri: &str) -> HttpResponse {
        let query = uri.split_once('?').unwrap().1;
        let value = |wanted: &str| {
            let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            let (_, value) = pairs.find(|(name, _)| *name == wanted)?;
            Some(urlencoding::decode(value).unwrap().into_owned())
        };
        let prefix = value("prefix").unwrap_or_default();
        let delimiter = value("delimiter").filter(|_| !self.knows_no_delimiter);
        let start = value("start-after").filter(|_| !self.knows_no_start);
        // A token is where the page ended.
        let token = value("continuation-token").map(|token| urlencoding::decode(&token).unwrap().into_owned());
        let start = token.or(start).unwrap_or_default();
        let (mut items, mut last, mut is_truncated) = (Vec::new(), start.clone(), false);
        let behind = (Bound::Excluded(start.clone()), Bound::Unbounded);
        for key in self
            .keys
            .range::<String, _>(behind)
            .filter(|key| key.starts_with(&prefix))
        {
            if self.denied.is_some_and(|denied| key.starts_with(denied)) && delimiter.is_none() {
                return HttpResponse::new(403.try_into().unwrap(), SdkBody::empty());
            }
            let folder = delimiter.as_ref().and_then(|_| key[prefix.len()..].split_once('/'));
            let folder = folder.map(|(folder, _)| format!("{prefix}{folder}/"));
            let item = match &folder {
                Some(folder) if self.leaves_out_begun && *folder <= start => continue,
                Some(folder) => {
                    let name = urlencoding::encode(folder);
                    format!("<CommonPrefixes><Prefix>{name}</Prefix></CommonPrefixes>")
                }
                None => {
                    let name = urlencoding::encode(key);
                    format!("<Contents><Key>{name}</Key><Size>1</Size><ETag>1</ETag></Contents>")
                }
            };
            if items.last() != Some(&item) {
                if items.len() == self.page {
                    is_truncated = true;
                    break;
                }
                items.push(item);
            }
            last.clone_from(key);
        }
        if self.is_unsorted {
            items.reverse();
        }
        let token = match is_truncated {
            true => format!(
                "<NextContinuationToken>{}</NextContinuationToken>",
                urlencoding::encode(&last)
            ),
            false => String::new(),
        };
        let xml = format!(
            "<ListBucketResult><EncodingType>url</EncodingType><IsTruncated>{is_truncated}</IsTruncated>{token}{}</ListBucketResult>",
            items.concat()
        );
        HttpResponse::new(200.try_into().unwrap(), SdkBody::from(xml))
    }
}

impl HttpConnector for Service {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let counts = &self.counts;
        counts.requests.fetch_add(1, Ordering::Relaxed);
        counts
            .of_folders
            .fetch_add(request.uri().contains("delimiter=").into(), Ordering::Relaxed);
        let now = counts.now.fetch_add(1, Ordering::Relaxed) + 1;
        counts.most.fetch_max(now, Ordering::Relaxed);
        let (service, underway) = (self.clone(), Underway(self.counts.clone()));
        HttpConnectorFuture::new(async move {
            let _underway = underway;
            tokio::time::sleep(service.takes).await;
            Ok(service.answer(request.uri()))
        })
    }
}

/// So many folders of so many photos.
fn photos(folders: usize, photos: usize) -> impl Iterator<Item = String> {
    (0..folders * photos).map(move |i| format!("Test/{:04}/{:04}.jpg", i / photos, i % photos))
}

#[tokio::test]
async fn large_folders_are_listed_side_by_side() {
    let mut service = Service::new(20, photos(100, 100));
    service.takes = Duration::from_millis(5);
    service.assert_lists_all().await;
    assert!(
        (REQUESTS / 2..=REQUESTS).contains(&service.most()),
        "{}",
        service.most()
    );
    assert!(service.requests() < 500 * 5 / 4 + 20, "{}", service.requests());
}

#[tokio::test]
async fn folders_in_folders_are_listed_side_by_side() {
    let keys = photos(30, 100).map(|key| key.replace("Test/", "Test/train/x/"));
    let mut service = Service::new(20, keys.chain(photos(3, 1)));
    service.takes = Duration::from_millis(5);
    service.assert_lists_all().await;
    assert!(service.most() > REQUESTS / 2, "{}", service.most());
}

#[tokio::test]
async fn small_folders_cost_no_more_requests() {
    let service = Service::new(20, photos(2000, 1));
    service.assert_lists_all().await;
    assert_eq!((service.requests(), service.of_folders()), (100, 0));
    let one = Service::new(20, (0..2000).map(|i| format!("Test/a/{i:04}.jpg")));
    one.assert_lists_all().await;
    assert_eq!((one.requests(), one.of_folders()), (101, 1));
    let small_behind_large = Service::new(
        20,
        photos(3, 300).chain((0..2000).map(|i| format!("Test/a{i:04}/1.jpg"))),
    );
    small_behind_large.assert_lists_all().await;
    assert!(
        small_behind_large.requests() < 145 * 3 / 2,
        "{}",
        small_behind_large.requests()
    );
}

/// Names that stand between a folder and what is in it, are empty, or are what a span might end at.
#[tokio::test]
async fn hostile_keys_are_listed_once_and_in_order() {
    let names = [
        "a",
        "b",
        "a-b",
        "a.b",
        "a.",
        "a.~",
        "a.~~",
        "",
        "~",
        ".~",
        ".",
        "é",
        "\u{10ffff}",
        "🍌",
        "a b+%",
        "A",
        "0",
        "a0",
        "a\u{1}",
    ];
    let mut random = fastrand::Rng::with_seed(1);
    let mut divided = 0;
    for round in 0..40 {
        let mut keys = BTreeSet::from(["Test/".to_owned(), "Test".to_owned(), "Tests/1.jpg".to_owned()]);
        for _ in 0..random.usize(1..12) {
            let mut folder = "Test/".to_owned();
            for _ in 0..random.usize(0..4) {
                folder += names[random.usize(..names.len())];
                folder.push('/');
            }
            let photos = if random.bool() {
                random.usize(..4)
            } else {
                random.usize(..300)
            };
            keys.extend((0..photos).map(|i| format!("{folder}{i:03}")));
            keys.extend((0..random.usize(..3)).map(|_| format!("{folder}{}", names[random.usize(..names.len())])));
            keys.insert(folder);
        }
        let service = Service {
            leaves_out_begun: round % 2 == 0,
            knows_no_delimiter: round % 7 == 6,
            knows_no_start: round % 5 == 4,
            ..Service::new(random.usize(10..30), keys)
        };
        service.assert_lists_all().await;
        divided += usize::from(service.of_folders() > 0);
    }
    assert!(divided > 20, "{divided}");
}

#[tokio::test]
async fn services_without_delimiters_are_listed_as_ever() {
    let mut service = Service::new(20, photos(10, 100));
    service.knows_no_delimiter = true;
    service.assert_lists_all().await;
    assert_eq!((service.requests(), service.of_folders()), (51, 1));
    let mut service = Service::new(20, photos(10, 100));
    service.knows_no_start = true;
    service.assert_lists_all().await;
    assert!(service.requests() < 200, "{}", service.requests());
}

#[tokio::test]
async fn services_without_order_are_listed_one_page_after_the_other() {
    let mut service = Service::new(20, photos(10, 100));
    service.is_unsorted = true;
    service.assert_lists_all().await;
    assert_eq!((service.requests(), service.most()), (50, 1));
    let service = Service::new(20, photos(10, 100));
    let entries = service.store("s3://b--use1-az4--x-s3/Test").list();
    let keys: Vec<String> = entries.map(|entry| entry.unwrap().key).collect().await;
    assert_eq!((keys, service.requests(), service.most()), (service.expected(), 50, 1));
}

#[tokio::test]
async fn a_page_that_is_denied_ends_the_list_where_it_stands() {
    let mut service = Service::new(20, photos(20, 100));
    service.denied = Some("Test/0007/");
    let (keys, error) = service.list().await;
    let error = error.unwrap();
    assert_eq!((error.kind(), error.subject()), (ErrorKind::Denied, "s3://b/Test"));
    assert!(error.message().contains("s3:ListBucket"), "{error}");
    // All before, except for the page that the first of them stands on.
    assert_eq!(keys, service.expected()[..keys.len()]);
    assert!((660..=700).contains(&keys.len()), "{}", keys.len());
}

#[tokio::test]
async fn who_does_not_read_on_is_not_listed_for() {
    let service = Service::new(100, photos(400, 1000));
    let mut entries = service.store("s3://b/Test").list();
    assert_eq!(entries.next().await.unwrap().unwrap().key, "0000/0000.jpg");
    let mut before = 0;
    while before != service.requests() {
        before = service.requests();
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert!(before <= 2 * PAGES_AHEAD + LIST_AHEAD / 100, "{before}");
}

#[tokio::test]
async fn who_is_gone_is_not_listed_for() {
    let mut service = Service::new(100, photos(50, 1000));
    service.takes = Duration::from_millis(200);
    let mut entries = service.store("s3://b/Test").list();
    for _ in 0..300 {
        entries.next().await.unwrap().unwrap();
    }
    assert!(service.counts.now.load(Ordering::Relaxed) > 0);
    drop(entries);
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(service.counts.now.load(Ordering::Relaxed), 0);
    let requests = service.requests();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(service.requests(), requests);
}
