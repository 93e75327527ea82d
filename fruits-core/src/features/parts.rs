//! The files that a table of features is made of, and what a later run takes over from an earlier one.
//!
//! A part is a Parquet file; an index beside it says from which state of which file each row was computed. The names carry the run
//! that wrote them, so runs cannot overwrite each other's. Rows are in ascending byte order of paths, so the rows of an earlier run and
//! the photos of a new listing are matched as both go by, and memory does not grow with their number.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use ndarray::Array2;
use polars::prelude::{DataFrame, Float32Type};
use serde::{Deserialize, Serialize};

use super::{Manifest, Part};
use crate::error::{Error, ErrorKind, Failure, Result, Step};
use crate::folder::Photo;
use crate::mobilenet::{FEATURES, MobileNetV2, PREPROCESSING};
use crate::output::{self, IfExists};
use crate::store::{self, Length, Store};
use crate::table;

/// Rows of one Parquet file: 20 MB of features.
pub(crate) const ROWS_PER_PART: usize = 4096;
/// Runs whose rows are taken over at most; each may keep a part in memory.
const EARLIER_RUNS: usize = 8;
pub(super) const FAILURES: &str = "_failures.jsonl";

/// What the rows of a part were computed from.
#[derive(Debug, Serialize, Deserialize)]
struct Index {
    /// Of the part.
    sha256: String,
    weights_sha256: String,
    preprocessing: String,
    /// Row by row.
    photos: Vec<Origin>,
}

/// A photo's file in the state in which it was listed.
#[derive(Debug, Serialize, Deserialize)]
struct Origin {
    path: String,
    size: u64,
    version: String,
}

impl Origin {
    fn is(&self, photo: &Photo) -> bool {
        (&self.path, self.size, &self.version) == (&photo.path, photo.size, &photo.version)
    }
}

/// Writes features part by part, so that memory does not grow with the number of photos.
pub(crate) struct FeaturesWriter {
    store: Arc<dyn Store>,
    run: String,
    parts: Vec<Part>,
    files: Vec<String>,
}

impl FeaturesWriter {
    pub(crate) async fn begin(store: Arc<dyn Store>, if_exists: IfExists) -> Result<Self> {
        output::begin(&*store, if_exists, is_ours).await?;
        Ok(Self::new(store))
    }

    /// Begins, and finds what earlier runs left, finished or not.
    pub(crate) async fn resume(store: Arc<dyn Store>, model: &MobileNetV2) -> Result<(Self, Earlier)> {
        let keys = output::reopen(&*store, is_ours).await?;
        let earlier = Earlier::find(store.clone(), &keys, model).await?;
        Ok((Self::new(store), earlier))
    }

    fn new(store: Arc<dyn Store>) -> Self {
        FeaturesWriter {
            store,
            run: format!("{:08x}", fastrand::u32(..)),
            parts: Vec::new(),
            files: vec![FAILURES.to_owned()],
        }
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
        model: &MobileNetV2,
    ) -> Result<()> {
        let (part, content) = self.part(&mut table)?;
        let origin = |Photo {
                          path, size, version, ..
                      }| Origin { path, size, version };
        let index = Index {
            sha256: part.sha256.clone(),
            weights_sha256: model.weights_sha256().to_owned(),
            preprocessing: PREPROCESSING.to_owned(),
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
        let file = format!("part-{:05}-{}.parquet", self.parts.len(), self.run);
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

/// The rows that earlier runs left, to be taken in the order of their photos.
pub(crate) struct Earlier {
    runs: Vec<EarlierRun>,
}

/// The rows of one run, part after part.
struct EarlierRun {
    store: Arc<dyn Store>,
    weights_sha256: String,
    indices: VecDeque<String>,
    part: Option<EarlierPart>,
}

struct EarlierPart {
    key: String,
    sha256: String,
    photos: VecDeque<(usize, Origin)>,
    /// Read when the first row is wanted.
    rows: Option<Array2<f32>>,
}

impl Earlier {
    /// Of many runs, those that got furthest.
    async fn find(store: Arc<dyn Store>, keys: &[String], model: &MobileNetV2) -> Result<Self> {
        let mut indices: BTreeMap<&str, VecDeque<String>> = BTreeMap::new();
        for key in keys {
            if let Some(stem) = index_stem(key)
                && keys.contains(&part_of(stem))
            {
                indices.entry(run_of(stem)).or_default().push_back(key.clone());
            }
        }
        let mut runs = Vec::new();
        for indices in indices.into_values() {
            let mut run = EarlierRun {
                store: store.clone(),
                weights_sha256: model.weights_sha256().to_owned(),
                indices,
                part: None,
            };
            run.indices.make_contiguous().sort();
            let last = match run.indices.back() {
                Some(key) => run.index(key).await?.and_then(|mut index| index.photos.pop()),
                None => None,
            };
            runs.push((last.map(|last| last.path), run));
        }
        runs.sort_by(|(a, _), (b, _)| b.cmp(a));
        runs.truncate(EARLIER_RUNS);
        Ok(Earlier {
            runs: runs.into_iter().map(|(_, run)| run).collect(),
        })
    }

    /// The features of a photo, if they were computed from this state of its file.
    pub(crate) async fn take(&mut self, photo: &Photo) -> Result<Option<Vec<f32>>> {
        for run in &mut self.runs {
            if let Some(features) = run.take(photo).await? {
                return Ok(Some(features));
            }
        }
        Ok(None)
    }
}

impl EarlierRun {
    async fn take(&mut self, photo: &Photo) -> Result<Option<Vec<f32>>> {
        loop {
            let Some(part) = &mut self.part else {
                let Some(key) = self.indices.pop_front() else {
                    return Ok(None);
                };
                self.part = self.index(&key).await?.map(|index| EarlierPart {
                    key: index_stem(&key).map(part_of).unwrap_or_default(),
                    sha256: index.sha256,
                    photos: index.photos.into_iter().enumerate().collect(),
                    rows: None,
                });
                continue;
            };
            while part.photos.front().is_some_and(|(_, origin)| origin.path < photo.path) {
                part.photos.pop_front();
            }
            let Some((row, origin)) = part.photos.front() else {
                self.part = None;
                continue;
            };
            if !origin.is(photo) {
                return Ok(None);
            }
            let row = *row;
            if part.rows.is_none() {
                part.rows = match read(&*self.store, &part.key, &part.sha256).await {
                    Err(error) if matches!(error.kind(), ErrorKind::Invalid | ErrorKind::NotFound) => None,
                    table => Some(features_of(&table?, &self.store.uri(&part.key))?),
                };
            }
            let features = part
                .rows
                .as_ref()
                .filter(|rows| row < rows.nrows())
                .map(|rows| rows.row(row).to_vec());
            if features.is_none() {
                self.part = None; // damaged: the photos are computed again
            }
            return Ok(features);
        }
    }

    /// An index, unless it is damaged or was written with another network: then its photos are computed again.
    async fn index(&self, key: &str) -> Result<Option<Index>> {
        let json = self.store.get(key, Length::AtMost(output::MAX_FILE)).await?;
        Ok(serde_json::from_slice::<Index>(&json)
            .ok()
            .filter(|index| index.weights_sha256 == self.weights_sha256 && index.preprocessing == PREPROCESSING))
    }
}

/// The table in a part. What is not the content that was written is refused before it is parsed.
pub(super) async fn read(store: &dyn Store, file: &str, sha256: &str) -> Result<DataFrame> {
    let content = store.get(file, Length::AtMost(output::MAX_FILE)).await?;
    let uri = store.uri(file);
    if store::sha256(&content) != sha256 {
        let message = "damaged: its SHA-256 is not the one noted when it was written";
        return Err(Error::new(ErrorKind::Invalid, Step::Read, uri, message));
    }
    table::from_parquet(content, &uri)
}

fn features_of(table: &DataFrame, uri: &str) -> Result<Array2<f32>> {
    let column = table.column("features");
    column
        .and_then(|column| table::matrix::<Float32Type>(column, Some(FEATURES)))
        .map_err(|error| Error::from_source(Step::Read, uri, error))
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

fn index_stem(key: &str) -> Option<&str> {
    key.strip_prefix('_')?.strip_suffix(".json")
}

fn index_of(part: &str) -> String {
    format!("_{}.json", part.trim_end_matches(".parquet"))
}

fn part_of(stem: &str) -> String {
    format!("{stem}.parquet")
}

fn run_of(stem: &str) -> &str {
    stem.rsplit('-').next().unwrap_or_default()
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
