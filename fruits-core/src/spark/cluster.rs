//! Where Spark runs: on this machine, or on a cluster of EMR. Both get a statement of SQL and a folder to exchange lines with.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use futures::future;
use futures::stream::{StreamExt, TryStreamExt};
use tempfile::TempDir;
use tokio_util::task::TaskTracker;
use tracing::info;

use super::{sql_text, step, worker_command};
use crate::error::{Error, ErrorKind, Result, Step};
use crate::log;
use crate::output::MAX_FILE;
use crate::store::{self, Entry, Length, Store};

/// Time between two looks at a job.
pub(super) const POLL: Duration = Duration::from_secs(2);
/// Time that requests have which end a job.
const PATIENCE: Duration = Duration::from_secs(10);
/// Answers that are read, or files that are removed, at the same time: with one after the other, 6,000 tasks take minutes.
const AT_ONCE: usize = 64;
/// Where `bootstrap/emr/node.sh` puts the binary.
const WORKER_ON_EMR: &str = "/opt/fruits/bin/fruits";
/// Where EMR has Spark, on each of its nodes.
const HOME_ON_EMR: &str = "/usr/lib/spark";
/// The name of the worker's program.
const PROGRAM: &str = "fruits";
/// How temporary folders begin.
const TEMPORARY: &str = "fruits-spark-";
const S3: &str = "s3://";
const STATEMENT: &str = include_str!("../../../bootstrap/spark/tasks.sql");
/// What workers tell of what they do.
const WORKER_LOG: &str = "spark.executorEnv.RUST_LOG";
/// What makes a file a task of its own: files larger than none are not split, and none fits beside another.
const SETTINGS: [(&str, &str); 5] = [
    ("spark.sql.catalogImplementation", "in-memory"),
    ("spark.sql.files.maxPartitionBytes", "1g"),
    ("spark.sql.files.openCostInBytes", "1g"),
    // A task that is much slower than the others is begun a second time elsewhere.
    ("spark.speculation", "true"),
    ("spark.speculation.quantile", "0.5"),
];

pub(super) enum Cluster {
    /// The Spark that is installed here. With a scratch location, its tasks run on the cluster that its own settings name.
    Installed {
        home: PathBuf,
        worker: PathBuf,
        scratch: Option<String>,
    },
    /// By a step.
    Emr { id: String, scratch: String },
}

/// A folder that the driver and Spark can both reach.
pub(super) struct Exchange {
    store: Arc<dyn Store>,
    /// In the form that Spark opens.
    uri: String,
    /// Requests that end what was not waited for.
    ends: TaskTracker,
    /// What is removed with this value.
    _folder: Option<TempDir>,
}

impl Cluster {
    pub fn local() -> Result<Self> {
        Self::installed(&home(), &worker())
    }

    pub fn here(scratch: &str) -> Result<Self> {
        let home = home();
        let on_cluster = has_cluster(&home).then_some(scratch);
        Self::with_scratch(&home, &worker(), on_cluster)
    }

    pub fn installed(home: &Path, worker: &Path) -> Result<Self> {
        Self::with_scratch(home, worker, None)
    }

    fn with_scratch(home: &Path, worker: &Path, scratch: Option<&str>) -> Result<Self> {
        let missing = |file: &Path, message| {
            let file = file.display().to_string();
            Err(Error::new(ErrorKind::NotFound, Step::Spark, file, message))
        };
        if !home.join("bin/spark-sql").is_file() {
            return missing(
                home,
                "there is no bin/spark-sql in it; run bootstrap/spark.sh, or set SPARK_HOME",
            );
        }
        // Spark starts workers in folders of its own.
        match std::path::absolute(worker) {
            Ok(worker) if worker.is_file() => Ok(Cluster::Installed {
                home: home.to_owned(),
                worker,
                scratch: scratch.map(|scratch| scratch.trim_end_matches('/').to_owned()),
            }),
            _ => missing(
                worker,
                "no such program; install the binary `fruits`, or name it by FRUITS",
            ),
        }
    }

    pub fn emr(id: &str, scratch: &str) -> Result<Self> {
        let cluster = Cluster::Emr {
            id: id.to_owned(),
            scratch: scratch.trim_end_matches('/').to_owned(),
        };
        cluster.check_reach(scratch)?;
        store::open(scratch)?;
        Ok(cluster)
    }

    /// Fails if its nodes cannot reach a location.
    pub fn check_reach(&self, location: &str) -> Result<()> {
        match self {
            Cluster::Emr { .. } if !location.starts_with(S3) => {
                let message = "a cluster of EMR reads and writes on S3 only; give a location s3://bucket/prefix";
                Err(Error::new(ErrorKind::Invalid, Step::Spark, location, message))
            }
            _ => Ok(()),
        }
    }

    /// A new folder for one job: in the scratch location on S3, else beside it, else a temporary one.
    pub async fn exchange(&self) -> Result<Exchange> {
        let scratch = self.scratch();
        if let Some(scratch) = scratch.filter(|scratch| scratch.starts_with(S3)) {
            let uri = format!("{scratch}/spark-{:016x}", fastrand::u64(..));
            return Ok(Exchange {
                store: store::open(&uri)?,
                uri,
                ends: TaskTracker::new(),
                _folder: None,
            });
        }
        let folder = match scratch {
            Some(scratch) => std::path::absolute(scratch).and_then(|scratch| {
                let parent = scratch.parent().unwrap_or(&scratch);
                let mut prefix = scratch.file_name().unwrap_or_default().to_owned();
                prefix.push("-");
                TempDir::with_prefix_in(prefix, parent)
            }),
            None => TempDir::with_prefix(TEMPORARY),
        };
        let folder =
            folder.map_err(|error| Error::from_source(Step::Spark, scratch.unwrap_or("temporary folder"), error))?;
        let path = folder.path().display().to_string();
        Ok(Exchange {
            store: store::open(&path)?,
            uri: format!("file://{path}"),
            ends: TaskTracker::new(),
            _folder: Some(folder),
        })
    }

    /// What its nodes and the driver can both reach, if they are not all on this machine.
    fn scratch(&self) -> Option<&str> {
        match self {
            Cluster::Installed { scratch, .. } => scratch.as_deref(),
            Cluster::Emr { scratch, .. } => Some(scratch),
        }
    }

    /// Runs the tasks that lie in the exchange folder. Dropped before its end, it ends the job.
    pub async fn run(&self, exchange: &Exchange, executors: usize, settings: &BTreeMap<String, String>) -> Result<()> {
        let mut all: BTreeMap<&str, &str> = SETTINGS.into_iter().collect();
        let log = std::env::var(log::VARIABLE).unwrap_or_default();
        let (count, worker) = (
            executors.to_string(),
            match self {
                Cluster::Installed { worker, .. } => worker.as_path(),
                Cluster::Emr { .. } => Path::new(WORKER_ON_EMR),
            },
        );
        match self.scratch() {
            None => all.extend([
                ("spark.master", "local[1,4]"),
                ("spark.ui.enabled", "false"),
                ("spark.driver.bindAddress", "127.0.0.1"),
                ("spark.driver.host", "127.0.0.1"),
            ]),
            // A worker uses all cores of its executor, so one task fills it.
            Some(_) => all.extend([
                ("spark.dynamicAllocation.enabled", "false"),
                ("spark.executor.instances", count.as_str()),
                ("spark.executor.cores", "4"),
                ("spark.task.cpus", "4"),
            ]),
        }
        if !log.is_empty() {
            all.insert(WORKER_LOG, &log);
        }
        all.extend(settings.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        let statement = STATEMENT
            .replace("{lines}", &sql_text(&format!("{}/lines", exchange.uri)))
            .replace("{answers}", &sql_text(&format!("{}/answers", exchange.uri)))
            .replace("{worker}", &worker_command(worker)?);
        exchange.store.put("tasks.sql", statement.into()).await?;
        // Values that the user set may be secrets.
        info!(
            "spark-sql, with settings for {}",
            all.keys().copied().collect::<Vec<_>>().join(", ")
        );
        let mut arguments: Vec<String> = all
            .iter()
            .flat_map(|(name, value)| ["--conf".to_owned(), format!("{name}={value}")])
            .collect();
        arguments.extend(["-f".to_owned(), format!("{}/tasks.sql", exchange.uri)]);
        match self {
            Cluster::Installed { home, scratch, .. } => run_here(home, &arguments, scratch.is_none()).await,
            Cluster::Emr { id, .. } => {
                arguments.insert(0, "spark-sql".to_owned());
                step::run(id, arguments, &exchange.ends).await
            }
        }
    }
}

/// Where Spark is installed: where the environment says, where `bootstrap/spark.sh` puts it, or where EMR has it.
fn home() -> PathBuf {
    let installed = dirs::data_dir().unwrap_or_default().join("fruits/spark");
    match std::env::var_os("SPARK_HOME") {
        Some(home) => home.into(),
        None if !installed.exists() && Path::new(HOME_ON_EMR).exists() => HOME_ON_EMR.into(),
        None => installed,
    }
}

/// The program of workers: this one, or what the environment names, or the one on the path.
fn worker() -> PathBuf {
    let this = std::env::current_exe().ok();
    let this = this.filter(|program| program.file_name().is_some_and(|name| name == PROGRAM));
    let on_path = || {
        let path = std::env::var_os("PATH")?;
        std::env::split_paths(&path)
            .map(|folder| folder.join(PROGRAM))
            .find(|file| file.is_file())
    };
    this.or_else(|| std::env::var_os("FRUITS").map(PathBuf::from))
        .or_else(on_path)
        .unwrap_or_else(|| PROGRAM.into())
}

/// Whether Spark's own settings name the master of a cluster.
fn has_cluster(home: &Path) -> bool {
    let folder = std::env::var_os("SPARK_CONF_DIR").map_or_else(|| home.join("conf"), PathBuf::from);
    let settings = std::fs::read_to_string(folder.join("spark-defaults.conf")).unwrap_or_default();
    settings.lines().any(is_cluster)
}

fn is_cluster(setting: &str) -> bool {
    let mut words = setting.split([' ', '\t', '=', ':']).filter(|word| !word.is_empty());
    words.next() == Some("spark.master")
        && words
            .next()
            .is_some_and(|master| master != "local" && !master.starts_with("local["))
}

async fn run_here(home: &Path, arguments: &[String], is_alone: bool) -> Result<()> {
    let failed = |error| Error::from_source(Step::Spark, home.display().to_string(), error);
    let folder = TempDir::with_prefix(TEMPORARY).map_err(failed)?;
    let log = folder.path().join("log");
    let file = std::fs::File::create(&log).map_err(failed)?;
    let mut command = tokio::process::Command::new(home.join("bin/spark-sql"));
    command
        .args(arguments)
        .env("SPARK_HOME", home)
        .env_remove(log::IN_NOTEBOOK) // a worker's standard output is its answer
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .stdout(file.try_clone().map_err(failed)?)
        .stderr(file)
        .kill_on_drop(true);
    if is_alone {
        command.env("SPARK_LOCAL_IP", "127.0.0.1");
    }
    let status = command.status().await.map_err(failed)?;
    if status.success() {
        return Ok(());
    }
    let log = std::fs::read(&log).map_err(failed)?;
    let message = format!(
        "spark-sql ended with {status}: {}",
        reason(&String::from_utf8_lossy(&log))
    );
    Err(Error::new(ErrorKind::Io, Step::Spark, "", message))
}

/// Of all that Spark said, what the workers said last, or else its own last lines. Of a worker that has ended, Spark may have read only the
/// beginning; another try may have said it whole.
fn reason(log: &str) -> String {
    let ours = |line| str::find(line, "fruits: ").map(|at| &line[at..]);
    let all: Vec<&str> = log.lines().filter_map(ours).collect();
    let last = all.last().map(|last| last.trim_end_matches('.'));
    let whole = last.and_then(|last| {
        all.iter()
            .filter(|line| line.starts_with(last))
            .max_by_key(|line| line.len())
    });
    match whole {
        Some(line) => (*line).to_owned(),
        None => log
            .lines()
            .rev()
            .filter(|line| !line.trim().is_empty())
            .take(3)
            .collect::<Vec<_>>()
            .join(" | "),
    }
}

impl Exchange {
    pub async fn put_task(&self, task: usize, lines: String) -> Result<()> {
        self.store.put(&format!("lines/{task:05}.jsonl"), lines.into()).await
    }

    /// The lines that workers answered.
    pub async fn answers(&self) -> Result<Vec<String>> {
        let answers = self.store.list().map_ok(|entry| entry.key);
        let answers = answers.try_filter(|key| future::ready(key.starts_with("answers/part-")));
        let contents = answers.map_ok(async |key| self.store.get(&key, Length::AtMost(MAX_FILE)).await);
        let lines = contents.try_buffered(AT_ONCE).map_ok(|content| {
            let text = String::from_utf8_lossy(&content);
            let lines = text.lines().filter(|line| !line.is_empty());
            lines.map(str::to_owned).collect::<Vec<_>>()
        });
        lines.try_concat().await
    }

    /// Removes what lies on S3, when nobody uses it any more. What cannot be removed is left to the bucket's lifecycle.
    pub async fn remove(self) {
        self.ends.close();
        let _ = tokio::time::timeout(PATIENCE, self.ends.wait()).await;
        let entries = self.store.list().filter_map(async |entry| entry.ok());
        let remove = async |entry: Entry| _ = self.store.delete(&entry.key).await;
        entries.for_each_concurrent(AT_ONCE, remove).await;
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::store::WatchedStore;

    #[tokio::test]
    async fn answers_do_not_wait_for_each_other() {
        let store = Arc::new(WatchedStore::default());
        let exchange = Exchange {
            store: store.clone(),
            uri: String::new(),
            ends: TaskTracker::new(),
            _folder: None,
        };
        for task in 0..200 {
            exchange.put_task(task, String::new()).await.unwrap();
            let answer = format!("answers/part-{task:05}");
            store.put(&answer, format!("{task}\n").into()).await.unwrap();
        }
        store.put("answers/_SUCCESS", Bytes::new()).await.unwrap();
        assert_eq!(store.most_at_once(), 1);
        let expected: Vec<String> = (0..200).map(|task| task.to_string()).collect();
        assert_eq!(exchange.answers().await.unwrap(), expected);
        assert_eq!(store.most_at_once(), AT_ONCE);
        exchange.remove().await;
        assert_eq!(store.most_at_once(), AT_ONCE);
        assert_eq!(store.list().count().await, 0);
    }

    #[test]
    fn masters_of_clusters_are_told_from_this_machine() {
        for setting in [
            "spark.master yarn",
            "  spark.master\t\tspark://host:7077",
            "spark.master=local-cluster[2,1,1024]",
        ] {
            assert!(is_cluster(setting), "{setting}");
        }
        for setting in [
            "",
            "# spark.master yarn",
            "spark.master",
            "spark.master local[*]",
            "spark.master.rest.enabled true",
        ] {
            assert!(!is_cluster(setting), "{setting}");
        }
    }

    #[test]
    fn the_reason_is_the_workers_if_it_said_one() {
        let log = "26/11/24 ERROR\nSubprocess exited with status 1. Error: fruits: s3://b/: read: denied\n\tat java\nTime taken\n";
        assert_eq!(reason(log), "fruits: s3://b/: read: denied");
        let cut = format!("{log}Subprocess exited with status 1. Error: fruits: s3.\n");
        assert_eq!(reason(&cut), "fruits: s3://b/: read: denied");
        assert_eq!(reason("one\n\ntwo\n"), "two | one");
    }
}
