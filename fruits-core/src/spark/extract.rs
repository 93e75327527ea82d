//! Extraction on a cluster: photos are divided into tasks, and what workers answer is gathered.

use std::sync::Arc;
use std::time::Instant;

use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};

use super::cluster::Exchange;
use super::listing::Listing;
use super::protocol::{Outcome, Work};
use super::{Spark, write_task, wrong_answer};
use crate::error::{Failure, Result, Step};
use crate::extract::{self, Extraction, Progress};
use crate::features::{self, Features, FeaturesWriter, Manifest, PARTS, ROWS_PER_PART, Timings};
use crate::folder::Photo;
use crate::interrupt;
use crate::mobilenet::MobileNetV2;
use crate::output::IfExists;
use crate::store::{self, Store};

/// Photos of one task, unless the caller divides them: half a minute of two cores.
const PHOTOS_PER_TASK: usize = 4 * ROWS_PER_PART;
/// Tasks whose lines are on their way at the same time, while the listing goes on: 2 MB each.
const WRITES: usize = 8;

impl Spark {
    /// The features of all photos below a location, written to another one, and read back: for as many as fit into memory, 5 KB a photo.
    ///
    /// # Errors
    /// As [`run_to`](Self::run_to).
    pub async fn features(&self, model: &MobileNetV2, source: &str, destination: &str) -> Result<Features> {
        self.extract(model, source, destination, IfExists::Refuse).await?;
        Features::read(destination).await
    }

    /// The features of all photos below a location, written to another one.
    ///
    /// # Errors
    /// As [`run_to`](Self::run_to).
    pub async fn extract(
        &self,
        model: &MobileNetV2,
        source: &str,
        destination: &str,
        if_exists: IfExists,
    ) -> Result<Manifest> {
        let extraction = Extraction::open(source, model)?;
        let extraction = match self.is_shown {
            true => extraction.show_progress(),
            false => extraction,
        };
        self.run_to(extraction, destination, if_exists).await
    }

    /// Runs an extraction by [`MobileNetV2`] and writes the features to a folder or prefix. Rows, files and manifest are those of
    /// [`Extraction::run_to`]. Its checkpoint does not count: workers write when they have 4096 rows, and at the end of a task.
    ///
    /// # Errors
    /// Those of [`Extraction::run_to`]; [`ErrorKind::Io`](crate::ErrorKind::Io) if Spark fails, with the end of what it said;
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if it says that it succeeded but rows are missing or came twice, and if its nodes do
    /// not reach a location; [`ErrorKind::TimedOut`](crate::ErrorKind::TimedOut) as the extraction's deadline says, or
    /// [`Spark::deadline`]. Then there is no output that a reader would take for one; [`resume_to`](Self::resume_to) takes over what was
    /// computed, and so does [`Extraction::resume_to`].
    pub async fn run_to(&self, mut extraction: Extraction, destination: &str, if_exists: IfExists) -> Result<Manifest> {
        self.check_reach(&extraction, destination)?;
        extraction.look().await?;
        let writer = FeaturesWriter::begin(store::open(destination)?, if_exists).await?;
        self.write(extraction, writer, false).await
    }

    /// As [`run_to`](Self::run_to), but goes on where earlier runs to this location stopped, or brings up to date what they finished, in Spark
    /// or not, as [`Extraction::resume_to`] does.
    ///
    /// # Errors
    /// As [`run_to`](Self::run_to) and [`Extraction::resume_to`].
    pub async fn resume_to(&self, mut extraction: Extraction, destination: &str) -> Result<Manifest> {
        self.check_reach(&extraction, destination)?;
        extraction.look().await?;
        let (store, source) = (store::open(destination)?, extraction.store.uri(""));
        // What there is to take over, each worker finds for its own photos.
        let (writer, _) = FeaturesWriter::resume(store, &source, extraction.model.model()).await?;
        self.write(extraction, writer, true).await
    }

    fn check_reach(&self, extraction: &Extraction, destination: &str) -> Result<()> {
        self.cluster.check_reach(&extraction.store.uri(""))?;
        self.cluster.check_reach(destination)
    }

    async fn write(&self, extraction: Extraction, mut writer: FeaturesWriter, is_resumed: bool) -> Result<Manifest> {
        let done = self.run_tasks(&mut writer, extraction, is_resumed).await;
        let (failures, manifest) = writer.run().or_release(done).await?;
        writer.finish(&failures, manifest).await
    }

    /// Divides the photos, runs the tasks, and gathers what they answer.
    async fn run_tasks(
        &self,
        writer: &mut FeaturesWriter,
        extraction: Extraction,
        is_resumed: bool,
    ) -> Result<(Vec<Failure>, Manifest)> {
        let start = Instant::now();
        let Extraction {
            store: source,
            photos,
            met,
            failures,
            model,
            limits,
            max_failures,
            deadline,
            mut on_progress,
            ..
        } = extraction;
        let model = model.model();
        let work = Work::Extract {
            source: source.uri(""),
            destination: writer.run().store().uri(""),
            run: writer.run().id().to_owned(),
            model: model.clone(),
            weights: self.weights.clone(),
            limits,
            max_failures,
            is_resumed,
        };
        let exchange = self.cluster.exchange().await?;
        let divided = self.divide(&exchange, photos, &source, failures, &work);
        let (sizes, mut failures) = interrupt::race(Step::List, divided).await??;
        extract::check(&failures, max_failures)?;

        let (made, failed) = (writer.run().made_in(PARTS)?, failures.len());
        let look = async || {
            if let Some(on_progress) = &mut on_progress {
                let done = written(&*made, &sizes).await;
                on_progress(&progress(done, 0, failed, &sizes, start));
            }
        };
        let deadline = deadline.map(|deadline| deadline.saturating_sub(start.elapsed()));
        let answers = match self.run(exchange, &sizes, deadline.or(self.deadline), look).await {
            Ok(answers) => answers,
            Err(error) => return Err(extract::kept(error, written(&*made, &sizes).await)),
        };

        let (mut count, mut taken_over, mut timings) = (0, 0, Timings::default());
        for answer in answers {
            let Outcome::Extracted {
                photos,
                reused,
                parts,
                files,
                failures: of_these,
                timings: time,
            } = answer.result
            else {
                return Err(wrong_answer(answer.task));
            };
            let rows: usize = parts.iter().map(|part| part.rows).sum();
            if rows != photos || photos + of_these.len() != answer.items {
                return Err(wrong_answer(answer.task));
            }
            count += photos;
            taken_over += reused;
            writer.add(parts, files);
            failures.extend(of_these);
            timings.read += time.read;
            timings.decode += time.decode;
            timings.infer += time.infer;
        }
        extract::check(&failures, max_failures).map_err(|error| extract::kept(error, count))?;
        timings.elapsed = start.elapsed().as_secs_f64();
        if let Some(on_progress) = &mut on_progress {
            on_progress(&progress(count, taken_over, failures.len(), &sizes, start));
        }
        let manifest = Manifest {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            source: source.uri(""),
            model: model.clone(),
            photos: count,
            reused: taken_over,
            failures: failures.len(),
            is_partial: false,
            survey: met.survey(),
            parts: Vec::new(),
            timings,
        };
        Ok((failures, manifest))
    }
}

impl Spark {
    /// Divides photos and writes the tasks down; gives back how many photos each has, and what could not be listed.
    pub(super) async fn divide(
        &self,
        exchange: &Exchange,
        photos: BoxStream<'static, Result<Photo>>,
        source: &Arc<dyn Store>,
        failures: Vec<Failure>,
        work: &Work,
    ) -> Result<(Vec<usize>, Vec<Failure>)> {
        let ahead = self.tasks.map_or(self.wanted_tasks() * PHOTOS_PER_TASK, |_| usize::MAX);
        let mut listing = Listing::begin(photos, source.clone(), failures, ahead).await?;
        let per_task = match listing.waiting() < ahead {
            true => listing.waiting().div_ceil(self.wanted_tasks()).max(1),
            false => PHOTOS_PER_TASK,
        };
        let lines = stream::try_unfold(&mut listing, async |listing| {
            let lines = listing.next(per_task).await?;
            Ok(lines.map(|lines| (lines, listing)))
        });
        let tasks = lines.enumerate();
        let sizes = tasks
            .map(|(task, lines)| lines.map(|lines| write_task(exchange, task, work, lines)))
            .try_buffered(WRITES)
            .try_collect()
            .await?;
        Ok((sizes, listing.failures()))
    }
}

/// Photos of the parts that are written so far. Only for showing: what cannot be listed does not count.
pub(super) async fn written(made: &dyn Store, sizes: &[usize]) -> usize {
    let mut parts = vec![0; sizes.len()];
    let mut keys = made.list();
    while let Some(entry) = keys.next().await {
        if let Some(task) = entry.ok().and_then(|entry| features::task_of_part(&entry.key))
            && let Some(count) = parts.get_mut(task)
        {
            *count += 1;
        }
    }
    parts
        .iter()
        .zip(sizes)
        .map(|(parts, size)| (parts * ROWS_PER_PART).min(*size))
        .sum()
}

pub(super) fn progress(done: usize, reused: usize, failed: usize, sizes: &[usize], start: Instant) -> Progress {
    Progress {
        done,
        reused,
        failed,
        found: sizes.iter().sum::<usize>() + failed,
        is_listing: false,
        elapsed: start.elapsed(),
    }
}
