//! The files that a table of features is made of.
//!
//! A part is a Parquet file; an index beside it says from which state of which file each row was computed. The names carry the run
//! that wrote them, so runs cannot overwrite each other's.

use std::sync::Arc;

use bytes::Bytes;
use polars::prelude::DataFrame;
use serde::{Deserialize, Serialize};

use super::{Earlier, Manifest, Part};
use crate::error::{Error, ErrorKind, Failure, Result, Step};
use crate::extractor::Model;
use crate::folder::Photo;
use crate::output::{self, IfExists};
use crate::store::{self, Length, Store};
use crate::table;

/// Rows of one Parquet file: 20 MB of features.
pub(crate) const ROWS_PER_PART: usize = 4096;
pub(super) const FAILURES: &str = "_failures.jsonl";

/// What the rows of a part were computed from.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Index {
    /// Of the part.
    pub sha256: String,
    pub model: Model,
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
    store: Arc<dyn Store>,
    run: String,
    /// Stands before the number of a part.
    task: String,
    parts: Vec<Part>,
    files: Vec<String>,
}

impl FeaturesWriter {
    pub(crate) async fn begin(store: Arc<dyn Store>, if_exists: IfExists) -> Result<Self> {
        output::begin(&*store, if_exists, is_ours).await?;
        Ok(Self::new(store))
    }

    /// Begins, and finds what earlier runs left, finished or not.
    pub(crate) async fn resume(store: Arc<dyn Store>, model: &Model) -> Result<(Self, Earlier)> {
        let keys = output::reopen(&*store, is_ours).await?;
        let earlier = Earlier::find(store.clone(), &keys, model).await?;
        Ok((Self::new(store), earlier))
    }

    /// The writer of one task of a run: of several tries, each writes files of the same names.
    pub(crate) fn of_task(store: Arc<dyn Store>, run: String, task: usize) -> Self {
        FeaturesWriter {
            run,
            task: format!("{task:05}"),
            ..Self::new(store)
        }
    }

    fn new(store: Arc<dyn Store>) -> Self {
        FeaturesWriter {
            store,
            run: format!("{:08x}", fastrand::u32(..)),
            task: String::new(),
            parts: Vec::new(),
            files: vec![FAILURES.to_owned()],
        }
    }

    /// Of the names of the parts that it writes.
    pub(crate) fn run(&self) -> &str {
        &self.run
    }

    /// Takes over the parts that the run's tasks have written.
    pub(crate) fn with_parts(mut self, parts: Vec<Part>) -> Self {
        for part in &parts {
            self.files.extend([index_of(&part.file), part.file.clone()]);
        }
        self.parts = parts;
        self
    }

    /// The parts that are written.
    pub(crate) fn into_parts(self) -> Vec<Part> {
        self.parts
    }

    /// Writes one part.
    pub(crate) async fn push(&mut self, mut table: DataFrame) -> Result<()> {
        let (part, content) = self.part(&mut table)?;
        self.put(part, content).await
    }

    /// Writes one part, and beside it from which photos its rows were computed. The index goes first: a part without one could not
    /// be taken over.
    pub(crate) async fn push_with_index(
        &mut self,
        mut table: DataFrame,
        photos: Vec<Photo>,
        model: &Model,
    ) -> Result<()> {
        let (part, content) = self.part(&mut table)?;
        let origin = |Photo {
                          path, size, version, ..
                      }| Origin { path, size, version };
        let index = Index {
            sha256: part.sha256.clone(),
            model: model.clone(),
            photos: photos.into_iter().map(origin).collect(),
        };
        let key = index_of(&part.file);
        let json =
            serde_json::to_vec(&index).map_err(|error| Error::from_source(Step::Write, self.store.uri(&key), error))?;
        self.store.put(&key, json.into()).await?;
        self.files.push(key);
        self.put(part, content).await
    }

    fn part(&self, table: &mut DataFrame) -> Result<(Part, Bytes)> {
        let file = format!("part-{}{:05}-{}.parquet", self.task, self.parts.len(), self.run);
        table.rechunk_mut();
        let content = table::to_parquet(table, &self.store.uri(&file))?;
        let part = Part {
            file,
            rows: table.height(),
            sha256: store::sha256(&content),
        };
        Ok((part, content))
    }

    async fn put(&mut self, part: Part, content: Bytes) -> Result<()> {
        self.store.put(&part.file, content).await?;
        self.files.push(part.file.clone());
        self.parts.push(part);
        Ok(())
    }

    pub(crate) async fn finish(self, failures: &[Failure], manifest: Manifest) -> Result<Manifest> {
        let mut lines = Vec::new();
        for failure in failures {
            serde_json::to_writer(&mut lines, failure)
                .map_err(|error| Error::from_source(Step::Write, self.store.uri(FAILURES), error))?;
            lines.push(b'\n');
        }
        let manifest = Manifest {
            parts: self.parts,
            ..manifest
        };
        if let Err(error) = output::claim(&*self.store, &manifest).await {
            // What is here belongs to the run that was first: nothing of this one may stay among its parts.
            for key in self.files.iter().filter(|key| *key != FAILURES) {
                self.store.delete(key).await?;
            }
            return Err(error);
        }
        self.store.put(FAILURES, lines.into()).await?;
        output::finish(&*self.store, &manifest, &self.files, is_ours).await?;
        Ok(manifest)
    }
}

/// The task that a part belongs to, if a task of this run has written it.
pub(crate) fn task_of_part(key: &str, run: &str) -> Option<usize> {
    let number = key
        .strip_prefix("part-")?
        .strip_suffix(".parquet")?
        .strip_suffix(run)?
        .strip_suffix('-')?;
    number.get(..number.len().checked_sub(5)?)?.parse().ok()
}

/// The table in a part. What is not the content that was written is refused before it is parsed.
pub(super) async fn read(store: &dyn Store, part: &Part) -> Result<DataFrame> {
    let content = store.get(&part.file, Length::AtMost(output::MAX_FILE)).await?;
    let uri = store.uri(&part.file);
    if store::sha256(&content) != part.sha256 {
        let message = "damaged: its SHA-256 is not the one noted when it was written";
        return Err(Error::new(ErrorKind::Invalid, Step::Read, uri, message));
    }
    table::from_parquet(content, &uri)
}

/// The names of an output of this kind, besides its manifest and mark.
fn is_ours(key: &str) -> bool {
    let is_part = |stem: &str| {
        let shape = stem.strip_prefix("part-").and_then(|stem| stem.split_once('-'));
        shape.is_some_and(|(number, run)| {
            number.len() >= 5
                && number.bytes().all(|byte| byte.is_ascii_digit())
                && run.len() == 8
                && run.bytes().all(|byte| byte.is_ascii_hexdigit())
        })
    };
    key == FAILURES
        || key
            .strip_suffix(".parquet")
            .or_else(|| index_stem(key))
            .is_some_and(is_part)
}

pub(super) fn index_stem(key: &str) -> Option<&str> {
    key.strip_prefix('_')?.strip_suffix(".json")
}

fn index_of(part: &str) -> String {
    format!("_{}.json", part.trim_end_matches(".parquet"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_others_are_not_ours() {
        for key in [
            "part-00000-0123abcd.parquet",
            "_part-123456-0123abcd.json",
            "_failures.jsonl",
        ] {
            assert!(is_ours(key), "{key}");
        }
        for key in [
            "part-00000-9f2c6f0e-5a7c-4c9b-8d5e-1c1d5e3f2a10-c000.snappy.parquet",
            "part-00000.parquet",
            "year=2026/part-00000-0123abcd.parquet",
            "data.parquet",
            "_metadata",
        ] {
            assert!(!is_ours(key), "{key}");
        }
    }
}
