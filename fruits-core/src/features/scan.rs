//! Features that lie at a location, read part by part.

use std::fmt;
use std::sync::Arc;

use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use ndarray::Array2;
use polars::prelude::DataFrame;
use tokio_util::task::AbortOnDropHandle;

use super::{Features, Manifest, Part, names, open, parts, read_failures};
use crate::error::{Error, ErrorKind, Failure, Result, Step};
use crate::interrupt;
use crate::output::Finished;
use crate::store::{self, Store};

/// Parts that are in memory or on their way: the one that the caller works on is followed by one that is read and decoded meanwhile.
const AHEAD: usize = 2;

/// Features at a location, of which only a few thousand rows at a time are in memory: for as many photos as there are. Made by
/// [`Features::scan`], as polars has it with its `scan_parquet`.
///
/// ```no_run
/// use fruits_core::{Features, IfExists, Pca};
///
/// # async fn example() -> fruits_core::Result<()> {
/// let scan = Features::scan("s3://fruits/Results").await?;
/// println!("{} photos", scan.len());
///
/// let pca = Pca::params().components(50).fit_scan(&scan).await?;
/// pca.write_scan("pca", &scan, IfExists::Refuse).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct FeaturesScan {
    store: Arc<dyn Store>,
    finished: Arc<Finished<Manifest>>,
}

impl Features {
    /// Opens what [`write`](Self::write) or `fruits features` wrote, to read it part by part. Reads the manifest only.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if there is no such folder, or no manifest in it; [`ErrorKind::Invalid`] if whatever wrote it did
    /// not finish, or the manifest is damaged.
    pub async fn scan(location: &str) -> Result<FeaturesScan> {
        interrupt::race(Step::Read, FeaturesScan::open(location)).await?
    }
}

impl FeaturesScan {
    pub(super) async fn open(location: &str) -> Result<Self> {
        let store = store::open(location)?;
        let finished = Arc::new(open(&*store).await?);
        let manifest = &finished.about;
        let rows = (manifest.parts.iter()).try_fold(0_usize, |sum, part| sum.checked_add(part.rows));
        if rows != Some(manifest.photos) {
            let rows = rows.map_or("more".to_owned(), |rows| rows.to_string());
            let message = format!("damaged: {} photos, and {rows} in its parts", manifest.photos);
            return Err(Error::new(ErrorKind::Invalid, Step::Read, store.uri(""), message));
        }
        Ok(FeaturesScan { store, finished })
    }

    /// Where the features come from and what made them.
    pub fn manifest(&self) -> &Manifest {
        &self.finished.about
    }

    /// Number of photos that have features.
    pub fn len(&self) -> usize {
        self.manifest().photos
    }

    /// Whether no photo has features.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The rows, a file at a time (of ours, 4096 rows), in the order of the table, without what failed. While the caller works on one, the
    /// next is read and decoded.
    ///
    /// ```no_run
    /// use fruits_core::Features;
    /// use futures::TryStreamExt;
    ///
    /// # async fn example() -> fruits_core::Result<()> {
    /// let mut parts = Features::scan("features").await?.parts();
    /// while let Some(part) = parts.try_next().await? {
    ///     println!("{:?}", part.matrix().dim()); // rows x features
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Items are errors, about the file, if one is missing or damaged.
    pub fn parts(&self) -> BoxStream<'static, Result<Features>> {
        self.some_parts(self.manifest().parts.clone())
    }

    pub(crate) fn some_parts(&self, parts: Vec<Part>) -> BoxStream<'static, Result<Features>> {
        let scan = self.clone();
        stream::iter(parts)
            // A task each, so that it goes on while nobody asks for the next part.
            .map(move |part| {
                let (scan, uri) = (scan.clone(), scan.store.uri(&part.file));
                let task = AbortOnDropHandle::new(tokio::spawn(async move { scan.part(part).await }));
                async move {
                    let part = task.await;
                    part.unwrap_or_else(|panic| Err(Error::from_source(Step::Read, uri, panic)))
                }
            })
            .buffered(AHEAD)
            .boxed()
    }

    /// The photos that failed.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] or [`ErrorKind::NotFound`] about the file, if it is damaged or missing.
    pub async fn failures(&self) -> Result<Vec<Failure>> {
        let failures = read_failures(&*self.store, &self.finished).await?;
        let wanted = self.manifest().failures;
        if failures.len() != wanted {
            let message = format!("the manifest says {wanted} failures, found {}", failures.len());
            return Err(Error::new(ErrorKind::Invalid, Step::Read, self.store.uri(""), message));
        }
        Ok(failures)
    }

    /// So many rows at most, evenly: every second, every third and so on, in the order of the table. For figures of more photos than fit into
    /// memory. Everything is read for it; in memory are these rows and two parts.
    ///
    /// ```no_run
    /// use fruits_core::{Features, Pca};
    ///
    /// # async fn example() -> fruits_core::Result<()> {
    /// let scan = Features::scan("s3://fruits/Results").await?;
    /// let pca = Pca::params().fit_scan(&scan).await?; // of all
    /// pca.scatter(&scan.sample(20_000).await?)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`read`](Self::read); [`ErrorKind::Invalid`] if no row is wanted.
    pub async fn sample(&self, rows: usize) -> Result<Features> {
        if rows == 0 {
            let message = "a sample has one row at least";
            return Err(Error::new(ErrorKind::Invalid, Step::Input, "features", message));
        }
        let step = self.len().div_ceil(rows).max(1);
        interrupt::race(Step::Read, self.read_every(step)).await?
    }

    /// All of it, in memory: see [`Features::read`].
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] or [`ErrorKind::NotFound`] about the file, if one is damaged or missing; [`ErrorKind::TooLarge`] if there is
    /// not enough memory.
    pub async fn read(&self) -> Result<Features> {
        interrupt::race(Step::Read, self.read_every(1)).await?
    }

    /// The first row, and every one so many rows behind another.
    pub(super) async fn read_every(&self, step: usize) -> Result<Features> {
        let failures = self.failures().await?;
        let manifest = self.manifest();
        let (photos, width) = (manifest.photos.div_ceil(step), manifest.model.features);
        let too_large = || {
            let message =
                format!("there is no memory for {width} features each of {photos} photos; scan them part by part");
            Error::new(ErrorKind::TooLarge, Step::Read, self.store.uri(""), message)
        };
        let (mut numbers, mut all) = (Vec::new(), names(&[], &[]));
        let wanted = photos.checked_mul(width).ok_or_else(too_large)?;
        numbers.try_reserve_exact(wanted).map_err(|_| too_large())?;
        let (mut parts, mut before) = (self.parts(), 0_usize);
        while let Some(part) = parts.try_next().await? {
            let (first, rows) = (before.next_multiple_of(step) - before, part.len());
            before += rows;
            let part = match step {
                1 => part,
                _ => part.take(&(first..rows).step_by(step).collect::<Vec<_>>())?,
            };
            all.vstack_mut(&part.names)
                .map_err(|error| Error::from_source(Step::Read, self.store.uri(""), error))?;
            numbers.extend(part.matrix().iter());
        }
        all.rechunk_mut();
        let matrix = Array2::from_shape_vec((photos, width), numbers)
            .map_err(|error| Error::from_source(Step::Read, self.store.uri(""), error))?;
        let manifest = Manifest {
            photos,
            is_partial: manifest.is_partial || step > 1,
            ..manifest.clone()
        };
        Ok(Features::of(all, matrix, failures, manifest))
    }

    /// Where a part lies, for errors about it.
    pub(crate) fn uri(&self, part: &Features) -> String {
        let file = part.manifest().parts.first().map(|part| part.file.as_str());
        self.store.uri(file.unwrap_or_default())
    }

    async fn part(&self, part: Part) -> Result<Features> {
        let width = self.manifest().model.features;
        let (names, matrix): (DataFrame, Array2<f32>) = parts::read_rows(&*self.store, &part, width).await?;
        if matrix.nrows() != part.rows {
            let message = format!("damaged: {} rows, the manifest says {}", matrix.nrows(), part.rows);
            return Err(Error::new(
                ErrorKind::Invalid,
                Step::Read,
                self.store.uri(&part.file),
                message,
            ));
        }
        let manifest = self.manifest().of_part(part);
        Ok(Features::of(names, matrix, Vec::new(), manifest))
    }
}

impl fmt::Debug for FeaturesScan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FeaturesScan({}, {} photos)", self.store.uri(""), self.len())
    }
}
