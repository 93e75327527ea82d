//! The files that a table of features is made of.
//!
//! A part is a Parquet file; an index beside it says from which state of which file each row was computed.

use std::sync::Arc;
use std::time::Instant;

use ndarray::Array2;
use polars::prelude::{DataFrame, PolarsResult};
use serde::{Deserialize, Serialize};
use tracing::info;

use super::{Earlier, Manifest, Part};
use crate::error::{Error, ErrorKind, Failure, Result, Step};
use crate::extractor::Model;
use crate::folder::Photo;
use crate::interrupt;
use crate::output::{self, File, IfExists, Kind, Run};
use crate::store::{self, Length, Store};
use crate::table;

/// Rows of one Parquet file: 20 MB of features.
pub(crate) const ROWS_PER_PART: usize = 4096;
pub(super) const FAILURES: &str = "_failures";
/// Its name before it carried a run.
pub(super) const EARLIER_FAILURES: &str = "_failures.jsonl";
/// The folder of parts.
pub(crate) const PARTS: &str = "features";
const PART: (&str, &str) = ("features/part-", ".parquet");
const INDEX: (&str, &str) = ("_index/part-", ".json");

/// An output of features.
pub(super) static KIND: Kind = Kind {
    files: &[PART, INDEX, (FAILURES, ".jsonl")],
    is_earlier,
};

/// What the rows of a part were computed from.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Index {
    /// Of the part.
    pub sha256: String,
    pub model: Model,
    /// Where the photos lie; empty if a version before the protocol wrote it.
    #[serde(default)]
    pub source: String,
    /// Row by row.
    pub photos: Vec<Origin>,
}

/// A photo's file in the state in which it was listed.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Origin {
    pub path: String,
    size: u64,
    version: String,
}

impl Origin {
    pub(super) fn is(&self, photo: &Photo) -> bool {
        (&self.path, self.size, &self.version) == (&photo.path, photo.size, &photo.version)
    }
}

/// Writes features part by part, so that memory does not grow with the number of photos.
pub(crate) struct FeaturesWriter {
    run: Run,
    task: usize,
    /// What tells the tries of a task apart; stands behind the number of a part.
    attempt: String,
    parts: Vec<Part>,
}

impl FeaturesWriter {
    pub(crate) async fn begin(store: Arc<dyn Store>, if_exists: IfExists) -> Result<Self> {
        Ok(Self::new(Run::begin(store, &KIND, if_exists).await?))
    }

    /// Begins, and finds what earlier runs left of the photos of this source, finished or not.
    pub(crate) async fn resume(store: Arc<dyn Store>, source: &str, model: &Model) -> Result<(Self, Earlier)> {
        let find = async {
            Earlier::check(&*store, source, model).await?;
            let keys = output::keys(&*store, |_| true).await?;
            Earlier::find(store.clone(), &keys, source, model).await
        };
        let earlier = interrupt::race(Step::Read, find).await??;
        Ok((Self::begin(store, IfExists::Replace).await?, earlier))
    }

    /// What runs other than its own have left of the photos of this source, finished or not.
    pub(crate) async fn earlier(&self, source: &str, model: &Model) -> Result<Earlier> {
        let store = self.run.store();
        let keys = output::keys(&**store, |key| !self.run.has_made(key)).await?;
        Earlier::find(store.clone(), &keys, source, model).await
    }

    /// The writer of one try of a task of a run. Each writes files of its own.
    pub(crate) fn of_task(store: Arc<dyn Store>, run: String, task: usize) -> Self {
        FeaturesWriter {
            task,
            attempt: format!("-{:010}", fastrand::u32(..)),
            ..Self::new(Run::join(store, &KIND, run))
        }
    }

    fn new(run: Run) -> Self {
        FeaturesWriter {
            run,
            task: 0,
            attempt: String::new(),
            parts: Vec::new(),
        }
    }

    /// Rows that it has written.
    pub(crate) fn rows(&self) -> usize {
        self.parts.iter().map(|part| part.rows).sum()
    }

    pub(crate) fn run(&self) -> &Run {
        &self.run
    }

    /// Takes over what a task of the run has written.
    pub(crate) fn add(&mut self, parts: Vec<Part>, files: Vec<File>) {
        self.parts.extend(parts);
        self.run.add(files);
    }

    /// What it has written.
    pub(crate) fn written(self) -> (Vec<Part>, Vec<File>) {
        (self.parts, self.run.files())
    }

    /// Writes one part.
    pub(crate) async fn push(&mut self, mut table: DataFrame) -> Result<()> {
        let number = format!("{:05}-{:05}{}", self.task, self.parts.len(), self.attempt);
        let file = self.name(PART, &number);
        table.rechunk_mut();
        let content = table::to_parquet(&table, &self.run.store().uri(&file))?;
        let part = Part {
            rows: table.height(),
            sha256: store::sha256(&content),
            file,
        };
        let (bytes, start) = (content.len(), Instant::now());
        self.run.put(&part.file, content).await?;
        info!(
            rows = part.rows,
            bytes,
            ms = start.elapsed().as_millis() as u64,
            "part written: {}",
            part.file
        );
        self.parts.push(part);
        Ok(())
    }

    /// Writes one part, and beside it from which photos below the source its rows were computed. A part without an index is not taken over.
    pub(crate) async fn push_with_index(
        &mut self,
        table: DataFrame,
        photos: Vec<Photo>,
        source: &str,
        model: &Model,
    ) -> Result<()> {
        self.push(table).await?;
        let Some(part) = self.parts.last() else { return Ok(()) };
        let origin = |Photo {
                          path, size, version, ..
                      }| Origin { path, size, version };
        let index = Index {
            sha256: part.sha256.clone(),
            model: model.clone(),
            source: source.to_owned(),
            photos: photos.into_iter().map(origin).collect(),
        };
        let name = index_of(&part.file);
        let json = serde_json::to_vec(&index)
            .map_err(|error| Error::from_source(Step::Write, self.run.store().uri(&name), error))?;
        self.run.put(&name, json.into()).await
    }

    /// Makes what was written the output.
    pub(crate) async fn finish(mut self, failures: &[Failure], manifest: Manifest) -> Result<Manifest> {
        let rest = self.push_rest(failures, &manifest).await;
        self.run.or_release(rest).await?;
        let parts = self.parts;
        let manifest = Manifest { parts, ..manifest };
        self.run.finish(&manifest).await?;
        Ok(manifest)
    }

    /// The failures; and if there is no row, a part that has at least columns.
    async fn push_rest(&mut self, failures: &[Failure], manifest: &Manifest) -> Result<()> {
        if self.parts.is_empty() {
            let none = Array2::zeros((0, manifest.model.features));
            self.push(super::rows(&[], &[], &none)?).await?;
        }
        let name = self.name((FAILURES, ".jsonl"), "");
        self.run.put(&name, Failure::lines(failures)).await
    }

    fn name(&self, (begin, end): (&str, &str), number: &str) -> String {
        format!("{begin}{number}-{}{end}", self.run.id())
    }
}

/// The task that has written a part of this name in the folder of parts.
pub(crate) fn task_of_part(name: &str) -> Option<usize> {
    name.strip_prefix("part-")?.split('-').next()?.parse().ok()
}

/// The table in a part. What is not the content that was written is refused before it is parsed.
pub(super) async fn read(store: &dyn Store, part: &Part) -> Result<DataFrame> {
    read_with(store, part, Ok).await
}

/// `path` and `label` of the rows in a part, and their features, `n x width`.
pub(super) async fn read_rows(store: &dyn Store, part: &Part, width: usize) -> Result<(DataFrame, Array2<f32>)> {
    read_with(store, part, move |table| super::split(table, width)).await
}

/// Hashes, decodes and converts where it keeps nobody waiting.
async fn read_with<T: Send + 'static>(
    store: &dyn Store,
    part: &Part,
    convert: impl FnOnce(DataFrame) -> PolarsResult<T> + Send + 'static,
) -> Result<T> {
    let content = store.get(&part.file, Length::AtMost(output::MAX_FILE)).await?;
    let (uri, sha256) = (store.uri(&part.file), part.sha256.clone());
    let subject = uri.clone();
    let work = move || {
        if store::sha256(&content) != sha256 {
            return Err(Error::new(ErrorKind::Invalid, Step::Read, uri, output::DAMAGED));
        }
        let table = table::from_parquet(content, &uri)?;
        convert(table).map_err(|error| Error::from_source(Step::Read, uri, error))
    };
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|panic| Err(Error::from_source(Step::Read, subject, panic)))
}

/// The names of an output as versions before the protocol wrote it: all in one folder.
fn is_earlier(key: &str) -> bool {
    key == EARLIER_FAILURES
        || earlier_stem(key, ("part-", ".parquet"))
            .or(earlier_stem(key, ("_part-", ".json")))
            .is_some()
}

fn earlier_stem<'a>(key: &'a str, (begin, end): (&str, &str)) -> Option<&'a str> {
    let stem = key.strip_prefix(begin)?.strip_suffix(end)?;
    let (number, run) = stem.split_once('-')?;
    let is_number = number.len() >= 5 && number.bytes().all(|byte| byte.is_ascii_digit());
    (is_number && run.len() == 8 && run.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(stem)
}

/// The index of a part.
fn index_of(part: &str) -> String {
    let stem = part.strip_prefix(PART.0).and_then(|stem| stem.strip_suffix(PART.1));
    format!("{}{}{}", INDEX.0, stem.unwrap_or_default(), INDEX.1)
}

/// The part that an index belongs to, and what they are sorted by: their run, and the numbers in their names.
pub(super) fn part_of(index: &str) -> Option<(String, (String, Vec<u64>))> {
    let sorted = |stem: &str| {
        let (numbers, run) = stem.rsplit_once('-')?;
        let numbers = numbers.split('-').map(|number| number.parse().ok());
        Some((run.to_owned(), numbers.collect::<Option<_>>()?))
    };
    if let Some(stem) = earlier_stem(index, ("_part-", ".json")) {
        return Some((format!("part-{stem}.parquet"), sorted(stem)?));
    }
    let (folder, name) = match KIND.name(index) {
        output::Name::Visible(_) => ("", index),
        output::Name::Made(_, name) => (index.strip_suffix(name)?, name),
        _ => return None,
    };
    let stem = name.strip_prefix(INDEX.0)?.strip_suffix(INDEX.1)?;
    Some((format!("{folder}{}{stem}{}", PART.0, PART.1), sorted(stem)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use output::Name;

    #[test]
    fn names_of_others_are_not_ours() {
        const RUN: &str = "0123456789abcdef";
        for name in [
            "features/part-00000-00012",
            "_index/part-00012-00003-4294967295",
            "_failures",
        ] {
            let end = KIND.files.iter().find(|(begin, _)| name.starts_with(begin)).unwrap().1;
            let name = format!("{name}-{RUN}{end}");
            assert_eq!(KIND.name(&name), Name::Visible(RUN), "{name}");
            assert_eq!(KIND.name(&format!("_runs/{RUN}/{name}")), Name::Made(RUN, &name));
            assert_eq!(KIND.name(&format!("_runs/fedcba9876543210/{name}")), Name::Foreign);
            assert_eq!(KIND.name(&format!("x/{name}")), Name::Foreign);
        }
        for name in [
            "part-00000-0123abcd.parquet",
            "_part-123456-0123abcd.json",
            "_failures.jsonl",
        ] {
            assert_eq!(KIND.name(name), Name::Earlier, "{name}");
        }
        for name in ["_manifest.json", "_SUCCESS", "_owner.json"] {
            assert_eq!(KIND.name(name), Name::Mark, "{name}");
        }
        for name in [
            ".fruits-temporary-aB3xYz",
            "features/.fruits-temporary-aB3xYz",
            "_runs/0123456789abcdef/features/.fruits-temporary-aB3xYz",
        ] {
            assert_eq!(KIND.name(name), Name::Temporary, "{name}");
        }
        for name in [
            ".DS_Store",
            "features/.DS_Store",
            "Thumbs.db",
            ".ipynb_checkpoints/a.ipynb",
            ".fruits-notes/mine.txt",
            ".fruits-basket",
        ] {
            assert_eq!(KIND.name(name), Name::Hidden, "{name}");
        }
        for name in [
            "part-00000-9f2c6f0e-5a7c-4c9b-8d5e-1c1d5e3f2a10-c000.snappy.parquet",
            "part-00000.parquet",
            "year=2026/part-00000-0123abcd.parquet",
            "features/part-00000-00000-0123456789ABCDEF.parquet",
            "features/part-00000-mine-0123456789abcdef.parquet",
            "_runs/0123456789abcdef/mine.txt",
            "data.parquet",
            "_metadata",
        ] {
            assert_eq!(KIND.name(name), Name::Foreign, "{name}");
        }
    }

    #[test]
    fn parts_are_sorted_by_their_numbers() {
        let order = |index| part_of(index).unwrap().1;
        assert!(order("_part-99999-0123abcd.json") < order("_part-100000-0123abcd.json"));
        let (made, shown) = (
            "_runs/0123456789abcdef/_index/part-00000-100000",
            "_index/part-00000-99999",
        );
        let (made, shown) = (
            format!("{made}-0123456789abcdef.json"),
            format!("{shown}-0123456789abcdef.json"),
        );
        assert!(order(&shown) < order(&made));
        let part = part_of(&made).unwrap().0;
        assert_eq!(
            part,
            "_runs/0123456789abcdef/features/part-00000-100000-0123456789abcdef.parquet"
        );
        assert_eq!(index_of("features/part-00000-99999-0123456789abcdef.parquet"), shown);
        assert_eq!(part_of("_failures-0123456789abcdef.jsonl"), None);
    }
}
