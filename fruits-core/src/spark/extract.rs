//! Extraction on a cluster: photos are divided into tasks, and what workers answer is gathered.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use futures::stream::{BoxStream, StreamExt};

use super::cluster::Exchange;
use super::protocol::{Item, Outcome, Work};
use super::{Spark, write_task, wrong_answer};
use crate::error::{Failure, Result, Step};
use crate::extract::{self, Extraction, Progress};
use crate::features::{self, Features, FeaturesWriter, Manifest, ROWS_PER_PART, Timings};
use crate::folder::Photo;
use crate::interrupt;
use crate::mobilenet::MobileNetV2;
use crate::output::IfExists;
use crate::store::{self, Store};

/// Photos of one task, unless the caller divides them: half a minute of two cores.
const PHOTOS_PER_TASK: usize = 4 * ROWS_PER_PART;

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
        let destination = writer.run().store().clone();
        let work = Work::Extract {
            source: source.uri(""),
            destination: destination.uri(""),
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

        let (run, failed) = (writer.run().id().to_owned(), failures.len());
        let look = async || {
            if let Some(on_progress) = &mut on_progress {
                let done = written(&*destination, &run, &sizes).await;
                on_progress(&progress(done, 0, failed, &sizes, start));
            }
        };
        let deadline = deadline.map(|deadline| deadline.saturating_sub(start.elapsed()));
        let answers = match self.run(exchange, &sizes, deadline.or(self.deadline), look).await {
            Ok(answers) => answers,
            Err(error) => return Err(extract::kept(error, written(&*destination, &run, &sizes).await)),
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
    /// Divides photos and writes the tasks down; gives back how many photos each has, and what failed.
    pub(super) async fn divide(
        &self,
        exchange: &Exchange,
        photos: BoxStream<'static, Result<Photo>>,
        source: &Arc<dyn Store>,
        failures: Vec<Failure>,
        work: &Work,
    ) -> Result<(Vec<usize>, Vec<Failure>)> {
        let mut listing = Listing {
            photos,
            source: source.clone(),
            waiting: VecDeque::new(),
            failures,
        };
        let ahead = self.tasks.map_or(self.wanted_tasks() * PHOTOS_PER_TASK, |_| usize::MAX);
        listing.fill(ahead).await?;
        let waiting = listing.waiting.len();
        let per_task = match waiting < ahead {
            true => waiting.div_ceil(self.wanted_tasks()).max(1),
            false => PHOTOS_PER_TASK,
        };
        let mut sizes = Vec::new();
        loop {
            let items = listing.next(per_task).await?;
            if items.is_empty() {
                return Ok((sizes, listing.failures));
            }
            write_task(exchange, sizes.len(), work, &items).await?;
            sizes.push(items.len());
        }
    }
}

/// The photos that are still to be given out.
struct Listing {
    photos: BoxStream<'static, Result<Photo>>,
    source: Arc<dyn Store>,
    /// Those that were listed before it was known how to divide them.
    waiting: VecDeque<Item>,
    failures: Vec<Failure>,
}

impl Listing {
    /// Lists on until so many photos wait, or there are no more. An error about the store as a whole ends it; others are failures.
    async fn fill(&mut self, wanted: usize) -> Result<()> {
        while self.waiting.len() < wanted
            && let Some(photo) = self.photos.next().await
        {
            match photo {
                Ok(Photo {
                    key,
                    size,
                    version,
                    label,
                    ..
                }) => self.waiting.push_back(Item {
                    key,
                    size,
                    version,
                    label,
                }),
                Err(error) if store::is_about_all(&*self.source, &error) => return Err(error),
                Err(error) => self.failures.push(Failure::new(error.subject(), &error)),
            }
        }
        Ok(())
    }

    /// The photos of the next task: those that wait, and those listed after them. None when all have been given out.
    async fn next(&mut self, count: usize) -> Result<Vec<Item>> {
        self.fill(count).await?;
        Ok(self.waiting.drain(..count.min(self.waiting.len())).collect())
    }
}

/// Photos of the parts that are written so far. Only for showing: what cannot be listed does not count.
async fn written(destination: &dyn Store, run: &str, sizes: &[usize]) -> usize {
    let mut parts = vec![0; sizes.len()];
    let mut keys = destination.list();
    while let Some(entry) = keys.next().await {
        if let Some(task) = entry.ok().and_then(|entry| features::task_of_part(&entry.key, run))
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

fn progress(done: usize, reused: usize, failed: usize, sizes: &[usize], start: Instant) -> Progress {
    Progress {
        done,
        reused,
        failed,
        found: sizes.iter().sum::<usize>() + failed,
        is_listing: false,
        elapsed: start.elapsed(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::folder::{self, Census};
    use crate::store::MemoryStore;

    #[tokio::test]
    async fn photos_behind_the_first_ones_are_given_out_too() {
        let source: Arc<dyn Store> = Arc::new(MemoryStore::default());
        for name in ["a/1.jpg", "a/2.jpg", "a/3.jpg", "a/4.jpg", "b/5.jpg"] {
            source.put(name, Default::default()).await.unwrap();
        }
        let census = Arc::new(Census::new(source.uri(""), &[""; 0]).unwrap());
        for (ahead, per_task, sizes) in [
            (2, 2, vec![2, 2, 1]),
            (4, 2, vec![2, 2, 1]),
            (9, 3, vec![3, 2]),
            (5, 5, vec![5]),
        ] {
            let mut listing = Listing {
                photos: folder::photos(&source, &census),
                source: source.clone(),
                waiting: VecDeque::new(),
                failures: Vec::new(),
            };
            listing.fill(ahead).await.unwrap();
            let (mut found, mut keys) = (Vec::new(), Vec::new());
            loop {
                let items = listing.next(per_task).await.unwrap();
                if items.is_empty() {
                    break;
                }
                found.push(items.len());
                keys.extend(items.into_iter().map(|item| item.key));
            }
            assert!(
                found == sizes && keys.len() == 5 && keys.is_sorted() && listing.failures.is_empty(),
                "{found:?}"
            );
        }
    }
}
