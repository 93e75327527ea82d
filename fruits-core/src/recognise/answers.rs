//! What a classifier says of photos.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use polars::prelude::{
    Column, DataFrame, IntoColumn, ListBuilderTrait, ListPrimitiveChunkedBuilder, ListStringChunkedBuilder,
};
use polars::prelude::{DataType, Float64Type};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::evaluation::percent;
use crate::error::{Failure, Result, Step, printable};
use crate::interrupt;
use crate::output::{File, IfExists, Kind, Run};
use crate::store::{self, Store};
use crate::table;

const ANSWERS: (&str, &str) = ("answers/part-", ".parquet");
const FAILURES: (&str, &str) = ("_failures", ".jsonl");

/// An output of answers.
static KIND: Kind = Kind {
    files: &[ANSWERS, FAILURES],
    is_earlier: |_| false,
};

/// What a classifier says of one photo.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Answer {
    /// The photo.
    pub path: String,
    /// The most probable labels with their probabilities, the first first; five at most.
    pub answers: Vec<(String, f64)>,
    /// How many of these are plausible, from the first: of 95 % of photos whose labels are known, the label is one of them. 1 where nothing
    /// was measured.
    pub plausible: usize,
    /// How familiar the photo is, larger is more.
    pub known: f64,
    /// Whether it is less familiar than nearly all photos were whose labels are known: then its label is most probably none of these.
    pub is_unknown: bool,
    /// The photos that the classifier was trained with that are nearest, the nearest first; five at most.
    pub nearest: Vec<NearPhoto>,
}

/// A photo of those that a classifier was trained with.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct NearPhoto {
    /// Where it lay.
    pub path: String,
    /// Its label.
    pub label: String,
    /// The cosine of the angle between the features.
    pub similarity: f64,
    /// A small picture of it, a JPEG, if it could be read when the classifier was trained.
    pub picture: Option<Bytes>,
}

impl Answer {
    /// The labels that are [plausible](Self::plausible), for people: "Pear or Quince".
    pub fn headline(&self) -> String {
        let plausible = self.answers.iter().take(self.plausible);
        let mut labels: Vec<String> = plausible.map(|(label, _)| printable(label)).collect();
        match labels.pop() {
            Some(last) if labels.is_empty() => last,
            Some(last) => format!("{} or {last}", labels.join(", ")),
            None => String::new(),
        }
    }

    /// For programs: `path`, `answer`, `probability`, `known`, `is_unknown`, `answers`, `probabilities`, `plausible` (the labels that are), and
    /// `nearest`, of which each has `path`, `label` and `similarity`.
    pub fn to_json(&self) -> serde_json::Value {
        let first = self.answers.first();
        let nearest = self.nearest.iter();
        let nearest =
            nearest.map(|photo| json!({"path": photo.path, "label": photo.label, "similarity": photo.similarity}));
        json!({
            "path": self.path,
            "answer": first.map(|(label, _)| label),
            "probability": first.map(|(_, probability)| probability),
            "known": self.known,
            "is_unknown": self.is_unknown,
            "answers": self.answers.iter().map(|(label, _)| label).collect::<Vec<_>>(),
            "probabilities": self.answers.iter().map(|(_, probability)| probability).collect::<Vec<_>>(),
            "plausible": self.answers.iter().take(self.plausible).map(|(label, _)| label).collect::<Vec<_>>(),
            "nearest": nearest.collect::<Vec<_>>(),
        })
    }

    /// For people: some lines with the labels, and the nearest photos.
    pub fn in_words(&self) -> String {
        let mut words = match self.is_unknown {
            false => format!("{}\n\n", self.headline()),
            true => "I do not know this. Most like:\n\n".to_owned(),
        };
        for (label, probability) in &self.answers {
            words += &format!("{:>9}  {}\n", percent(*probability), printable(label));
        }
        words += "\nThe nearest photos:\n";
        for photo in &self.nearest {
            words += &format!(
                "{:>9.3}  {}  {}\n",
                photo.similarity,
                printable(&photo.label),
                printable(&photo.path)
            );
        }
        words.trim_end().to_owned()
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = |(label, probability): &(String, f64)| format!("{} {}", printable(label), percent(*probability));
        let answers: Vec<String> = self.answers.iter().map(of).collect();
        if self.is_unknown {
            f.write_str("unknown; most like ")?;
        }
        f.write_str(&answers.join(", "))
    }
}

/// What a classifier says of some photos, and which of them failed.
#[derive(Debug, Clone)]
pub struct Answers {
    pub(super) source: String,
    pub(super) answers: Vec<Answer>,
    pub(super) failures: Vec<Failure>,
}

/// What an output says of itself.
#[derive(Serialize, Deserialize)]
struct Manifest {
    version: String,
    source: String,
    answers: usize,
    #[serde(default)]
    unknown: usize,
    failures: usize,
}

/// What became of photos whose answers were written.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Identified {
    /// Photos that have an answer.
    pub photos: usize,
    /// Photos of these that are [unknown](Answer::is_unknown).
    pub unknown: usize,
    /// The photos that failed.
    pub failures: Vec<Failure>,
}

impl From<Answers> for Identified {
    fn from(answers: Answers) -> Self {
        Identified {
            photos: answers.answers.len(),
            unknown: unknown(&answers.answers),
            failures: answers.failures,
        }
    }
}

fn unknown(answers: &[Answer]) -> usize {
    answers.iter().filter(|answer| answer.is_unknown).count()
}

impl Answers {
    /// The answers, in the order of the photos.
    pub fn all(&self) -> &[Answer] {
        &self.answers
    }

    /// The photos that failed.
    pub fn failures(&self) -> &[Failure] {
        &self.failures
    }

    /// Where the photos lie.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// A row a photo: `path`, `answer` and `probability` (the most probable label), `known` (how familiar it is), `is_unknown`, and `answers` and
    /// `probabilities` (lists of the five most probable labels).
    pub fn table(&self) -> DataFrame {
        table_of(&self.answers)
    }

    /// Fails now if [`write`](Self::write) would, for what lies there: before the work.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub async fn can_write(location: &str, if_exists: IfExists) -> Result<()> {
        Run::look_before(&*store::open(location)?, &KIND, if_exists)
            .await
            .map(drop)
    }

    /// Writes the [table](Self::table) to a folder or prefix: Parquet in `answers/`, and beside it what failed (`_failures-*.jsonl`), a
    /// manifest, and `_SUCCESS` last.
    ///
    /// # Errors
    /// [`ErrorKind::AlreadyExists`](crate::ErrorKind::AlreadyExists) as `if_exists` says.
    pub async fn write(&self, location: &str, if_exists: IfExists) -> Result<()> {
        let mut writer = AnswersWriter::begin(location, if_exists).await?;
        let pushed = writer.push(&self.answers).await;
        let all = pushed.map(|()| (self.source.clone(), self.failures.clone()));
        writer.finish(all).await.map(drop)
    }
}

/// Writes answers part by part, so that memory does not grow with the number of photos.
pub(crate) struct AnswersWriter {
    run: Run,
    task: usize,
    /// What tells the tries of a task apart; stands behind the number of a part.
    attempt: String,
    parts: usize,
    photos: usize,
    unknown: usize,
}

impl AnswersWriter {
    /// The folder of parts.
    pub const PARTS: &str = "answers";

    pub async fn begin(location: &str, if_exists: IfExists) -> Result<Self> {
        Ok(Self::new(Run::begin(store::open(location)?, &KIND, if_exists).await?))
    }

    /// The writer of one try of a task of a run. Each writes files of its own.
    pub fn of_task(store: Arc<dyn Store>, run: String, task: usize) -> Self {
        AnswersWriter {
            task,
            attempt: format!("-{:010}", fastrand::u32(..)),
            ..Self::new(Run::join(store, &KIND, run))
        }
    }

    fn new(run: Run) -> Self {
        AnswersWriter {
            run,
            task: 0,
            attempt: String::new(),
            parts: 0,
            photos: 0,
            unknown: 0,
        }
    }

    pub fn run(&self) -> &Run {
        &self.run
    }

    /// Takes over what a task of the run has written.
    pub fn add(&mut self, photos: usize, unknown: usize, files: Vec<File>) {
        self.parts += 1;
        self.photos += photos;
        self.unknown += unknown;
        self.run.add(files);
    }

    /// What it has written: photos, photos of these that are unknown, and files.
    pub fn written(self) -> (usize, usize, Vec<File>) {
        (self.photos, self.unknown, self.run.files())
    }

    /// Writes one part.
    pub async fn push(&mut self, answers: &[Answer]) -> Result<()> {
        let number = format!("{:05}-{:05}{}", self.task, self.parts, self.attempt);
        let name = self.name(ANSWERS, &number);
        let file = table::to_parquet(&table_of(answers), &self.run.store().uri(&name))?;
        self.put(&name, file).await?;
        self.parts += 1;
        self.photos += answers.len();
        self.unknown += unknown(answers);
        Ok(())
    }

    /// Makes what was written the output of a source and what failed there; removes it, if there was an error.
    pub async fn finish(mut self, all: Result<(String, Vec<Failure>)>) -> Result<Identified> {
        let rest = match all {
            Ok((source, failures)) => self.push_rest(&failures).await.map(|()| (source, failures)),
            Err(error) => Err(error),
        };
        let (source, failures) = match rest {
            Ok(rest) => rest,
            Err(error) => {
                // Nothing of it is worth resuming.
                self.run.discard().await;
                return Err(error);
            }
        };
        let manifest = Manifest {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            source,
            answers: self.photos,
            unknown: self.unknown,
            failures: failures.len(),
        };
        self.run.finish(&manifest).await?;
        Ok(Identified {
            photos: self.photos,
            unknown: self.unknown,
            failures,
        })
    }

    /// The failures; and if there is no answer, a part that has at least columns.
    async fn push_rest(&mut self, failures: &[Failure]) -> Result<()> {
        if self.parts == 0 {
            self.push(&[]).await?;
        }
        let name = self.name(FAILURES, "");
        self.put(&name, Failure::lines(failures)).await
    }

    async fn put(&mut self, name: &str, content: Bytes) -> Result<()> {
        interrupt::race(Step::Write, self.run.put(name, content))
            .await
            .flatten()
    }

    fn name(&self, (begin, end): (&str, &str), number: &str) -> String {
        format!("{begin}{number}-{}{end}", self.run.id())
    }
}

fn table_of(all: &[Answer]) -> DataFrame {
    let mut answers = ListStringChunkedBuilder::new("answers".into(), all.len(), 5 * all.len());
    let mut probabilities = ListPrimitiveChunkedBuilder::<Float64Type>::new(
        "probabilities".into(),
        all.len(),
        5 * all.len(),
        DataType::Float64,
    );
    for answer in all {
        answers.append_values_iter(answer.answers.iter().map(|(label, _)| label.as_str()));
        probabilities.append_values_iter(answer.answers.iter().map(|(_, probability)| *probability));
    }
    let first = |answer: &Answer| answer.answers.first().cloned().unwrap_or_default();
    let columns = vec![
        Column::new(
            "path".into(),
            all.iter().map(|answer| answer.path.as_str()).collect::<Vec<_>>(),
        ),
        Column::new(
            "answer".into(),
            all.iter().map(|answer| first(answer).0).collect::<Vec<_>>(),
        ),
        Column::new(
            "probability".into(),
            all.iter().map(|answer| first(answer).1).collect::<Vec<_>>(),
        ),
        Column::new(
            "known".into(),
            all.iter().map(|answer| answer.known).collect::<Vec<_>>(),
        ),
        Column::new(
            "is_unknown".into(),
            all.iter().map(|answer| answer.is_unknown).collect::<Vec<_>>(),
        ),
        answers.finish().into_column(),
        probabilities.finish().into_column(),
    ];
    DataFrame::new(all.len(), columns).expect("seven columns of one length")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alike::Groups;
    use crate::error::{Error, ErrorKind};
    use crate::features::Features;
    use crate::features::tests::write_in_parts;
    use crate::recognise::Classifier;
    use crate::recognise::tests::videos;

    /// The tables of an output, in the order of their names.
    fn tables(location: &str) -> Vec<DataFrame> {
        let mut files: Vec<_> = std::fs::read_dir(format!("{location}/answers"))
            .map(|folder| folder.map(|file| file.unwrap().path()).collect())
            .unwrap_or_default();
        files.sort();
        let read = |path: &std::path::PathBuf| table::from_parquet(std::fs::read(path).unwrap().into(), "").unwrap();
        files.iter().map(read).collect()
    }

    #[tokio::test]
    async fn answers_in_parts_are_those_of_all() {
        let photos = videos();
        let classifier = Classifier::train(&photos, &Groups::series(&photos)).await.unwrap();
        let answers = classifier.identify(&photos).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();

        write_in_parts(&photos, &at("features"), 50).await;
        let mut writer = AnswersWriter::begin(&at("parts"), IfExists::Refuse).await.unwrap();
        let scan = Features::scan(&at("features")).await.unwrap();
        classifier.identify_parts(scan.parts(), &mut writer).await.unwrap();
        let all = Ok((answers.source().to_owned(), Vec::new()));
        assert_eq!(writer.finish(all).await.unwrap(), answers.clone().into());
        let parts = tables(&at("parts"));
        assert_eq!(parts.len(), photos.len().div_ceil(50));
        let mut rows = parts[0].clone();
        for part in &parts[1..] {
            rows.vstack_mut(part).unwrap();
        }
        assert_eq!(rows, answers.table());

        answers.write(&at("once"), IfExists::Refuse).await.unwrap();
        assert_eq!(tables(&at("once")), [answers.table()]);
    }

    #[tokio::test]
    async fn after_an_error_nothing_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let location = folder.path().display().to_string();
        let mut writer = AnswersWriter::begin(&location, IfExists::Refuse).await.unwrap();
        writer.push(&[]).await.unwrap();
        let gone = Error::new(ErrorKind::Io, Step::Read, "photo", "gone");
        assert_eq!(writer.finish(Err(gone)).await.unwrap_err().kind(), ErrorKind::Io);
        assert!(!folder.path().join("answers").exists() && !folder.path().join("_SUCCESS").exists());
    }
}
