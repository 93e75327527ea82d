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
mod extract;
mod identify;
mod listing;
mod protocol;
mod step;
mod worker;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use tracing::info;

use crate::error::{Error, ErrorKind, Result, Step};
use crate::features::{self, Part};
use crate::interrupt;
use crate::pca::Moments;
use crate::store;
use cluster::{Cluster, Exchange};
use listing::Lines;
use protocol::{Answer, Order, Outcome, PROTOCOL, Work, from_line, to_line};
pub use worker::work;

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
    weights: Option<PathBuf>,
    deadline: Option<Duration>,
    is_shown: bool,
}

impl Spark {
    /// Spark on this machine, as `bootstrap/spark.sh` installs it: for trying out, and for tests. The worker is this program if it is the
    /// binary `fruits`, else what the variable `FRUITS` names, else the one on the path.
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

    /// The Spark that is installed here, as its own settings say: if `spark-defaults.conf` names a cluster as `spark.master`, as on its primary
    /// node, there; else this machine alone, as [`local`](Self::local). The nodes of a cluster have the binary where it is here, and
    /// reach `scratch`, a location on S3 or a folder that all of them share; what goes there is removed at the end.
    ///
    /// # Errors
    /// As [`local`](Self::local).
    pub fn here(scratch: &str) -> Result<Self> {
        Ok(Self::new(Cluster::here(scratch)?))
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
            weights: None,
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

    /// The file in which workers find the weights of the network, at the same place on each machine, if these are not Keras'.
    pub fn weights(mut self, file: &Path) -> Self {
        self.weights = Some(std::path::absolute(file).unwrap_or_else(|_| file.to_owned()));
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

    /// The [moments](Moments) of features that were written to a location: all that a PCA needs, however many photos there are. Each task
    /// gathers those of some files; they are merged here, in the order of the rows.
    ///
    /// # Errors
    /// As [`Features::read`](crate::Features::read) and [`extract`](Self::extract).
    pub async fn moments(&self, features: &str) -> Result<Moments> {
        let store = store::open(features)?;
        self.cluster.check_reach(&store.uri(""))?;
        let manifest = features::manifest(&*store).await?;
        let width = manifest.model.features;
        let work = Work::Moments {
            features: store.uri(""),
            width,
        };
        let exchange = self.cluster.exchange().await?;
        let sizes = self.divide_parts(&exchange, &work, &manifest.parts).await?;
        let mut moments = Moments::empty(width);
        for answer in self.run(exchange, &sizes, self.deadline, async || {}).await? {
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

    /// Divides files of features and writes the tasks down; gives how many files each has.
    async fn divide_parts(&self, exchange: &Exchange, work: &Work, parts: &[Part]) -> Result<Vec<usize>> {
        let per_task = parts.len().div_ceil(self.wanted_tasks()).max(1);
        let mut sizes = Vec::new();
        for parts in parts.chunks(per_task) {
            sizes.push(write_task(exchange, sizes.len(), work, Lines::of(parts)?).await?);
        }
        Ok(sizes)
    }

    fn wanted_tasks(&self) -> usize {
        self.tasks.unwrap_or(TASKS_PER_EXECUTOR * self.executors)
    }

    /// Runs the tasks that were written down, and gives back their answers in order, when all are there.
    async fn run(
        &self,
        exchange: Exchange,
        sizes: &[usize],
        deadline: Option<Duration>,
        mut look: impl AsyncFnMut(),
    ) -> Result<Vec<Answer>> {
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
            match deadline {
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

/// Writes a task down, and gives how many items it has.
async fn write_task(exchange: &Exchange, task: usize, work: &Work, lines: Lines) -> Result<usize> {
    let order = Order {
        protocol: PROTOCOL,
        task,
        items: lines.count,
        work: work.clone(),
    };
    let lines_of_task = to_line(&order)? + "\n" + &lines.text;
    exchange.put_task(task, lines_of_task).await?;
    Ok(lines.count)
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
