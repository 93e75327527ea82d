//! The pipeline from photos to rows: list, read, decode, infer.
//!
//! Reads run ahead of decoding and decoding ahead of the network, each by a bounded number of photos, so memory does not grow with
//! the number of photos. Rows keep the order of the photos. A photo that fails becomes a row of the failures table.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures::stream::{self, StreamExt};
use image::RgbImage;
use polars::prelude::DataFrame;
use tokio::sync::mpsc;

use crate::error::{Error, ErrorKind, Failure, Result, Step};
use crate::features::{self, Features, FeaturesWriter, Manifest, Timings};
use crate::folder::{ImageFolder, Photo};
use crate::mobilenet::{MobileNetV2, PREPROCESSING};
use crate::output::IfExists;
use crate::pixels::{Limits, network_input};
use crate::store;

/// Photos that are read at the same time.
const READ_AHEAD: usize = 32;
/// Photos that the network takes at once.
const BATCH: usize = 4;
/// Batches that wait for the network.
const BATCHES_AHEAD: usize = 1;
/// Time between two calls of `on_progress`.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);
/// Rows of one Parquet file: 20 MB of features.
const ROWS_PER_PART: usize = 4096;

/// How far an extraction is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Progress {
    /// Photos that have features.
    pub done: usize,
    /// Photos that failed.
    pub failed: usize,
    /// Photos in all.
    pub total: usize,
    /// Time since the start.
    pub elapsed: Duration,
}

impl Progress {
    /// Photos a second, failed ones too.
    pub fn rate(&self) -> f64 {
        (self.done + self.failed) as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }

    /// Time left at this rate; nothing before the first photo is done.
    pub fn remaining(&self) -> Option<Duration> {
        let left = self.total.saturating_sub(self.done + self.failed);
        let seconds = left as f64 / self.rate();
        Duration::try_from_secs_f64(seconds).ok()
    }
}

/// `320 of 344 photos, 1 failed, 38.2 photos/s, 1 s left`.
impl std::fmt::Display for Progress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {} photos", self.done + self.failed, self.total)?;
        if self.failed > 0 {
            write!(f, ", {} failed", self.failed)?;
        }
        write!(f, ", {:.1} photos/s", self.rate())?;
        match self.remaining() {
            Some(left) if self.done + self.failed < self.total => {
                write!(f, ", {:.0} s left", left.as_secs_f64().ceil())
            }
            _ => Ok(()),
        }
    }
}

/// An extraction that can be adjusted before it runs.
///
/// ```no_run
/// use fruits_core::{ImageFolder, MobileNetV2};
///
/// # async fn example() -> fruits_core::Result<()> {
/// let photos = ImageFolder::open("data-sample").await?;
/// let features = photos
///     .extraction(&MobileNetV2::imagenet()?)
///     .max_failures(10)
///     .on_progress(|progress| println!("{progress}"))
///     .run()
///     .await?;
/// # Ok(())
/// # }
/// ```
pub struct Extraction {
    folder: ImageFolder,
    model: MobileNetV2,
    limits: Limits,
    max_failures: usize,
    on_progress: Box<dyn FnMut(&Progress) + Send>,
}

impl ImageFolder {
    /// The features of all photos.
    ///
    /// # Errors
    /// Only when the network itself fails: photos that cannot be read or decoded are [failures](Features::failures).
    pub async fn features(&self, model: &MobileNetV2) -> Result<Features> {
        self.extraction(model).run().await
    }

    /// An extraction of all photos, to be adjusted before it runs.
    pub fn extraction(&self, model: &MobileNetV2) -> Extraction {
        Extraction {
            folder: self.clone(),
            model: model.clone(),
            limits: Limits::default(),
            max_failures: usize::MAX,
            on_progress: Box::new(|_| {}),
        }
    }
}

impl Extraction {
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

    /// Calls `on_progress` about once a second, and at the end.
    pub fn on_progress(mut self, on_progress: impl FnMut(&Progress) + Send + 'static) -> Self {
        self.on_progress = Box::new(on_progress);
        self
    }

    /// Runs, and gives back the features of all photos: 5 KB a photo.
    ///
    /// # Errors
    /// [`ErrorKind::TooManyFailures`] as [`max_failures`](Self::max_failures) says, or when the network itself fails.
    pub async fn run(self) -> Result<Features> {
        let mut table = features::rows(&[], &[], &ndarray::Array2::zeros((0, crate::mobilenet::FEATURES)))?;
        let (failures, manifest) = self
            .run_batches(async |rows| {
                table
                    .vstack_mut_owned(rows)
                    .map_err(|error| Error::from_source(Step::Infer, "features", error))?;
                Ok(())
            })
            .await?;
        table.rechunk_mut();
        Features::new(table, failures, manifest)
    }

    /// Runs and writes the features to a folder as they come, so that memory does not grow with the number of photos.
    ///
    /// # Errors
    /// As [`run`](Self::run), and [`ErrorKind::AlreadyExists`] as `if_exists` says.
    pub async fn run_to(self, location: &str, if_exists: IfExists) -> Result<Manifest> {
        let mut writer = FeaturesWriter::begin(store::open(location)?, if_exists).await?;
        let mut pending = DataFrame::default();
        let (failures, manifest) = self
            .run_batches(async |rows| {
                pending
                    .vstack_mut_owned(rows)
                    .map_err(|error| Error::from_source(Step::Infer, "features", error))?;
                if pending.height() >= ROWS_PER_PART {
                    writer.push(std::mem::take(&mut pending)).await?;
                }
                Ok(())
            })
            .await?;
        if pending.height() > 0 {
            writer.push(pending).await?;
        }
        writer.finish(&failures, manifest).await
    }

    /// Runs the pipeline and hands every batch of rows to `consume`, in order.
    async fn run_batches(
        mut self,
        mut consume: impl AsyncFnMut(DataFrame) -> Result<()>,
    ) -> Result<(Vec<Failure>, Manifest)> {
        let start = Instant::now();
        let clocks = Arc::new(Clocks::default());
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let (sender, batches) = mpsc::channel(BATCHES_AHEAD);

        let photos = stream::iter(self.folder.photos().to_vec());
        let store = self.folder.store();
        let limits = self.limits;
        let read = async |photo: Photo| {
            let read = store.get(&photo.key, limits.bytes);
            let bytes = clocks.read.time_async(read).await;
            (photo, bytes)
        };
        let decode = |(photo, bytes): (Photo, Result<bytes::Bytes>)| {
            let clocks = clocks.clone();
            async move {
                let path = photo.path.clone();
                let work = move || clocks.decode.time(|| network_input(&bytes?, &limits));
                let pixels = match tokio::task::spawn_blocking(work).await {
                    Ok(pixels) => pixels,
                    Err(panic) => Err(Error::from_source(Step::Decode, path, std::io::Error::other(panic))),
                };
                (photo, pixels)
            }
        };
        let produce = async {
            let decoded = photos
                .map(read)
                .buffered(READ_AHEAD)
                .map(decode)
                .buffered(threads)
                .chunks(BATCH);
            let mut decoded = std::pin::pin!(decoded);
            while let Some(batch) = decoded.next().await {
                // Sending fails only when the consumer has failed, which ends this side too.
                let _ = sender.send(batch).await;
            }
            drop(sender);
            Ok::<_, Error>(())
        };

        let infer = |batch: Vec<(Photo, Result<RgbImage>)>| {
            let (model, clocks) = (self.model.clone(), clocks.clone());
            async move {
                let (photos, pixels, failures) = split(batch);
                let work = move || clocks.infer.time(|| model.features(&pixels));
                let matrix = tokio::task::spawn_blocking(work)
                    .await
                    .map_err(|panic| Error::from_source(Step::Infer, "", std::io::Error::other(panic)))??;
                Ok::<_, Error>((photos, matrix, failures))
            }
        };
        let mut failures = self.folder.failures().to_vec();
        check(&failures, self.max_failures)?;
        let mut progress = Progress {
            done: 0,
            failed: failures.len(),
            total: self.folder.len() + failures.len(),
            elapsed: Duration::ZERO,
        };
        let consume = async {
            let batches = stream::unfold(batches, async |mut batches| Some((batches.recv().await?, batches)));
            let mut inferred = std::pin::pin!(batches.map(infer).buffered(threads));
            while let Some(batch) = inferred.next().await {
                let (photos, matrix, failed) = batch?;
                failures.extend(failed);
                check(&failures, self.max_failures)?;
                let paths: Vec<&str> = photos.iter().map(|photo| photo.path.as_str()).collect();
                let labels: Vec<&str> = photos.iter().map(|photo| photo.label.as_str()).collect();
                consume(features::rows(&paths, &labels, &matrix)?).await?;
                progress.done += photos.len();
                progress.failed = failures.len();
                let due = progress.elapsed + PROGRESS_INTERVAL;
                if start.elapsed() >= due || progress.done + progress.failed == progress.total {
                    progress.elapsed = start.elapsed();
                    (self.on_progress)(&progress);
                }
            }
            Ok(())
        };
        futures::try_join!(produce, consume)?;

        let manifest = Manifest {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            source: self.folder.location(),
            model: "MobileNetV2 1.0 224".to_owned(),
            weights_sha256: self.model.weights_sha256().to_owned(),
            preprocessing: PREPROCESSING.to_owned(),
            photos: progress.done,
            failures: failures.len(),
            parts: Vec::new(),
            timings: Timings {
                elapsed: start.elapsed().as_secs_f64(),
                read: clocks.read.seconds(),
                decode: clocks.decode.seconds(),
                infer: clocks.infer.seconds(),
            },
        };
        Ok((failures, manifest))
    }
}

/// Parts the photos that have pixels from those that failed.
fn split(batch: Vec<(Photo, Result<RgbImage>)>) -> (Vec<Photo>, Vec<RgbImage>, Vec<Failure>) {
    let (mut photos, mut pixels, mut failures) = (Vec::new(), Vec::new(), Vec::new());
    for (photo, result) in batch {
        match result {
            Ok(image) => {
                photos.push(photo);
                pixels.push(image);
            }
            Err(error) => failures.push(Failure::new(photo.path, &error)),
        }
    }
    (photos, pixels, failures)
}

/// Fails if there are more failures than the limit.
fn check(failures: &[Failure], limit: usize) -> Result<()> {
    match failures.last() {
        Some(last) if failures.len() > limit => {
            let count = failures.len();
            let Failure { path, step, message } = last;
            let message = format!("{count} photos failed, {limit} are accepted; the last: {path}: {step}: {message}");
            Err(Error::new(
                ErrorKind::TooManyFailures,
                Step::Input,
                "max_failures",
                message,
            ))
        }
        _ => Ok(()),
    }
}

/// Seconds spent in each step, over all threads.
#[derive(Default)]
struct Clocks {
    read: Clock,
    decode: Clock,
    infer: Clock,
}

#[derive(Default)]
struct Clock(AtomicU64);

impl Clock {
    fn time<T>(&self, work: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let result = work();
        self.add(start);
        result
    }

    async fn time_async<T>(&self, work: impl Future<Output = T>) -> T {
        let start = Instant::now();
        let result = work.await;
        self.add(start);
        result
    }

    fn add(&self, start: Instant) {
        self.0.fetch_add(start.elapsed().as_nanos() as u64, Ordering::Relaxed);
    }

    fn seconds(&self) -> f64 {
        Duration::from_nanos(self.0.load(Ordering::Relaxed)).as_secs_f64()
    }
}
