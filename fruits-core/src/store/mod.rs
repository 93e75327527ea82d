//! Where bytes live: a location named by the user, and the store behind it.

mod local;
mod memory;
mod s3;
mod walk;
#[cfg(test)]
mod watched;

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::{self, BoxFuture};
use futures::stream::{self, BoxStream, StreamExt};
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::task::AbortOnDropHandle;

use crate::error::{Error, ErrorKind, Result, Step};
pub use local::LocalStore;
pub(crate) use local::is_temporary;
pub use memory::MemoryStore;
pub use s3::S3Store;
pub(crate) use s3::aws;
#[cfg(test)]
pub(crate) use watched::WatchedStore;

/// Entries that may wait between whoever lists a store and whoever reads the stream.
const LIST_AHEAD: usize = 1024;

/// Why a [swap](Store::swap) fails.
const CHANGED: &str = "its content is not what it was, or was expected to be";

/// One object of a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name below the store's root, parts divided by `/`.
    pub key: String,
    /// Its size in bytes.
    pub size: u64,
    /// What changes when its content changes: the ETag on S3, the time of modification on a folder.
    pub version: String,
}

/// How long an object may be that is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    /// So many bytes, as it was listed. Otherwise it has changed meanwhile, or did not come whole: [`ErrorKind::Io`].
    Exactly(u64),
    /// So many bytes at most. Otherwise [`ErrorKind::TooLarge`].
    AtMost(u64),
}

impl Length {
    /// More bytes than this need not be read.
    fn limit(self) -> u64 {
        match self {
            Length::Exactly(bytes) | Length::AtMost(bytes) => bytes,
        }
    }

    /// Fails if an object of so many bytes, or of more than the limit, is not what was asked for.
    fn check(self, bytes: u64, uri: impl FnOnce() -> String) -> Result<()> {
        let (kind, message) = match self {
            Length::AtMost(limit) if bytes > limit => {
                (ErrorKind::TooLarge, format!("larger than the limit of {limit} bytes"))
            }
            Length::Exactly(listed) if bytes != listed => {
                let message =
                    format!("not the {listed} bytes that were listed: it has changed meanwhile, or did not come whole");
                (ErrorKind::Io, message)
            }
            _ => return Ok(()),
        };
        Err(Error::new(kind, Step::Read, uri(), message))
    }
}

/// A place with named objects, rooted at one location. Keys are opaque UTF-8, divided by `/`.
///
/// Everything the crate reads and writes goes through these calls, so they say exactly what is guaranteed. An error about one
/// object has the object's [`uri`](Self::uri) as its [`subject`](Error::subject). An error with the root's URI as its subject is
/// about the store as a whole (no such bucket, expired credentials, a service that does not answer): no other call would do better.
pub trait Store: fmt::Debug + Send + Sync {
    /// `key` as the user would open it: a full path, or a full URI. The empty key is the root itself.
    fn uri(&self, key: &str) -> String;

    /// Every object below the root, as a stream that starts before the listing ends, in ascending byte order of keys.
    ///
    /// An item that cannot be listed (a folder that may not be entered, a name that is not UTF-8) is an `Err` in the stream and
    /// the listing goes on. A root that does not exist is one `Err` of kind [`ErrorKind::NotFound`]; a bucket that does not exist, one of
    /// kind [`ErrorKind::Invalid`], because nothing can be written there either.
    fn list(&self) -> BoxStream<'static, Result<Entry>>;

    /// The whole content of `key`, if its length is right. No more than that is read or allocated.
    fn get<'a>(&'a self, key: &'a str, length: Length) -> BoxFuture<'a, Result<Bytes>>;

    /// Writes `key`, replacing what was there. Readers see the old content or the whole new one, never a part.
    fn put<'a>(&'a self, key: &'a str, content: Bytes) -> BoxFuture<'a, Result<()>>;

    /// Gives `key` the content `to`, or removes it if that is `None`, but only if its content is `from`, where `None` means that there is
    /// no such key. Of several callers at the same time that expect the same, one succeeds.
    ///
    /// Fails with [`ErrorKind::AlreadyExists`] if the content is another. For small objects: the whole content is compared.
    fn swap<'a>(&'a self, key: &'a str, from: Option<Bytes>, to: Option<Bytes>) -> BoxFuture<'a, Result<()>>;

    /// Whether [`swap`](Self::swap) compares and writes in one step here, so that nobody else comes between. `key` is one that nobody uses, to
    /// try it.
    fn compares<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<bool>>;

    /// Makes the object `to`, with the content of `from`, whole or not at all, without a way through this machine's memory.
    ///
    /// Fails with [`ErrorKind::NotFound`] if there is no `from` any more, and with [`ErrorKind::AlreadyExists`] if there is a `to` that is
    /// not a copy of it; a service that knows no conditions replaces it.
    fn copy<'a>(&'a self, from: &'a str, to: &'a str) -> BoxFuture<'a, Result<()>>;

    /// Removes `key`. It is no error if there is no such key.
    fn delete<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<()>>;
}

/// Opens the store at a location: a folder's path, or `s3://bucket/prefix` (see [`S3Store`]). It need not exist yet.
///
/// ```
/// use fruits_core::store;
///
/// assert!(store::open("photos/Test")?.uri("Banana/1.jpg").ends_with("/photos/Test/Banana/1.jpg"));
/// assert_eq!(store::open("s3://fruits/Test")?.uri("Banana/1.jpg"), "s3://fruits/Test/Banana/1.jpg");
/// # Ok::<(), fruits_core::Error>(())
/// ```
///
/// # Errors
/// [`ErrorKind::Unsupported`] for a URI with another scheme; [`ErrorKind::Invalid`] if there is no bucket in it, or a location looks like a
/// URI and is none, such as `s3:/bucket`.
pub fn open(location: &str) -> Result<Arc<dyn Store>> {
    match location.split_once("://") {
        Some(("s3", _)) => Ok(Arc::new(S3Store::new(location)?)),
        Some((scheme, _)) => Err(Error::new(
            ErrorKind::Unsupported,
            Step::Input,
            location,
            format!("{scheme}:// locations are not supported; give a folder or s3://bucket/prefix"),
        )),
        None if location.is_empty() => Err(Error::new(
            ErrorKind::Invalid,
            Step::Input,
            "",
            "the location is empty; give a folder or s3://bucket/prefix",
        )),
        // A folder of that name is `./~`.
        None if location == "~" || location.starts_with("~/") => Err(Error::new(
            ErrorKind::Invalid,
            Step::Input,
            location,
            "the shell expands ~ outside of quotes only; leave the quotes away, or give the whole path",
        )),
        None if is_mistyped(location) => Err(Error::new(
            ErrorKind::Invalid,
            Step::Input,
            location,
            format!("looks like a mistyped s3://bucket/prefix; for a folder of this name, say ./{location}"),
        )),
        None => Ok(Arc::new(LocalStore::new(location))),
    }
}

/// Whether the location begins as a URI does, but is none: `s3:/bucket`, `s3:bucket`, `s3//bucket`, `https:/host`.
fn is_mistyped(location: &str) -> bool {
    let first = location.split('/').next().unwrap_or_default();
    let scheme = first.split(':').next().unwrap_or_default();
    // RFC 3986, 3.1
    let is_scheme = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'));
    let is_s3 = matches!(scheme.to_ascii_lowercase().as_str(), "s3" | "s3a" | "s3n");
    let ends_in_colon = first.len() == scheme.len() + 1;
    is_scheme && (ends_in_colon || is_s3 && (first.contains(':') || location[first.len()..].starts_with("//")))
}

/// Whether the error is about the store as a whole, so that no other call would do better: see [`Store`].
pub(crate) fn is_about_all(store: &dyn Store, error: &Error) -> bool {
    error.subject() == store.uri("")
}

/// Whether there is a file of this path, or an object of this URI. A pipe or a device is none.
pub async fn is_file(uri: &str) -> bool {
    if !uri.contains("://") {
        return std::fs::metadata(uri).is_ok_and(|there| there.is_file());
    }
    let Ok((folder, name)) = split(uri) else { return false };
    let Ok(store) = open(folder) else { return false };
    let there = store.get(name, Length::AtMost(0)).await;
    there.map_or_else(|error| error.kind() == ErrorKind::TooLarge, |_| true)
}

/// Writes one object by its path or URI, whole or not at all.
pub(crate) async fn write(uri: &str, content: Bytes) -> Result<()> {
    let (folder, name) = split(uri)?;
    open(folder)?.put(name, content).await
}

/// SHA-256 of some bytes, in hexadecimal.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The location and the key of an object. The location keeps its `/`, because a prefix on S3 may end in several.
pub(crate) fn split(uri: &str) -> Result<(&str, &str)> {
    let (folder, name) = uri.split_at(uri.rfind('/').map_or(0, |slash| slash + 1));
    match name {
        "" | "." | ".." => Err(Error::new(ErrorKind::Invalid, Step::Input, uri, "a folder, not a file")),
        name if folder.is_empty() => Ok((".", name)),
        name => Ok((folder, name)),
    }
}

/// What a task puts into a channel, as a stream, with which the task ends. A panic of the task is an error at the end, so that no part passes for the whole.
fn stream_of(
    root: String,
    receiver: mpsc::Receiver<Result<Entry>>,
    task: JoinHandle<()>,
) -> BoxStream<'static, Result<Entry>> {
    let task = AbortOnDropHandle::new(task);
    let panicked = async move {
        let panic = task.await.err()?;
        Some(Err(Error::from_source(Step::List, root, std::io::Error::other(panic))))
    };
    receive(receiver)
        .chain(stream::once(panicked).filter_map(future::ready))
        .boxed()
}

/// What comes out of a channel, as a stream.
pub(crate) fn receive<T: Send + 'static>(receiver: mpsc::Receiver<T>) -> BoxStream<'static, T> {
    stream::unfold(receiver, async |mut receiver| {
        receiver.recv().await.map(|item| (item, receiver))
    })
    .boxed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistyped_uris_are_no_folders() {
        for location in ["s3:/b/x", "s3:b", "s3//b", "S3:/b", "s3a:/b", "https:/host/x", "s3:"] {
            assert_eq!(open(location).unwrap_err().kind(), ErrorKind::Invalid, "{location}");
        }
        for location in ["s3", "s3/x", "./s3:/b", "/s3:/b", "photos:2026/x", "a//b", "1:/x"] {
            assert!(open(location).is_ok(), "{location}");
        }
        for location in ["S3://b", "gs://b", "file:///x"] {
            assert_eq!(open(location).unwrap_err().kind(), ErrorKind::Unsupported, "{location}");
        }
    }
}
