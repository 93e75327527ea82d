//! Beyond one machine: Spark distributes, and `fruits worker` does the work in each of its tasks.
//!
//! The driver (this process) lists the photos and writes them down in files of lines, one a task. Spark gives each file to a task on some
//! node, tries again what fails, and collects the answers. A worker reads its photos from their store, writes features to theirs, and
//! answers with the names and hashes of what it wrote. When every task has answered for every line, the driver writes the manifest, and the
//! output is the one that a single machine would have written, row by row and bit by bit; otherwise there is an error, and no output.
//!
//! Each try of a task writes files of its own, and the driver takes those that the answer names, so Spark may repeat and duplicate tasks at
//! will; what the others have written vanishes.

mod cluster;
mod protocol;
mod worker;

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use futures::stream::{BoxStream, StreamExt};
use tracing::info;

use crate::error::{Error, ErrorKind, Failure, Result, Step};
use crate::extract::{self, Progress};
use crate::extractor::FeatureExtractor;
use crate::features::{self, Features, FeaturesWriter, Manifest, ROWS_PER_PART, Timings};
use crate::folder::{self, Census, Photo, Survey};
use crate::interrupt;
use crate::mobilenet::MobileNetV2;
use crate::output::IfExists;
use crate::pca::Moments;
use crate::store::{self, Store};
use cluster::{Cluster, Exchange};
use protocol::{Answer, Item, Order, Outcome, PROTOCOL, Work, from_line, to_line};
pub use worker::work;

/// Photos of one task, unless the caller divides them: half a minute of two cores.
const PHOTOS_PER_TASK: usize = 4 * ROWS_PER_PART;
/// Tasks of an executor, if there are photos enough: so the last ones do not wait long for a slow one.
const TASKS_PER_EXECUTOR: usize = 4;

/// A Spark cluster, and how much of it to use.
///
/// ```no_run
/// use fruits_core::{IfExists, MobileNetV2, Pca, Spark};
///
/// # async fn example() -> fruits_core::Result<()> {
/// let spark = Spark::emr("j-0123456789ABC", "s3://fruits/scratch")?.executors(8);
/// let manifest = spark
///     .extract(&MobileNetV2::imagenet()?, "s3://fruits/Test", "s3://fruits/Results", IfExists::Refuse)
///     .await?;
/// println!("{} photos, {} failures", manifest.photos, manifest.failures);
///
/// let moments = spark.moments("s3://fruits/Results").await?; // so the features never meet on one machine
/// let pca = Pca::params().fit_moments(&moments)?;
/// # Ok(())
/// # }
/// ```
pub struct Spark {
    cluster: Cluster,
    executors: usize,
    tasks: Option<usize>,
    settings: BTreeMap<String, String>,
    deadline: Option<Duration>,
    is_shown: bool,
}

impl Spark {
    /// Spark on this machine, as `bootstrap/spark.sh` installs it: for trying out, and for tests. The worker is the binary `fruits` that the
    /// variable `FRUITS` names, else the one on the path.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if there is no `spark-sql` or no `fruits`.
    pub fn local() -> Result<Self> {
        Ok(Self::new(Cluster::local()?))
    }

    /// As [`local`](Self::local), with the folder of Spark and the worker's program named.
    ///
    /// # Errors
    /// As [`local`](Self::local).
    pub fn installed(home: &Path, worker: &Path) -> Result<Self> {
        Ok(Self::new(Cluster::installed(home, worker)?))
    }

    /// A cluster of Amazon EMR that is running, by its id. `scratch` is a location on S3 that it can read and write; what goes there is
    /// removed at the end. Its nodes need the bundle of `bootstrap/bundle.sh`, which its bootstrap action brings.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if `scratch` is not on S3.
    pub fn emr(cluster: &str, scratch: &str) -> Result<Self> {
        Ok(Self::new(Cluster::emr(cluster, scratch)?))
    }

    fn new(cluster: Cluster) -> Self {
        Spark {
            cluster,
            executors: 1,
            tasks: None,
            settings: BTreeMap::new(),
            deadline: None,
            is_shown: false,
        }
    }

    /// Processes of Spark that work at the same time, at best one a machine: a worker uses all cores of its executor. 1 by default.
    pub fn executors(mut self, executors: usize) -> Self {
        self.executors = executors.max(1);
        self
    }

    /// Divides the work into so many tasks. By default four an executor, or more if a task would have more than 16,384 photos.
    pub fn tasks(mut self, tasks: usize) -> Self {
        self.tasks = Some(tasks.max(1));
        self
    }

    /// Memory for each worker, beside Spark's own, such as `2g`: `spark.executor.memoryOverhead`. A worker needs some 200 MB.
    pub fn memory(self, memory: &str) -> Self {
        self.setting("spark.executor.memoryOverhead", memory)
    }

    /// Any other of Spark's settings, such as `spark.executor.cores`.
    pub fn setting(mut self, name: &str, value: &str) -> Self {
        self.settings.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Ends the job with an error after this time.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// Shows how far it is, as [`Extraction::show_progress`](crate::Extraction::show_progress) does.
    pub fn show_progress(mut self) -> Self {
        self.is_shown = true;
        self
    }

    /// The features of all photos below a location, written to another one, and read back: for as many as fit into memory, 5 KB a photo.
    ///
    /// # Errors
    /// As [`extract`](Self::extract).
    pub async fn features(&self, model: &MobileNetV2, source: &str, destination: &str) -> Result<Features> {
        self.extract(model, source, destination, IfExists::Refuse).await?;
        Features::read(destination).await
    }

    /// The features of all photos below a location, written to another one. Rows, files and manifest are those of
    /// [`Extraction::run_to`](crate::Extraction::run_to).
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if there is no photo; [`ErrorKind::AlreadyExists`] as `if_exists` says; [`ErrorKind::Io`] if Spark fails, with
    /// the end of what it said; [`ErrorKind::Invalid`] if it says that it succeeded but rows are missing or came twice;
    /// [`ErrorKind::TimedOut`] as [`deadline`](Self::deadline) says. Then there is no output that a reader would take for one;
    /// [`resume_to`](crate::Extraction::resume_to) takes over what was computed.
    pub async fn extract(
        &self,
        model: &MobileNetV2,
        source: &str,
        destination: &str,
        if_exists: IfExists,
    ) -> Result<Manifest> {
        let (source, destination) = (store::open(source)?, store::open(destination)?);
        let mut failures = Vec::new();
        let census = Arc::new(Census::new(source.uri(""), &[""; 0])?);
        let mut photos = folder::photos(&source, &census);
        let mut first = VecDeque::new();
        let list = fill(&mut first, self.ahead(), &mut photos, &*source, &mut failures);
        interrupt::race(Step::List, list).await??;
        if first.is_empty() && failures.is_empty() {
            return Err(census.no_photo());
        }
        let mut writer = FeaturesWriter::begin(destination, if_exists).await?;
        let done = self
            .run_tasks(&mut writer, &source, model, first, photos, &mut failures)
            .await;
        let mut manifest = writer.run().or_release(done).await?;
        manifest.survey = census.survey();
        writer.finish(&failures, manifest).await
    }

    /// Divides the photos, those that wait and those that are listed after them, runs the tasks, and gathers what they answer.
    async fn run_tasks(
        &self,
        writer: &mut FeaturesWriter,
        source: &Arc<dyn Store>,
        model: &MobileNetV2,
        mut waiting: VecDeque<Item>,
        mut photos: BoxStream<'static, Result<Photo>>,
        failures: &mut Vec<Failure>,
    ) -> Result<Manifest> {
        let start = Instant::now();
        let destination = writer.run().store().clone();
        let work = Work::Extract {
            source: source.uri(""),
            destination: destination.uri(""),
            run: writer.run().id().to_owned(),
            model: model.model().clone(),
        };
        let exchange = self.cluster.exchange().await?;
        let per_task = match waiting.len() < self.ahead() {
            true => waiting.len().div_ceil(self.wanted_tasks()).max(1),
            false => PHOTOS_PER_TASK,
        };
        let mut sizes = Vec::new();
        loop {
            let next = next_task(&mut waiting, per_task, &mut photos, &**source, failures);
            let items = interrupt::race(Step::List, next).await??;
            if items.is_empty() {
                break;
            }
            write_task(&exchange, sizes.len(), &work, &items).await?;
            sizes.push(items.len());
        }

        let mut show = self.is_shown.then(extract::show);
        let (run, failed) = (writer.run().id().to_owned(), failures.len());
        let look = async || {
            if let Some(show) = &mut show {
                let done = written(&*destination, &run, &sizes).await;
                show(&progress(done, failed, &sizes, start));
            }
        };
        let answers = self.run(exchange, &sizes, look).await?;

        let (mut count, mut timings) = (0, Timings::default());
        for answer in answers {
            let Outcome::Extracted {
                photos,
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
            writer.add(parts, files);
            failures.extend(of_these);
            timings.read += time.read;
            timings.decode += time.decode;
            timings.infer += time.infer;
        }
        timings.elapsed = start.elapsed().as_secs_f64();
        if let Some(show) = &mut show {
            show(&progress(count, failures.len(), &sizes, start));
        }
        Ok(Manifest {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            source: source.uri(""),
            model: model.model().clone(),
            photos: count,
            reused: 0,
            failures: failures.len(),
            is_partial: false,
            survey: Survey::default(),
            parts: Vec::new(),
            timings,
        })
    }

    /// The [moments](Moments) of features that were written to a location: all that a PCA needs, however many photos there are. Each task
    /// gathers those of some files; they are merged here, in the order of the rows.
    ///
    /// # Errors
    /// As [`Features::read`] and [`extract`](Self::extract).
    pub async fn moments(&self, features: &str) -> Result<Moments> {
        let store = store::open(features)?;
        let manifest = features::manifest(&*store).await?;
        let width = manifest.model.features;
        let work = Work::Moments {
            features: store.uri(""),
            width,
        };
        let exchange = self.cluster.exchange().await?;
        let per_task = manifest.parts.len().div_ceil(self.wanted_tasks()).max(1);
        let mut sizes = Vec::new();
        for parts in manifest.parts.chunks(per_task) {
            write_task(&exchange, sizes.len(), &work, parts).await?;
            sizes.push(parts.len());
        }
        let mut moments = Moments::empty(width);
        for answer in self.run(exchange, &sizes, async || {}).await? {
            let Outcome::Moments(text) = answer.result else {
                return Err(wrong_answer(answer.task));
            };
            let bytes = BASE64_STANDARD
                .decode(text)
                .map_err(|error| Error::from_source(Step::Spark, "answer", error))?;
            moments.merge(&Moments::from_bytes(&bytes).ok_or_else(|| wrong_answer(answer.task))?)?;
        }
        if moments.count() != manifest.photos {
            let message = format!("moments of {} photos, not {}", moments.count(), manifest.photos);
            return Err(Error::new(ErrorKind::Invalid, Step::Spark, store.uri(""), message));
        }
        Ok(moments)
    }

    fn wanted_tasks(&self) -> usize {
        self.tasks.unwrap_or(TASKS_PER_EXECUTOR * self.executors)
    }

    /// Photos to look at before they are divided.
    fn ahead(&self) -> usize {
        match self.tasks {
            Some(_) => usize::MAX,
            None => self.wanted_tasks() * PHOTOS_PER_TASK,
        }
    }

    /// Runs the tasks that were written down, and gives back their answers in order, when all are there.
    async fn run(&self, exchange: Exchange, sizes: &[usize], mut look: impl AsyncFnMut()) -> Result<Vec<Answer>> {
        if sizes.is_empty() {
            return Ok(Vec::new());
        }
        info!(
            "{} tasks with {} items in all",
            sizes.len(),
            sizes.iter().sum::<usize>()
        );
        let job = async {
            let job = self.cluster.run(&exchange, self.executors, &self.settings);
            let mut job = std::pin::pin!(job);
            loop {
                tokio::select! {
                    result = &mut job => break result,
                    () = tokio::time::sleep(cluster::POLL) => look().await,
                }
            }
        };
        let in_time = async {
            match self.deadline {
                None => job.await,
                Some(deadline) => tokio::time::timeout(deadline, job).await.unwrap_or_else(|_| {
                    let message = format!("not done after {} s", deadline.as_secs_f64());
                    Err(Error::new(ErrorKind::TimedOut, Step::Spark, "", message))
                }),
            }
        };
        let done = interrupt::race(Step::Spark, in_time).await.flatten();
        let answers = match done {
            Ok(()) => exchange.answers().await,
            Err(error) => Err(error),
        };
        exchange.remove().await;
        check(answers?, sizes)
    }
}

/// Lists on until so many photos wait, or there are no more. An error about the store as a whole ends it; others are failures.
async fn fill(
    waiting: &mut VecDeque<Item>,
    wanted: usize,
    photos: &mut BoxStream<'static, Result<Photo>>,
    source: &dyn store::Store,
    failures: &mut Vec<Failure>,
) -> Result<()> {
    while waiting.len() < wanted
        && let Some(photo) = photos.next().await
    {
        match photo {
            Ok(Photo { key, size, version, .. }) => waiting.push_back(Item { key, size, version }),
            Err(error) if store::is_about_all(source, &error) => return Err(error),
            Err(error) => failures.push(Failure::new(error.subject(), &error)),
        }
    }
    Ok(())
}

/// The photos of the next task: those that wait, and those listed after them. None when all have been given out.
async fn next_task(
    waiting: &mut VecDeque<Item>,
    per_task: usize,
    photos: &mut BoxStream<'static, Result<Photo>>,
    source: &dyn store::Store,
    failures: &mut Vec<Failure>,
) -> Result<Vec<Item>> {
    fill(waiting, per_task, photos, source, failures).await?;
    Ok(waiting.drain(..per_task.min(waiting.len())).collect())
}

async fn write_task(exchange: &Exchange, task: usize, work: &Work, items: &[impl serde::Serialize]) -> Result<()> {
    let order = Order {
        protocol: PROTOCOL,
        task,
        items: items.len(),
        work: work.clone(),
    };
    let mut lines = to_line(&order)?;
    for item in items {
        lines.push('\n');
        lines.push_str(&to_line(item)?);
    }
    lines.push('\n');
    exchange.put_task(task, lines).await
}

/// Every task must have answered once, for all of its lines.
fn check(lines: Vec<String>, sizes: &[usize]) -> Result<Vec<Answer>> {
    let mut answers = BTreeMap::new();
    let mut wrong = Vec::new();
    for line in lines {
        let answer: Answer = from_line(&line)?;
        let task = answer.task;
        let fits = answer.protocol == PROTOCOL && sizes.get(task) == Some(&answer.items);
        if !fits || answers.insert(task, answer).is_some() {
            wrong.push(task);
        }
    }
    wrong.extend((0..sizes.len()).filter(|task| !answers.contains_key(task)));
    match wrong.first() {
        None => Ok(answers.into_values().collect()),
        Some(first) => {
            let message = format!(
                "{} of {} tasks have not answered for their photos, or answered twice; task {first} is the first. Spark reports success, \
                 but rows would be lost or doubled",
                wrong.len(),
                sizes.len()
            );
            Err(Error::new(ErrorKind::Invalid, Step::Spark, "", message))
        }
    }
}

fn wrong_answer(task: usize) -> Error {
    Error::new(
        ErrorKind::Invalid,
        Step::Spark,
        format!("task {task}"),
        "the answer is about other work",
    )
}

/// Photos of the parts that are written so far. Only for showing: what cannot be listed does not count.
async fn written(destination: &dyn store::Store, run: &str, sizes: &[usize]) -> usize {
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

fn progress(done: usize, failed: usize, sizes: &[usize], start: Instant) -> Progress {
    Progress {
        done,
        reused: 0,
        failed,
        found: sizes.iter().sum::<usize>() + failed,
        is_listing: false,
        elapsed: start.elapsed(),
    }
}

/// The worker's path for Spark's shell, and then as text of its SQL.
fn worker_command(worker: &Path) -> Result<String> {
    let Some(path) = worker.to_str().filter(|path| !path.chars().any(char::is_control)) else {
        let message = "the worker's path is not plain text";
        return Err(Error::new(
            ErrorKind::Invalid,
            Step::Spark,
            worker.display().to_string(),
            message,
        ));
    };
    Ok(sql_text(&format!("'{}' worker", path.replace('\'', r"'\''"))))
}

/// Text as Spark's SQL writes it.
fn sql_text(text: &str) -> String {
    format!("'{}'", text.replace('\\', r"\\").replace('\'', r"\'"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MemoryStore;

    fn answer(task: usize, items: usize) -> String {
        let result = Outcome::Moments(String::new());
        to_line(&Answer {
            protocol: PROTOCOL,
            task,
            items,
            result,
        })
        .unwrap()
    }

    #[test]
    fn answers_must_be_complete() {
        assert_eq!(check(vec![answer(1, 3), answer(0, 5)], &[5, 3]).unwrap()[1].items, 3);
        for (lines, first) in [
            (vec![answer(0, 5)], "task 1 is"),
            (vec![answer(0, 5), answer(1, 2)], "task 1 is"),
            (vec![answer(0, 5), answer(1, 3), answer(0, 5)], "task 0 is"),
            (vec![answer(0, 5), answer(1, 3), answer(2, 3)], "task 2 is"),
            (vec![], "2 of 2 tasks"),
        ] {
            let error = check(lines, &[5, 3]).unwrap_err();
            assert!(
                error.kind() == ErrorKind::Invalid && error.message().contains(first),
                "{error}"
            );
        }
        assert_eq!(
            check(vec!["{".to_owned()], &[1]).unwrap_err().kind(),
            ErrorKind::Invalid
        );
    }

    #[tokio::test]
    async fn photos_behind_the_first_ones_are_given_out_too() {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
        for name in ["a/1.jpg", "a/2.jpg", "a/3.jpg", "a/4.jpg", "b/5.jpg"] {
            store.put(name, Default::default()).await.unwrap();
        }
        let census = Arc::new(Census::new(store.uri(""), &[""; 0]).unwrap());
        for (ahead, per_task, sizes) in [
            (2, 2, vec![2, 2, 1]),
            (4, 2, vec![2, 2, 1]),
            (9, 3, vec![3, 2]),
            (5, 5, vec![5]),
        ] {
            let (mut photos, mut waiting, mut failures) =
                (folder::photos(&store, &census), VecDeque::new(), Vec::new());
            fill(&mut waiting, ahead, &mut photos, &*store, &mut failures)
                .await
                .unwrap();
            let (mut found, mut keys) = (Vec::new(), Vec::new());
            loop {
                let items = next_task(&mut waiting, per_task, &mut photos, &*store, &mut failures)
                    .await
                    .unwrap();
                if items.is_empty() {
                    break;
                }
                found.push(items.len());
                keys.extend(items.into_iter().map(|item| item.key));
            }
            assert!(
                found == sizes && keys.len() == 5 && keys.is_sorted() && failures.is_empty(),
                "{found:?}"
            );
        }
    }

    #[test]
    fn nothing_gets_out_of_its_quotes() {
        assert_eq!(sql_text(r"a'b\c"), r"'a\'b\\c'");
        assert_eq!(
            worker_command(Path::new("/opt/it's/fruits")).unwrap(),
            r"'\'/opt/it\'\\\'\'s/fruits\' worker'"
        );
        assert!(worker_command(Path::new("/opt/a\nb")).is_err());
    }
}
