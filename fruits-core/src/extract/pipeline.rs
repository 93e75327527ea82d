//! From photos to batches of rows, in order: read, decode, infer, each ahead of the next by a bounded number of photos.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::future::OptionFuture;
use futures::stream::{self, Stream, StreamExt};
use image::RgbImage;
use ndarray::{Array2, ArrayView1};
use polars::prelude::DataFrame;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::task::AbortOnDropHandle;
use tracing::info;

use super::line::{Line, Turn};
use crate::error::{Error, ErrorKind, Failure, Result, Step, printable};
use crate::extractor::FeatureExtractor;
use crate::features::{self, Timings};
use crate::folder::Photo;
use crate::interrupt;
use crate::pixels::{Limits, Preprocessor};
use crate::spare::Spare;
use crate::store::{self, Length, Store};

/// Photos that are read at the same time at most, or wait for the network: over 200 ms, some 450 a second.
const READ_AHEAD: usize = 96;
/// Bytes of them. A line of 1 Gbit/s has 25 MB on the way in 200 ms.
const BYTES_AHEAD: u64 = 32 << 20;
/// Photos that may not be read, and none before them that may, until the run ends.
const DENIED: usize = 32;
/// Photos that the network takes at once.
const BATCH: usize = 4;
/// Batches that wait for the network.
const BATCHES_AHEAD: usize = 1;

/// A photo as it was listed, or why it could not be; and its features, if they are known from an earlier run.
pub(super) struct Listed {
    pub photo: Result<Photo>,
    pub known: Option<Vec<f32>>,
}

/// A photo before the network.
enum Prepared {
    Known(Photo, Vec<f32>),
    Pixels(Photo, RgbImage),
    Failed(Failure),
}

/// Some photos with their features.
pub(super) struct Batch {
    pub photos: Vec<Photo>,
    /// `n x features`.
    pub features: Array2<f32>,
    pub failures: Vec<Failure>,
    /// Photos of these whose features were known.
    pub reused: usize,
}

impl Batch {
    /// As rows of the table.
    pub fn table(&self) -> Result<DataFrame> {
        let paths: Vec<&str> = self.photos.iter().map(|photo| photo.path.as_str()).collect();
        let labels: Vec<&str> = self.photos.iter().map(|photo| photo.label.as_str()).collect();
        features::rows(&paths, &labels, &self.features)
    }
}

pub(super) struct Pipeline {
    store: Arc<dyn Store>,
    model: Arc<dyn FeatureExtractor>,
    limits: Limits,
    threads: usize,
    line: Line,
    /// A permit a thread that decodes.
    decoders: Semaphore,
    /// What decodes, when no thread does.
    idle: Spare<Preprocessor>,
    /// Memory of photos that are done.
    memory: Spare<RgbImage>,
    /// Photos that were read, now or by an earlier run, and those that may not be.
    read: AtomicUsize,
    denied: AtomicUsize,
    pub clocks: Clocks,
}

impl Pipeline {
    pub fn new(store: Arc<dyn Store>, model: Arc<dyn FeatureExtractor>, limits: Limits) -> Arc<Self> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        Arc::new(Pipeline {
            store,
            model,
            limits,
            threads,
            line: Line::new(READ_AHEAD, BYTES_AHEAD),
            decoders: Semaphore::new(threads),
            idle: Spare::default(),
            memory: Spare::default(),
            read: AtomicUsize::new(0),
            denied: AtomicUsize::new(0),
            clocks: Clocks::default(),
        })
    }

    /// Hands the rows of all photos to `consume`, batch by batch. An error that is not one photo's ends it, behind the rows of the
    /// photos before. So does an interrupt, between two batches: `consume` comes to its end.
    pub async fn run(
        self: &Arc<Self>,
        photos: impl Stream<Item = Result<Listed>>,
        mut consume: impl AsyncFnMut(Batch) -> Result<()>,
    ) -> Result<()> {
        let (sender, batches) = mpsc::channel(BATCHES_AHEAD);
        let produce = async move {
            let prepared = photos
                // A task each, so that reads go on while nobody asks for the next batch.
                .map(|listed| AbortOnDropHandle::new(tokio::spawn(self.prepare(listed))))
                .buffered(READ_AHEAD)
                .chunks(BATCH);
            let mut prepared = std::pin::pin!(prepared);
            while let Some(chunk) = prepared.next().await {
                let (mut batch, mut end) = (Vec::with_capacity(BATCH), None);
                for photo in chunk {
                    match photo.unwrap_or_else(|panic| Err(panicked(Step::Read, panic))) {
                        Ok(photo) => batch.push(photo),
                        Err(error) => {
                            end = Some(error);
                            break;
                        }
                    }
                }
                // Sending fails only when the consumer has failed, which ends this side too.
                let _ = sender.send(Ok(batch)).await;
                if let Some(error) = end {
                    let _ = sender.send(Err(error)).await;
                    break;
                }
            }
            drop(sender);
            Ok::<_, Error>(())
        };
        let consume = async {
            let batches = stream::unfold(batches, async |mut batches| Some((batches.recv().await?, batches)));
            // A task each, so that they go on while rows are consumed.
            let inferred = batches
                .map(|batch| AbortOnDropHandle::new(tokio::spawn(self.clone().infer(batch))))
                .buffered(self.threads + 1)
                .map(|batch| batch.unwrap_or_else(|panic| Err(panicked(Step::Infer, panic))));
            let mut inferred = std::pin::pin!(inferred);
            while let Some(batch) = interrupt::race(Step::Infer, inferred.next()).await? {
                consume(batch?).await?;
            }
            Ok(())
        };
        futures::try_join!(produce, consume)?;
        Ok(())
    }

    /// Stands in line for a photo, and gives what reads it when it is its turn.
    fn prepare(self: &Arc<Self>, listed: Result<Listed>) -> impl Future<Output = Result<Prepared>> + Send + 'static {
        let bytes = match &listed {
            Ok(Listed {
                photo: Ok(photo),
                known: None,
            }) => Some(photo.size.min(self.limits.bytes)),
            _ => None,
        };
        let (pipeline, turn) = (self.clone(), bytes.map(|bytes| self.line.turn(bytes)));
        async move { pipeline.prepare_in(OptionFuture::from(turn).await, listed).await }
    }

    async fn prepare_in(self: Arc<Self>, turn: Option<Turn>, listed: Result<Listed>) -> Result<Prepared> {
        let Listed { photo, known } = listed?;
        let photo = match photo {
            Ok(photo) => photo,
            Err(error) => return self.failed(error.subject().to_owned(), error),
        };
        if let Some(known) = known {
            self.read.fetch_add(1, Ordering::Relaxed);
            return Ok(Prepared::Known(photo, known));
        }
        let read = self.clocks.read.time_async(self.read(&photo));
        let mut turn = turn.unwrap_or_default();
        let pixels = match self.line.share(&mut turn, read).await {
            Ok(bytes) => {
                self.read.fetch_add(1, Ordering::Relaxed);
                self.decode(bytes).await
            }
            Err(error) => Err(error),
        };
        drop(turn);
        match pixels {
            Ok(pixels) => Ok(Prepared::Pixels(photo, pixels)),
            Err(error) => self.failed(photo.path, error),
        }
    }

    async fn read(&self, photo: &Photo) -> Result<Bytes> {
        if photo.size > self.limits.bytes {
            let message = format!("{} bytes, the limit is {}", photo.size, self.limits.bytes);
            return Err(Error::new(ErrorKind::TooLarge, Step::Read, &photo.path, message));
        }
        self.store.get(&photo.key, Length::Exactly(photo.size)).await
    }

    async fn decode(self: &Arc<Self>, bytes: Bytes) -> Result<RgbImage> {
        // The semaphore is never closed.
        let _permit = self.decoders.acquire().await;
        let pipeline = self.clone();
        let work = move || {
            let model = pipeline.model.model();
            let idle = pipeline.idle.take();
            let mut preprocessor =
                idle.unwrap_or_else(|| Preprocessor::new(model.side, model.decoding, pipeline.limits));
            let memory = pipeline.memory.take().unwrap_or_default();
            let pixels = pipeline.clocks.decode.time(|| preprocessor.run(&bytes, memory));
            pipeline.idle.put(preprocessor);
            pixels
        };
        tokio::task::spawn_blocking(work)
            .await
            .unwrap_or_else(|panic| Err(panicked(Step::Decode, panic)))
    }

    async fn infer(self: Arc<Self>, batch: Result<Vec<Prepared>>) -> Result<Batch> {
        let batch = batch?;
        let (mut photos, mut known, mut pixels, mut failures) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for photo in batch {
            match photo {
                Prepared::Known(photo, features) => {
                    photos.push(photo);
                    known.push(Some(features));
                }
                Prepared::Pixels(photo, image) => {
                    photos.push(photo);
                    known.push(None);
                    pixels.push(image);
                }
                Prepared::Failed(failure) => failures.push(failure),
            }
        }
        let pipeline = self.clone();
        let work = move || {
            let features = pipeline.clocks.infer.time(|| pipeline.model.extract(&pixels))?;
            let (given, wanted) = (features.dim(), (pixels.len(), pipeline.model.model().features));
            if given != wanted {
                let message = format!(
                    "the network gave {} x {} features, not {} x {}",
                    given.0, given.1, wanted.0, wanted.1
                );
                return Err(Error::new(ErrorKind::Invalid, Step::Infer, "", message));
            }
            pixels.into_iter().for_each(|photo| pipeline.memory.put(photo));
            Ok(features)
        };
        let computed = tokio::task::spawn_blocking(work)
            .await
            .unwrap_or_else(|panic| Err(panicked(Step::Infer, panic)))?;
        let mut computed = computed.rows().into_iter();
        let mut features = Array2::zeros((photos.len(), self.model.model().features));
        for (mut row, known) in features.rows_mut().into_iter().zip(&known) {
            match known {
                Some(known) => row.assign(&ArrayView1::from(known)),
                None => row.assign(&computed.next().expect("the network gives a row for each photo")),
            }
        }
        Ok(Batch {
            photos,
            features,
            failures,
            reused: known.iter().flatten().count(),
        })
    }

    /// Fails if some photos may not be read, and none could be: then it is not about these.
    pub fn check_access(&self) -> Result<()> {
        let (read, denied) = (self.read.load(Ordering::Relaxed), self.denied.load(Ordering::Relaxed));
        if denied == 0 || read > 0 {
            return Ok(());
        }
        let message =
            "access denied to every photo; the policies of these credentials and of the bucket must allow s3:GetObject";
        Err(Error::new(ErrorKind::Denied, Step::Read, self.store.uri(""), message))
    }

    /// The row of the failures table, unless the error is about the store as a whole and would be every photo's.
    fn failed(&self, path: String, error: Error) -> Result<Prepared> {
        if store::is_about_all(&*self.store, &error) {
            return Err(error);
        }
        if error.kind() == ErrorKind::Denied && self.denied.fetch_add(1, Ordering::Relaxed) + 1 >= DENIED {
            self.check_access()?;
        }
        info!("{}: {}: {}", printable(&path), error.step(), printable(error.message()));
        Ok(Prepared::Failed(Failure::new(path, &error)))
    }
}

fn panicked(step: Step, panic: tokio::task::JoinError) -> Error {
    Error::from_source(step, "", std::io::Error::other(panic))
}

/// Seconds spent in each step, over all threads.
#[derive(Default)]
pub(super) struct Clocks {
    read: Clock,
    decode: Clock,
    infer: Clock,
}

impl Clocks {
    pub fn timings(&self, elapsed: Duration) -> Timings {
        Timings {
            elapsed: elapsed.as_secs_f64(),
            read: self.read.seconds(),
            decode: self.decode.seconds(),
            infer: self.infer.seconds(),
        }
    }
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
