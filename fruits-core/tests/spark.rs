//! Spark on this machine: the same rows as without it, and what happens when something dies. Needs the folders of some versions of Spark in
//! `FRUITS_TEST_SPARK`, divided by colons, as `bootstrap/spark.sh` prints them.

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use fruits_core::polars::prelude::{DataFrame, ParquetReader, SerReader};
use fruits_core::{
    Classifier, ErrorKind, Features, Groups, IfExists, ImageFolder, MobileNetV2, Moments, Pca, Recogniser, Result,
    Spark,
};
use support::{Need, trials};
use tempfile::TempDir;

const SAMPLE: &str = "../data-sample";
const VERSIONS: &str = "FRUITS_TEST_SPARK";
const FRUITS: &str = env!("CARGO_BIN_EXE_fruits");

fn main() -> ExitCode {
    support::run(trials![
        Need::Variable(VERSIONS) => the_same_rows_and_files_as_on_one_machine, what_dies_is_tried_again,
            a_result_that_is_not_whole_is_refused;
    ])
}

fn versions() -> Vec<PathBuf> {
    std::env::var_os(VERSIONS)
        .map(|paths| std::env::split_paths(&paths).collect())
        .unwrap_or_default()
}

/// Drills take minutes, so it is the last version, unless `FRUITS_TEST_DRILLS` says `all`.
fn drilled() -> Vec<PathBuf> {
    let all = std::env::var("FRUITS_TEST_DRILLS").is_ok_and(|drills| drills == "all");
    let mut versions = versions();
    versions.drain(..versions.len().saturating_sub(if all { versions.len() } else { 1 }));
    versions
}

/// Two executors, each a process of its own, as on a cluster.
fn two_executors(home: &Path, worker: &Path) -> Result<Spark> {
    Ok(Spark::installed(home, worker)?
        .executors(2)
        .tasks(6)
        .setting("spark.master", "local-cluster[2,1,1024]"))
}

/// Photos of which one is damaged.
fn photos(root: &TempDir) -> String {
    let folder = root.path().join("it's photos");
    for label in ["Banana", "Kiwi", "Lemon"] {
        fs::create_dir_all(folder.join(label)).unwrap();
        for file in fs::read_dir(Path::new(SAMPLE).join(label))
            .unwrap()
            .map(|file| file.unwrap().path())
        {
            fs::copy(&file, folder.join(label).join(file.file_name().unwrap())).unwrap();
        }
    }
    fs::write(folder.join("Kiwi/bad.jpg"), b"\xff\xd8\xff\xe0 no photo").unwrap();
    folder.to_str().unwrap().to_owned()
}

/// A worker that does something else the first time it is started.
fn once(root: &TempDir, instead: &str) -> PathBuf {
    let (script, mark) = (root.path().join("worker"), root.path().join("was-here"));
    let text = format!(
        "#!/bin/sh\nif mkdir '{}' 2>/dev/null; then\n{instead}\nfi\nexec '{FRUITS}' \"$@\"\n",
        mark.display()
    );
    fs::write(&script, text).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    script
}

/// The rows of answers, in the order of their files.
fn answers(location: &str) -> DataFrame {
    let files = fs::read_dir(Path::new(location).join("answers")).unwrap();
    let mut files: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
    files.sort();
    let read = |file: &PathBuf| ParquetReader::new(fs::File::open(file).unwrap()).finish().unwrap();
    let mut rows = read(&files[0]);
    for file in &files[1..] {
        rows.vstack_mut(&read(file)).unwrap();
    }
    rows
}

async fn the_same_rows_and_files_as_on_one_machine() {
    for home in versions() {
        let model = MobileNetV2::imagenet().unwrap();
        let root = tempfile::tempdir().unwrap();
        let source = photos(&root);
        let alone = ImageFolder::open(&source)
            .await
            .unwrap()
            .features(&model)
            .await
            .unwrap();
        let out = root.path().join("out").to_str().unwrap().to_owned();
        let spark = two_executors(&home, Path::new(FRUITS)).unwrap();

        let features = spark.features(&model, &source, &out).await.unwrap();
        assert_eq!(features.table(), alone.table(), "{}", home.display());
        assert_eq!(features.failures(), alone.failures());
        assert_eq!(features.manifest().parts.len(), 6);
        let refused = spark
            .extract(&model, &source, &out, IfExists::Refuse)
            .await
            .unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::AlreadyExists);

        // What is recognised is the same, too, of the photos and of what Spark made of them.
        let trained = Classifier::train(&alone, &Groups::photos(&alone)).await.unwrap();
        let here = Recogniser::new(&trained).unwrap().identify_all(&source).await.unwrap();
        let there = trained.identify(&features).unwrap();
        assert_eq!((here.all().len(), here.all()), (48, there.all()));
        assert_eq!(here.failures(), there.failures());
        let at = |name: &str| root.path().join(name).to_str().unwrap().to_owned();
        trained.write(&at("classifier"), IfExists::Refuse).await.unwrap();
        for (name, of) in [("of-photos", &source), ("of-features", &out)] {
            let classifier = at("classifier");
            let identified = spark
                .identify_to(&classifier, of, &at(name), IfExists::Refuse)
                .await
                .unwrap();
            assert_eq!(identified, here.clone().into(), "{name}");
            assert_eq!(answers(&at(name)), here.table(), "{name}");
        }

        // A single machine goes on from what Spark wrote.
        let again = fruits_core::Extraction::open(&source, &model)
            .unwrap()
            .resume_to(&out)
            .await
            .unwrap();
        assert_eq!((again.photos, again.reused, again.failures), (48, 48, 1));

        let whole = Pca::params().fit_moments(&Moments::of_features(&alone)).unwrap();
        let folder = root.path().join("parts").to_str().unwrap().to_owned();
        spark.extract(&model, &source, &folder, IfExists::Refuse).await.unwrap();
        for tasks in [1, 2, 6] {
            let spark = two_executors(&home, Path::new(FRUITS)).unwrap().tasks(tasks);
            let pca = Pca::params()
                .fit_moments(&spark.moments(&folder).await.unwrap())
                .unwrap();
            let difference = (pca.explained_variance() - whole.explained_variance()).mapv(f64::abs);
            let largest = difference.iter().copied().fold(0.0, f64::max) / whole.explained_variance()[0];
            assert!(largest < 1e-12, "{tasks} tasks: {largest}");
            println!(
                "{}: PCA from {tasks} tasks differs by {largest:.1e} of the largest eigenvalue",
                home.display()
            );
        }
    }
}

async fn what_dies_is_tried_again() {
    for home in drilled() {
        let model = MobileNetV2::imagenet().unwrap();
        let kinds = [
            ("a worker is killed", "kill -9 $$"),
            ("its executor is killed", "kill -9 $PPID"),
            ("a worker fails", "echo 'no luck' >&2; exit 3"),
        ];
        for (what, instead) in kinds {
            let root = tempfile::tempdir().unwrap();
            let source = photos(&root);
            let out = root.path().join("out").to_str().unwrap().to_owned();
            let spark = two_executors(&home, &once(&root, instead)).unwrap();
            let features = spark.features(&model, &source, &out).await;
            let features = features.unwrap_or_else(|error| panic!("{what}, {}: {error}", home.display()));
            assert!(root.path().join("was-here").exists());
            assert_eq!((features.len(), features.failures().len()), (48, 1), "{what}");
            let alone = ImageFolder::open(&source)
                .await
                .unwrap()
                .features(&model)
                .await
                .unwrap();
            assert_eq!(features.table(), alone.table(), "{what}");
            println!(
                "{}: {what}: 48 rows and 1 failure, none lost, none doubled",
                home.display()
            );
        }
    }
}

async fn a_result_that_is_not_whole_is_refused() {
    for home in drilled() {
        let model = MobileNetV2::imagenet().unwrap();
        let root = tempfile::tempdir().unwrap();
        let source = photos(&root);
        let out = root.path().join("out").to_str().unwrap().to_owned();

        let spark = two_executors(&home, &once(&root, "exit 0")).unwrap();
        let error = spark
            .extract(&model, &source, &out, IfExists::Refuse)
            .await
            .unwrap_err();
        println!("{}: {error}", home.display());
        assert!(
            error.kind() == ErrorKind::Invalid && error.message().contains("1 of 6 tasks"),
            "{error}"
        );
        assert_eq!(Features::read(&out).await.unwrap_err().kind(), ErrorKind::Invalid);

        let worker = root.path().join("fails");
        fs::write(&worker, "#!/bin/sh\necho 'fruits: no luck' >&2\nexit 3\n").unwrap();
        fs::set_permissions(&worker, fs::Permissions::from_mode(0o755)).unwrap();
        let spark = two_executors(&home, &worker).unwrap();
        let error = spark
            .extract(&model, &source, &out, IfExists::Replace)
            .await
            .unwrap_err();
        println!("{}: {error}", home.display());
        assert!(
            error.kind() == ErrorKind::Io && error.message().contains("fruits: no luck"),
            "{error}"
        );

        // On a cluster, Spark begins its task again on another machine; here there is none.
        let worker = root.path().join("stops");
        fs::write(&worker, "#!/bin/sh\nexec sleep 60\n").unwrap();
        fs::set_permissions(&worker, fs::Permissions::from_mode(0o755)).unwrap();
        let spark = two_executors(&home, &worker).unwrap().deadline(Duration::from_secs(20));
        let error = spark
            .extract(&model, &source, &out, IfExists::Replace)
            .await
            .unwrap_err();
        println!("{}: {error}", home.display());
        assert_eq!(error.kind(), ErrorKind::TimedOut);
    }
}
