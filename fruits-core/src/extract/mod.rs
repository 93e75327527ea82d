//! The pipeline from photos to rows: list, read, decode, infer.
//!
//! Listing runs ahead of reading, reading of decoding and decoding of the network, each by a bounded number of photos, so memory does
//! not grow with the number of photos. Rows keep the order of the photos. A photo that fails becomes a row of the failures table.

mod line;
mod pipeline;
mod progress;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures::future;
use futures::stream::{self, BoxStream, StreamExt};
use ndarray::{Array2, ArrayView2, Axis};
use polars::prelude::DataFrame;
use tokio::sync::mpsc;
use tracing::info;

use crate::error::{Error, ErrorKind, Failure, Result, Step, counted, printable};
use crate::extractor::FeatureExtractor;
use crate::features::{self, Earlier, Features, FeaturesWriter, Manifest, ROWS_PER_PART, Timings};
use crate::folder::{self, Census, ImageFolder, Photo, Survey};
use crate::holds::{self, Wanted};
use crate::interrupt;
use crate::output::{self, IfExists};
use crate::pixels::Limits;
use crate::store::{self, Store};
use pipeline::{Batch, Listed, Pipeline};
pub use progress::Progress;
pub(crate) use progress::show;

/// Photos that are listed before those ahead of them are read.
const PHOTOS_AHEAD: usize = 10_000;
/// Time between two calls of `on_progress`.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);
/// Time after which rows are written though they do not fill a file: what a run loses at most when it is killed.
const CHECKPOINT: Duration = Duration::from_secs(15);

/// An extraction that can be adjusted before it runs.
///
/// ```no_run
/// use fruits_core::{Extraction, IfExists, MobileNetV2};
///
/// # async fn example() -> fruits_core::Result<()> {
/// let manifest = Extraction::open("s3://fruits/Test", &MobileNetV2::imagenet()?)?
///     .max_failures(10)
///     .on_progress(|progress| println!("{progress}"))
///     .run_to("s3://fruits/Results", IfExists::Refuse)
///     .await?;
/// println!("{} photos", manifest.photos);
/// # Ok(())
/// # }
/// ```
pub struct Extraction {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) photos: BoxStream<'static, Result<Photo>>,
    found: Arc<Found>,
    pub(crate) met: Met,
    pub(crate) failures: Vec<Failure>,
    pub(crate) model: Arc<dyn FeatureExtractor>,
    pub(crate) limits: Limits,
    pub(crate) max_failures: usize,
    checkpoint: Duration,
    pub(crate) deadline: Option<Duration>,
    pub(crate) on_progress: Option<OnProgress>,
}

type OnProgress = Box<dyn FnMut(&Progress) + Send>;

/// What listing has found so far.
#[derive(Debug, Default)]
struct Found {
    photos: AtomicUsize,
    is_complete: AtomicBool,
}

/// What listing has met, as far as it is.
pub(crate) enum Met {
    Now(Arc<Census>),
    Before(Survey),
}

impl Met {
    pub(crate) fn survey(&self) -> Survey {
        match self {
            Met::Now(census) => census.survey(),
            Met::Before(survey) => survey.clone(),
        }
    }
}

impl ImageFolder {
    /// The features of all photos, with [progress shown](Extraction::show_progress).
    ///
    /// # Errors
    /// When the network or the store as a whole fails: photos that cannot be read or decoded are
    /// [failures](Features::failures).
    pub async fn features<M: FeatureExtractor + Clone + 'static>(&self, model: &M) -> Result<Features> {
        self.extraction(model).show_progress().run().await
    }

    /// An extraction of all photos, to be adjusted before it runs.
    pub fn extraction<M: FeatureExtractor + Clone + 'static>(&self, model: &M) -> Extraction {
        let photos = stream::iter(self.photos().to_vec()).map(Ok).boxed();
        let found = Found {
            photos: (self.len() + self.failures().len()).into(),
            is_complete: true.into(),
        };
        Extraction::new(
            self.store().clone(),
            photos,
            found.into(),
            Met::Before(self.survey().clone()),
            self.failures().to_vec(),
            Arc::new(model.clone()),
        )
    }
}

impl Features {
    /// Reads features, if that is what is at a location, and computes those of the photos there if not, with [progress
    /// shown](Extraction::show_progress).
    ///
    /// # Errors
    /// As [`read`](Self::read) and [`Extraction::run`].
    pub async fn read_or_extract<M: FeatureExtractor + Clone + 'static>(
        location: &str,
        model: impl FnOnce() -> Result<M>,
    ) -> Result<Self> {
        if output::is_there(&*store::open(location)?).await {
            return Self::read(location).await;
        }
        Extraction::open(location, &model()?)?.show_progress().run().await
    }
}

impl Extraction {
    /// An extraction of the photos below a location. They are listed while it runs, so that it starts at once and memory does not grow
    /// with their number.
    ///
    /// # Errors
    /// As [`store::open`]. A location that does not exist, or holds no photo, is an error when it runs.
    pub fn open<M: FeatureExtractor + Clone + 'static>(location: &str, model: &M) -> Result<Self> {
        Self::open_only(location, &[""; 0], model)
    }

    /// As [`open`](Self::open), but photos are only the files with these endings, such as `["jpg", "png"]`.
    ///
    /// # Errors
    /// As [`open`](Self::open), and [`ErrorKind::Invalid`] if no photo has such an ending.
    pub fn open_only<M: FeatureExtractor + Clone + 'static>(
        location: &str,
        endings: &[impl AsRef<str>],
        model: &M,
    ) -> Result<Self> {
        let store = store::open(location)?;
        let census = Arc::new(Census::new(store.uri(""), endings)?);
        let found = Arc::new(Found::default());
        let (sender, photos) = mpsc::channel(PHOTOS_AHEAD);
        let list = {
            let (store, found, census) = (store.clone(), found.clone(), census.clone());
            async move {
                let mut listing = folder::photos(&store, &census);
                while let Some(photo) = listing.next().await {
                    found.photos.fetch_add(1, Ordering::Relaxed);
                    if sender.send(photo).await.is_err() {
                        return;
                    }
                }
                found.is_complete.store(true, Ordering::Relaxed);
                info!(
                    "{}: all listed, {} photos",
                    printable(&store.uri("")),
                    found.photos.load(Ordering::Relaxed)
                );
            }
        };
        let photos = stream::once(async move {
            tokio::spawn(list);
            store::receive(photos)
        });
        Ok(Self::new(
            store,
            photos.flatten().boxed(),
            found,
            Met::Now(census),
            Vec::new(),
            Arc::new(model.clone()),
        ))
    }

    /// An extraction of photos that were listed elsewhere, so many of them.
    pub(crate) fn of<M: FeatureExtractor + 'static>(
        store: Arc<dyn Store>,
        photos: BoxStream<'static, Result<Photo>>,
        count: usize,
        model: M,
    ) -> Self {
        let found = Found {
            photos: count.into(),
            is_complete: true.into(),
        };
        Self::new(
            store,
            photos,
            found.into(),
            Met::Before(Survey::default()),
            Vec::new(),
            Arc::new(model),
        )
    }

    fn new(
        store: Arc<dyn Store>,
        photos: BoxStream<'static, Result<Photo>>,
        found: Arc<Found>,
        met: Met,
        failures: Vec<Failure>,
        model: Arc<dyn FeatureExtractor>,
    ) -> Self {
        Extraction {
            store,
            photos,
            found,
            met,
            failures,
            model,
            limits: Limits::default(),
            max_failures: usize::MAX,
            checkpoint: CHECKPOINT,
            deadline: None,
            on_progress: None,
        }
    }

    /// Bounds the size of a photo; a larger one is a failure.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Stops with an error when more photos than this have failed. By default nothing stops it.
    pub fn max_failures(mut self, max_failures: usize) -> Self {
        self.max_failures = max_failures;
        self
    }

    /// Writes what it has after this time at the latest, so a run that is killed loses no more than that. 15 seconds by default.
    pub fn checkpoint(mut self, checkpoint: Duration) -> Self {
        self.checkpoint = checkpoint;
        self
    }

    /// Takes no more photos after this time. What was computed is not lost: see [`run`](Self::run) and [`run_to`](Self::run_to).
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// Shows how far it is: a bar on a terminal; elsewhere, as in a notebook, lines, ever more seldom.
    pub fn show_progress(self) -> Self {
        self.on_progress(show())
    }

    /// Calls `on_progress` about once a second, and at the end.
    pub fn on_progress(mut self, on_progress: impl FnMut(&Progress) + Send + 'static) -> Self {
        self.on_progress = Some(Box::new(on_progress));
        self
    }

    /// Runs, and gives back the features of all photos: 5 KB a photo. After the [`deadline`](Self::deadline), those that it has; the
    /// manifest [says so](Manifest::is_partial).
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if there is no photo; [`ErrorKind::TooManyFailures`] as [`max_failures`](Self::max_failures) says;
    /// when the network or the store as a whole fails.
    pub async fn run(mut self) -> Result<Features> {
        self.look().await?;
        let mut table = features::rows(&[], &[], &Array2::zeros((0, self.model.model().features)))?;
        let (failures, manifest) = self
            .run_batches(None, async |batch| append(&mut table, batch.table()?))
            .await?;
        table.rechunk_mut();
        Features::new(table, failures, manifest)
    }

    /// Runs and writes the features to a folder or prefix as they come, so that memory does not grow with the number of photos.
    ///
    /// # Errors
    /// As [`run`](Self::run); [`ErrorKind::AlreadyExists`] as `if_exists` says; [`ErrorKind::TimedOut`] if the
    /// [`deadline`](Self::deadline) passed, since an output is whole or refused. What was computed before the error stays, for
    /// [`resume_to`](Self::resume_to).
    pub async fn run_to(mut self, location: &str, if_exists: IfExists) -> Result<Manifest> {
        self.look().await?;
        let writer = FeaturesWriter::begin(store::open(location)?, if_exists).await?;
        self.write(writer, None).await
    }

    /// As [`run_to`](Self::run_to), but goes on where earlier runs to this location stopped, or brings up to date what they finished.
    ///
    /// Photos of the same path, size and version (ETag, or time of modification) whose features were computed with the same weights
    /// are not computed again. New, changed and failed ones are. The rows are those of a run that was never stopped.
    ///
    /// # Errors
    /// As [`run`](Self::run), and [`ErrorKind::AlreadyExists`] if there is something at the location that no extraction wrote, or an
    /// extraction of photos that lie elsewhere.
    pub async fn resume_to(mut self, location: &str) -> Result<Manifest> {
        self.look().await?;
        let source = self.store.uri("");
        let (writer, earlier) = FeaturesWriter::resume(store::open(location)?, &source, self.model.model()).await?;
        self.write(writer, Some(earlier)).await
    }

    /// Runs and hands the photos, with their features (`n x features`), to `consume`, 4096 at a time, in order.
    pub(crate) async fn run_parts(
        mut self,
        mut consume: impl AsyncFnMut(&[Photo], ArrayView2<'_, f32>) -> Result<()>,
    ) -> Result<(Vec<Failure>, Manifest)> {
        self.look().await?;
        let none = Array2::zeros((0, self.model.model().features));
        let (mut photos, mut features) = (Vec::new(), none.clone());
        let done = self
            .run_batches(None, async |batch| {
                photos.extend(batch.photos);
                features
                    .append(Axis(0), batch.features.view())
                    .map_err(|error| Error::from_source(Step::Infer, "features", error))?;
                if photos.len() >= ROWS_PER_PART {
                    consume(&photos, features.view()).await?;
                    (photos, features) = (Vec::new(), none.clone());
                }
                Ok(())
            })
            .await?;
        if !photos.is_empty() {
            consume(&photos, features.view()).await?;
        }
        Ok(done)
    }

    /// Makes sure that there is a photo, before an output is taken from another run.
    pub(crate) async fn look(&mut self) -> Result<()> {
        match interrupt::race(Step::List, self.photos.next()).await? {
            Some(Err(error)) if store::is_about_all(&*self.store, &error) => {
                Err(holds::explain(&*self.store, Wanted::Photos, error).await)
            }
            None if self.failures.is_empty() => {
                let error = match &self.met {
                    Met::Now(census) => census.no_photo(),
                    Met::Before(_) => {
                        Error::new(ErrorKind::NotFound, Step::List, self.store.uri(""), "there is no photo")
                    }
                };
                Err(holds::explain(&*self.store, Wanted::Photos, error).await)
            }
            first => {
                let rest = std::mem::replace(&mut self.photos, stream::empty().boxed());
                self.photos = stream::iter(first).chain(rest).boxed();
                Ok(())
            }
        }
    }

    async fn write(self, mut writer: FeaturesWriter, earlier: Option<Earlier>) -> Result<Manifest> {
        let written = self.write_parts(&mut writer, earlier).await;
        let written = written.map_err(|error| kept(error, writer.rows()));
        let (failures, manifest) = writer.run().or_release(written).await?;
        writer.finish(&failures, manifest).await
    }

    /// Writes the parts, which are no output yet.
    pub(crate) async fn write_parts(
        self,
        writer: &mut FeaturesWriter,
        earlier: Option<Earlier>,
    ) -> Result<(Vec<Failure>, Manifest)> {
        let (model, checkpoint, source) = (self.model.clone(), self.checkpoint, self.store.uri(""));
        let (mut table, mut photos) = (DataFrame::default(), Vec::new());
        let mut last_write = Instant::now();
        let result = self
            .run_batches(earlier, async |batch| {
                append(&mut table, batch.table()?)?;
                photos.extend(batch.photos);
                if photos.len() >= ROWS_PER_PART || (!photos.is_empty() && last_write.elapsed() >= checkpoint) {
                    let (table, photos) = (std::mem::take(&mut table), std::mem::take(&mut photos));
                    writer.push_with_index(table, photos, &source, model.model()).await?;
                    last_write = Instant::now();
                }
                Ok(())
            })
            .await;
        // Also after an error: what was computed is worth keeping.
        let written = match photos.is_empty() {
            true => Ok(()),
            false => writer.push_with_index(table, photos, &source, model.model()).await,
        };
        let (failures, manifest) = result?;
        written?;
        if manifest.is_partial {
            let message = format!(
                "the deadline passed after {} photos; others are missing",
                manifest.photos
            );
            return Err(Error::new(ErrorKind::TimedOut, Step::Infer, manifest.source, message));
        }
        Ok((failures, manifest))
    }

    /// Runs the pipeline and hands every batch of rows to `consume`, in order.
    async fn run_batches(
        mut self,
        earlier: Option<Earlier>,
        mut consume: impl AsyncFnMut(Batch) -> Result<()>,
    ) -> Result<(Vec<Failure>, Manifest)> {
        let start = Instant::now();
        let pipeline = Pipeline::new(self.store.clone(), self.model.clone(), self.limits);
        let mut failures = self.failures;
        check(&failures, self.max_failures)?;
        let mut progress = Progress {
            done: 0,
            reused: 0,
            failed: failures.len(),
            found: 0,
            is_listing: true,
            elapsed: Duration::ZERO,
        };
        let photos = stream::unfold((self.photos, earlier), async |(mut photos, mut earlier)| {
            let photo = photos.next().await?;
            let known = match (&photo, &mut earlier) {
                (Ok(photo), Some(earlier)) => earlier.take(photo).await,
                _ => Ok(None),
            };
            Some((known.map(|known| Listed { photo, known }), (photos, earlier)))
        });
        let deadline = self.deadline;
        let is_over = async move {
            match deadline {
                Some(deadline) => tokio::time::sleep(deadline).await,
                None => future::pending().await,
            }
        };
        let photos = photos.take_until(is_over);
        let consume = async |batch: Batch| {
            failures.extend_from_slice(&batch.failures);
            check(&failures, self.max_failures)?;
            progress.done += batch.photos.len();
            progress.reused += batch.reused;
            progress.failed = failures.len();
            progress.found = self.found.photos.load(Ordering::Relaxed);
            progress.is_listing = !self.found.is_complete.load(Ordering::Relaxed);
            consume(batch).await?;
            if start.elapsed() >= progress.elapsed + PROGRESS_INTERVAL {
                progress.elapsed = start.elapsed();
                if let Some(on_progress) = &mut self.on_progress {
                    on_progress(&progress);
                }
            }
            Ok(())
        };
        pipeline.run(photos, consume).await?;
        pipeline.check_access()?;

        let source = self.store.uri("");
        progress.found = self.found.photos.load(Ordering::Relaxed);
        let is_partial = progress.found > progress.finished() || !self.found.is_complete.load(Ordering::Relaxed);
        let is_over = deadline.is_some_and(|deadline| start.elapsed() >= deadline);
        if is_partial && !is_over {
            let message = "the listing ended too early";
            return Err(Error::new(ErrorKind::Io, Step::List, source, message));
        }
        (progress.is_listing, progress.elapsed) = (false, start.elapsed());
        if let Some(on_progress) = &mut self.on_progress {
            on_progress(&progress);
        }
        let Timings {
            elapsed,
            read,
            decode,
            infer,
        } = pipeline.clocks.timings(progress.elapsed);
        info!(
            elapsed,
            read, decode, infer, "{} photos in {elapsed:.1} s; seconds over all threads", progress.done
        );
        let manifest = Manifest {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            source,
            model: self.model.model().clone(),
            photos: progress.done,
            reused: progress.reused,
            failures: failures.len(),
            is_partial,
            survey: self.met.survey(),
            parts: Vec::new(),
            timings: pipeline.clocks.timings(start.elapsed()),
        };
        Ok((failures, manifest))
    }
}

fn append(table: &mut DataFrame, rows: DataFrame) -> Result<()> {
    table
        .vstack_mut_owned(rows)
        .map(|_| ())
        .map_err(|error| Error::from_source(Step::Infer, "features", error))
}

/// The error of a run of which so many rows are not lost.
pub(crate) fn kept(error: Error, rows: usize) -> Error {
    match rows {
        0 => error,
        rows => error.and(&format!(
            "\nThe features of {} are kept: --resume (resume_to) goes on from there.",
            counted(rows, "photo")
        )),
    }
}

/// Fails if there are more failures than the limit.
pub(crate) fn check(failures: &[Failure], limit: usize) -> Result<()> {
    match failures.last() {
        Some(last) if failures.len() > limit => {
            let count = failures.len();
            let Failure { path, step, message } = last;
            let path = printable(path);
            let failed = counted(count, "photo");
            let message = format!("{failed} failed, {limit} may; the last: {path}: {step}: {message}");
            Err(Error::new(
                ErrorKind::TooManyFailures,
                Step::Input,
                "--max-failures",
                message,
            ))
        }
        _ => Ok(()),
    }
}
