//! What a classifier says of photos.

use std::fmt;

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
use crate::output::{IfExists, Kind, Run};
use crate::{store, table};

const TABLE: (&str, &str) = ("answers/part-00000-00000", ".parquet");
const FAILURES: (&str, &str) = ("_failures", ".jsonl");

/// An output of answers.
static KIND: Kind = Kind {
    files: &[("answers/part-", ".parquet"), FAILURES],
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
    failures: usize,
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
        let all = &self.answers;
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
        let store = store::open(location)?;
        let table = table::to_parquet(&self.table(), &store.uri(TABLE.0))?;
        let mut run = Run::begin(store, &KIND, if_exists).await?;
        for ((begin, end), content) in [(TABLE, table), (FAILURES, Failure::lines(&self.failures))] {
            let name = format!("{begin}-{}{end}", run.id());
            let put = interrupt::race(Step::Write, run.put(&name, content)).await.flatten();
            run.or_release(put).await?;
        }
        let manifest = Manifest {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            source: self.source.clone(),
            answers: self.answers.len(),
            failures: self.failures.len(),
        };
        run.finish(&manifest).await
    }
}
