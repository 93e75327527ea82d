//! ImageFolder: labelled photos found under a location.

mod census;
mod labels;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::error::{Failure, Result, Step};
use crate::holds::{self, Wanted};
use crate::interrupt;
use crate::store::{self, Entry, Store};
pub(crate) use census::Census;
pub use census::{LeftOut, Survey};
use futures::future;
use futures::stream::{BoxStream, StreamExt};

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

impl Photo {
    /// The name of its file, such as `1.jpg`.
    pub fn name(&self) -> &str {
        self.key.rsplit('/').next().unwrap_or_default()
    }
}

/// The photos of a store, in ascending byte order of their keys, as they are listed.
pub(crate) fn photos(store: &Arc<dyn Store>, census: &Arc<Census>) -> BoxStream<'static, Result<Photo>> {
    let (root, listing, store, census) = (store.uri(""), store.list(), store.clone(), census.clone());
    let is_wanted = move |entry: &Result<Entry>| match entry {
        Ok(entry) => census.is_photo(&entry.key),
        Err(error) => census.is_failure(error),
    };
    listing
        .filter(move |entry| future::ready(is_wanted(entry)))
        .map(move |entry| entry.map(|entry| photo(&*store, &root, entry)))
        .boxed()
}

/// An entry of a store as a photo. `root` is the store's own URI.
fn photo(store: &dyn Store, root: &str, entry: Entry) -> Photo {
    Photo {
        path: store.uri(&entry.key),
        label: label(root, &entry.key),
        key: entry.key,
        size: entry.size,
        version: entry.version,
    }
}

/// The photos under a location, labelled by the folder they lie in. Clones share the list.
///
/// Photos are the files that end as those of the formats that [`decode`](crate::pixels::decode) knows, such as `.jpg` or `.PNG`, at any depth,
/// in ascending byte order of their keys. Names that begin with `.` or `_` are skipped, files and folders, as Spark skips them. What is left out is
/// [counted](Self::survey).
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
    survey: Arc<Survey>,
}

impl ImageFolder {
    /// Lists the photos under a location: a folder's path, or `s3://bucket/prefix`.
    ///
    /// Files and folders that cannot be listed are [failures](Self::failures), not errors. For millions of photos see
    /// [`Extraction::open`](crate::Extraction::open), which lists while it works.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) if the location does not exist or holds no photo, [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if there is no such bucket; as
    /// [`store::open`].
    pub async fn open(location: &str) -> Result<Self> {
        Self::list(store::open(location)?).await
    }

    /// As [`open`](Self::open), but photos are only the files with these endings, such as `["jpg", "png"]`.
    ///
    /// # Errors
    /// As [`open`](Self::open), and [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if no photo has such an ending.
    pub async fn open_only(location: &str, endings: &[impl AsRef<str>]) -> Result<Self> {
        Self::list_only(store::open(location)?, endings).await
    }

    /// Lists the photos of a store.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub async fn list(store: Arc<dyn Store>) -> Result<Self> {
        Self::list_only(store, &[""; 0]).await
    }

    async fn list_only(store: Arc<dyn Store>, endings: &[impl AsRef<str>]) -> Result<Self> {
        let census = Arc::new(Census::new(store.uri(""), endings)?);
        let (mut photos, mut failures) = (Vec::new(), Vec::new());
        let mut listing = self::photos(&store, &census);
        let list = async {
            while let Some(photo) = listing.next().await {
                match photo {
                    Ok(photo) => photos.push(photo),
                    Err(error) if store::is_about_all(&*store, &error) => {
                        return Err(holds::explain(&*store, Wanted::Photos, error).await);
                    }
                    Err(error) => failures.push(Failure::new(error.subject(), &error)),
                }
            }
            Ok(())
        };
        interrupt::race(Step::List, list).await??;
        if photos.is_empty() && failures.is_empty() {
            return Err(holds::explain(&*store, Wanted::Photos, census.no_photo()).await);
        }
        Ok(ImageFolder {
            store,
            photos: photos.into(),
            failures: failures.into(),
            survey: census.survey().into(),
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

    /// What was left out, and labels that may not be as people mean them.
    pub fn survey(&self) -> &Survey {
        &self.survey
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
            survey: self.survey.clone(),
        }
    }

    /// The photos of which something holds.
    ///
    /// ```
    /// # use fruits_core::ImageFolder;
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// let photos = ImageFolder::open("../data-sample").await?;
    /// assert_eq!(photos.filter(|photo| photo.label.starts_with("Apple")).len(), 16);
    /// # Ok::<(), fruits_core::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn filter(&self, is_wanted: impl Fn(&Photo) -> bool) -> Self {
        ImageFolder {
            photos: self.photos.iter().filter(|photo| is_wanted(photo)).cloned().collect(),
            ..self.clone()
        }
    }

    /// The same photos, labelled otherwise: by their name, by a folder further up, by a table of yours.
    ///
    /// ```
    /// # use fruits_core::ImageFolder;
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// let photos = ImageFolder::open("../data-sample").await?;
    /// let fruit = photos.with_labels(|photo| photo.label.split(' ').next().unwrap_or_default().to_owned());
    /// assert_eq!(fruit.counts()["Apple"], 16);
    /// # Ok::<(), fruits_core::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn with_labels(&self, label: impl Fn(&Photo) -> String) -> Self {
        let relabelled = |photo: &Photo| Photo {
            label: label(photo),
            ..photo.clone()
        };
        ImageFolder {
            photos: self.photos.iter().map(relabelled).collect(),
            // What it says of labels is of those before.
            survey: Survey {
                warnings: Vec::new(),
                ..(*self.survey).clone()
            }
            .into(),
            ..self.clone()
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

/// The label of a photo: the name of its folder, which is the last of the root's own for photos that lie there.
fn label(root: &str, key: &str) -> String {
    let folder = Some(parent(key)).filter(|folder| !folder.is_empty()).unwrap_or(root);
    folder
        .trim_end_matches('/')
        .rsplit('/')
        .next()
        .unwrap_or_default()
        .to_owned()
}

/// The folder that a key lies in.
fn parent(key: &str) -> &str {
    key.rsplit_once('/').map_or("", |(folder, _)| folder)
}

#[cfg(test)]
mod tests {
    use super::*;

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
