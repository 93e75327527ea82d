//! Where bytes live: a location named by the user, and the store behind it.

mod local;

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;

use crate::error::{Error, ErrorKind, Result, Step};
pub use local::LocalStore;

/// One object of a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name below the store's root, parts divided by `/`.
    pub key: String,
    /// Its size in bytes.
    pub size: u64,
    /// When it was last written, where the store knows.
    pub modified: Option<SystemTime>,
}

/// A place with named objects, rooted at one location. Keys are opaque UTF-8, divided by `/`.
///
/// Everything the crate reads and writes goes through these calls, so they say exactly what is guaranteed.
pub trait Store: fmt::Debug + Send + Sync {
    /// `key` as the user would open it: a full path, or a full URI. The empty key is the root itself.
    fn uri(&self, key: &str) -> String;

    /// Every object below the root, as a stream that starts before the listing ends, in ascending byte order of keys.
    ///
    /// An item that cannot be listed (a folder that may not be entered, a name that is not UTF-8) is an `Err` in the stream and
    /// the listing goes on. A root that does not exist is one `Err` of kind [`ErrorKind::NotFound`].
    fn list(&self) -> BoxStream<'static, Result<Entry>>;

    /// The whole content of `key`.
    ///
    /// Fails with [`ErrorKind::TooLarge`] if it is longer than `max_bytes`, without reading or allocating more than that.
    fn get<'a>(&'a self, key: &'a str, max_bytes: u64) -> BoxFuture<'a, Result<Bytes>>;

    /// Writes `key`, replacing what was there. Readers see the old content or the whole new one, never a part.
    fn put<'a>(&'a self, key: &'a str, content: Bytes) -> BoxFuture<'a, Result<()>>;

    /// Removes `key`. It is no error if there is no such key.
    fn delete<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<()>>;
}

/// Opens the store at a location: a folder's path. The folder need not exist yet.
///
/// ```
/// let store = fruits_core::store::open("photos/Test")?;
/// assert!(store.uri("Banana/1.jpg").ends_with("/photos/Test/Banana/1.jpg"));
/// # Ok::<(), fruits_core::Error>(())
/// ```
///
/// # Errors
/// [`ErrorKind::Unsupported`] for a URI with a scheme, such as `s3://bucket/prefix`.
pub fn open(location: &str) -> Result<Arc<dyn Store>> {
    match location.split_once("://") {
        Some((scheme, _)) => Err(Error::new(
            ErrorKind::Unsupported,
            Step::Input,
            location,
            format!("{scheme}:// locations are not supported; give a folder"),
        )),
        None if location.is_empty() => Err(Error::new(
            ErrorKind::Invalid,
            Step::Input,
            "",
            "the location is empty; give a folder",
        )),
        None => Ok(Arc::new(LocalStore::new(location))),
    }
}

/// Reads one object by its path or URI.
pub(crate) async fn read(uri: &str, max_bytes: u64) -> Result<Bytes> {
    let (folder, name) = split(uri)?;
    open(folder)?.get(name, max_bytes).await
}

/// Writes one object by its path or URI, whole or not at all.
pub(crate) async fn write(uri: &str, content: Bytes) -> Result<()> {
    let (folder, name) = split(uri)?;
    open(folder)?.put(name, content).await
}

/// The location and the key of an object.
fn split(uri: &str) -> Result<(&str, &str)> {
    let (folder, name) = match uri.rsplit_once('/') {
        Some(("", name)) => ("/", name),
        Some(parts) => parts,
        None => (".", uri),
    };
    match name {
        "" | "." | ".." => Err(Error::new(ErrorKind::Invalid, Step::Input, uri, "a folder, not a file")),
        name => Ok((folder, name)),
    }
}
