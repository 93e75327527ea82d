//! ImageFolder: labelled photos found under a location.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use futures::future;
use futures::stream::{BoxStream, StreamExt};

use crate::error::{Error, ErrorKind, Failure, Result, Step};
use crate::store::{self, Entry, Store};

/// A photo that was found, not yet read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Photo {
    /// Its name below the folder, such as `Banana/1.jpg`.
    pub key: String,
    /// Its full path or URI, as a user would open it.
    pub path: String,
    /// Its label: the name of the folder it lies in.
    pub label: String,
    /// Its size in bytes.
    pub size: u64,
    /// What changes when the file changes: see [`Entry::version`](store::Entry::version).
    pub version: String,
}

/// The photos of a store, in ascending byte order of their keys, as they are listed.
pub(crate) fn photos(store: &Arc<dyn Store>) -> BoxStream<'static, Result<Photo>> {
    let (root, listing, store) = (store.uri(""), store.list(), store.clone());
    listing
        .filter(|entry| future::ready(entry.as_ref().map_or(true, |entry| is_photo(&entry.key))))
        .map(move |entry| entry.map(|entry| photo(&*store, &root, entry)))
        .boxed()
}

/// An entry of a store as a photo. `root` is the store's own URI.
pub(crate) fn photo(store: &dyn Store, root: &str, entry: Entry) -> Photo {
    Photo {
        path: store.uri(&entry.key),
        label: label(root, &entry.key),
        key: entry.key,
        size: entry.size,
        version: entry.version,
    }
}

/// That there is nothing to work on.
pub(crate) fn no_photo(location: String) -> Error {
    let message = "no .jpg, .jpeg or .png file in it or below";
    Error::new(ErrorKind::NotFound, Step::List, location, message)
}

/// The photos under a location, labelled by the folder they lie in. Clones share the list.
///
/// Photos are the files ending in `.jpg`, `.jpeg` or `.png` in any case, at any depth, in ascending byte order of their keys.
/// Names that begin with `.` or `_` are skipped, files and folders, as Spark skips them.
///
/// ```
/// use fruits_core::ImageFolder;
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let photos = ImageFolder::open("../data-sample").await?;
/// assert_eq!(photos.len(), 96);
/// assert_eq!(photos.counts()["Lemon"], 16);
/// # Ok::<(), fruits_core::Error>(())
/// # }).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct ImageFolder {
    store: Arc<dyn Store>,
    photos: Arc<[Photo]>,
    failures: Arc<[Failure]>,
}

impl ImageFolder {
    /// Lists the photos under a location: a folder's path, or `s3://bucket/prefix`.
    ///
    /// Files and folders that cannot be listed are [failures](Self::failures), not errors. For millions of photos see
    /// [`Extraction::open`](crate::Extraction::open), which lists while it works.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if the location does not exist or holds no photo, [`ErrorKind::Invalid`] if there is no such bucket; as
    /// [`store::open`].
    pub async fn open(location: &str) -> Result<Self> {
        Self::list(store::open(location)?).await
    }

    /// Lists the photos of a store.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub async fn list(store: Arc<dyn Store>) -> Result<Self> {
        let (mut photos, mut failures) = (Vec::new(), Vec::new());
        let mut listing = self::photos(&store);
        while let Some(photo) = listing.next().await {
            match photo {
                Ok(photo) => photos.push(photo),
                Err(error) if store::is_about_all(&*store, &error) => return Err(error),
                Err(error) => failures.push(Failure::new(error.subject(), &error)),
            }
        }
        if photos.is_empty() && failures.is_empty() {
            return Err(no_photo(store.uri("")));
        }
        Ok(ImageFolder {
            store,
            photos: photos.into(),
            failures: failures.into(),
        })
    }

    /// The location, as a full path or URI.
    pub fn location(&self) -> String {
        self.store.uri("")
    }

    /// The photos, in ascending byte order of their keys.
    pub fn photos(&self) -> &[Photo] {
        &self.photos
    }

    /// What could not be listed.
    pub fn failures(&self) -> &[Failure] {
        &self.failures
    }

    /// Number of photos.
    pub fn len(&self) -> usize {
        self.photos.len()
    }

    /// Whether there is no photo.
    pub fn is_empty(&self) -> bool {
        self.photos.is_empty()
    }

    /// The photos of each label, as indices of [`photos`](Self::photos), labels in the order of their names.
    pub fn by_label(&self) -> BTreeMap<&str, Vec<usize>> {
        by_label(self.photos.iter().map(|photo| photo.label.as_str()))
    }

    /// Number of photos of each label.
    pub fn counts(&self) -> BTreeMap<String, usize> {
        let count = |(label, photos): (&str, Vec<usize>)| (label.to_owned(), photos.len());
        self.by_label().into_iter().map(count).collect()
    }

    /// Up to so many photos of each label, evenly spread, for a first look.
    pub fn sample(&self, per_label: usize) -> Self {
        let of_label = |photos: Vec<usize>| spread(photos.len(), per_label).into_iter().map(move |i| photos[i]);
        let mut chosen: Vec<usize> = self.by_label().into_values().flat_map(of_label).collect();
        chosen.sort_unstable();
        ImageFolder {
            store: self.store.clone(),
            photos: chosen.into_iter().map(|i| self.photos[i].clone()).collect(),
            failures: Arc::new([]),
        }
    }

    /// The store that the photos lie in.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }
}

/// The indices at which each label stands.
pub(crate) fn by_label<'a>(labels: impl Iterator<Item = &'a str>) -> BTreeMap<&'a str, Vec<usize>> {
    let mut indices: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (index, label) in labels.enumerate() {
        indices.entry(label).or_default().push(index);
    }
    indices
}

/// Up to `max` of the indices below `n`, evenly spread.
pub(crate) fn spread(n: usize, max: usize) -> Vec<usize> {
    let chosen = n.min(max);
    (0..chosen).map(|i| i * n / chosen).collect()
}

/// Whether Spark would read the file, and its name says that it is a photo.
fn is_photo(key: &str) -> bool {
    // Spark takes `_name=value` as a partition.
    let is_hidden = |name: &str| name.starts_with('.') || (name.starts_with('_') && !name.contains('='));
    let extension = Path::new(key).extension().and_then(|extension| extension.to_str());
    !key.split('/').any(is_hidden)
        && extension.is_some_and(|extension| {
            ["jpg", "jpeg", "png"]
                .iter()
                .any(|known| extension.eq_ignore_ascii_case(known))
        })
}

fn label(root: &str, key: &str) -> String {
    let folder = key.rsplit_once('/').map_or(root, |(folder, _)| folder);
    folder
        .trim_end_matches('/')
        .rsplit('/')
        .next()
        .unwrap_or_default()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_names_and_other_files_are_no_photos() {
        for key in ["a.jpg", "x/b.JPEG", "é/ü.PnG", "_year=2026/a.jpg", "a.b/c.d.jpg"] {
            assert!(is_photo(key), "{key}");
        }
        for key in [
            "a.gif",
            "jpg",
            ".a.jpg",
            "_a.jpg",
            "_tmp/a.jpg",
            "x/.cache/a.jpg",
            "a.jpg.part",
        ] {
            assert!(!is_photo(key), "{key}");
        }
    }

    #[test]
    fn of_many_some_are_chosen_evenly_spread() {
        assert_eq!(spread(3, 5), [0, 1, 2]);
        assert_eq!(spread(10, 4), [0, 2, 5, 7]);
        assert!(spread(0, 5).is_empty() && spread(5, 0).is_empty());
    }

    #[test]
    fn label_is_the_parent_folder() {
        assert_eq!(label("/photos/Test", "Apple Red/1.jpg"), "Apple Red");
        assert_eq!(label("/photos/Test", "a/b/1.jpg"), "b");
        assert_eq!(label("/photos/Test", "1.jpg"), "Test");
        assert_eq!(label("s3://bucket/Test/", "1.jpg"), "Test");
    }
}
