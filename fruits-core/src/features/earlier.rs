//! What a later run takes over from earlier ones.
//!
//! Rows are in ascending byte order of paths, so the rows of an earlier run and the photos of a new listing are matched as both go by,
//! and memory does not grow with their number.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;

use ndarray::Array2;
use polars::prelude::{DataFrame, Float32Type};

use super::parts::{Index, Origin, part_of, read};
use super::{Manifest, Part};
use crate::error::{Error, ErrorKind, Result, Step};
use crate::extractor::Model;
use crate::folder::Photo;
use crate::output;
use crate::store::{Length, Store};
use crate::table;

/// Runs whose rows are taken over at most; each may keep a part in memory.
const EARLIER_RUNS: usize = 8;

/// The rows that earlier runs left, to be taken in the order of their photos.
pub(crate) struct Earlier {
    runs: Vec<EarlierRun>,
}

/// The rows of one run, part after part.
struct EarlierRun {
    store: Arc<dyn Store>,
    model: Model,
    /// The names of indices and their parts.
    indices: VecDeque<(String, String)>,
    part: Option<EarlierPart>,
}

struct EarlierPart {
    part: Part,
    photos: VecDeque<(usize, Origin)>,
    /// Read when the first row is wanted.
    rows: Option<Array2<f32>>,
}

impl Earlier {
    /// Fails if a finished output is of photos of another source, or of another network. Its manifest may have megabytes: of the processes of
    /// a run, one reads it.
    pub(super) async fn check(store: &dyn Store, source: &str, model: &Model) -> Result<()> {
        if let Ok(finished) = output::open::<Manifest>(store).await {
            if finished.about.source != source {
                return Err(other(store, &format!("of {}", finished.about.source)));
            }
            if let Some(difference) = finished.about.model.difference(model) {
                return Err(other(store, &difference));
            }
        }
        Ok(())
    }

    /// Of many runs, those that got furthest. What was made of photos of another source is refused.
    pub(super) async fn find(store: Arc<dyn Store>, keys: &[String], source: &str, model: &Model) -> Result<Self> {
        let there: HashSet<&str> = keys.iter().map(String::as_str).collect();
        let mut indices: BTreeMap<String, BTreeMap<Vec<u64>, (String, String)>> = BTreeMap::new();
        for key in keys {
            if let Some((part, (run, numbers))) = part_of(key)
                && there.contains(part.as_str())
            {
                indices.entry(run).or_default().insert(numbers, (key.clone(), part));
            }
        }
        let mut runs = Vec::new();
        for indices in indices.into_values() {
            let run = EarlierRun {
                store: store.clone(),
                model: model.clone(),
                indices: indices.into_values().collect(),
                part: None,
            };
            let last = match run.indices.back() {
                Some((key, _)) => run.index(key).await?,
                None => None,
            };
            if let Some(last) = &last
                && !last.source.is_empty()
                && last.source != source
            {
                return Err(other(&*store, &format!("of {}", last.source)));
            }
            let last = last.and_then(|mut index| index.photos.pop());
            runs.push((last.map(|last| last.path), run));
        }
        runs.sort_by(|(a, _), (b, _)| b.cmp(a));
        runs.truncate(EARLIER_RUNS);
        Ok(Earlier {
            runs: runs.into_iter().map(|(_, run)| run).collect(),
        })
    }

    /// Leaves out what comes before a photo, without reading all of it.
    pub(crate) async fn skip_to(&mut self, photo: &Photo) -> Result<()> {
        for run in &mut self.runs {
            run.skip_to(photo).await?;
        }
        Ok(())
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
    async fn skip_to(&mut self, photo: &Photo) -> Result<()> {
        let (mut low, mut high) = (0, self.indices.len());
        while low < high {
            let middle = low.midpoint(high);
            let index = self.index(&self.indices[middle].0).await?;
            match index.as_ref().and_then(|index| index.photos.last()) {
                Some(last) if last.path < photo.path => low = middle + 1,
                _ => high = middle,
            }
        }
        self.indices.drain(..low);
        Ok(())
    }

    async fn take(&mut self, photo: &Photo) -> Result<Option<Vec<f32>>> {
        loop {
            let Some(part) = &mut self.part else {
                let Some((key, file)) = self.indices.pop_front() else {
                    return Ok(None);
                };
                self.part = self.index(&key).await?.map(|index| EarlierPart {
                    part: Part {
                        file,
                        rows: index.photos.len(),
                        sha256: index.sha256,
                    },
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
                part.rows = match read(&*self.store, &part.part).await {
                    Err(error) if matches!(error.kind(), ErrorKind::Invalid | ErrorKind::NotFound) => None,
                    table => Some(features_of(
                        &table?,
                        self.model.features,
                        &self.store.uri(&part.part.file),
                    )?),
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

    /// An index, unless it has vanished, is damaged or was written with another network: then its photos are computed again.
    async fn index(&self, key: &str) -> Result<Option<Index>> {
        let json = match self.store.get(key, Length::AtMost(output::MAX_FILE)).await {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            json => json?,
        };
        Ok(serde_json::from_slice::<Index>(&json)
            .ok()
            .filter(|index| index.model == self.model))
    }
}

fn other(store: &dyn Store, features: &str) -> Error {
    let message = format!(
        "there are features {features} in it; give a new folder, or replace them by --overwrite (IfExists::Replace)"
    );
    Error::new(ErrorKind::AlreadyExists, Step::Write, store.uri(""), message)
}

fn features_of(table: &DataFrame, width: usize, uri: &str) -> Result<Array2<f32>> {
    let column = table.column("features");
    column
        .and_then(|column| table::matrix::<Float32Type>(column, Some(width)))
        .map_err(|error| Error::from_source(Step::Read, uri, error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::{FeaturesWriter, rows, tests::features};
    use crate::output::{IfExists, MANIFEST};
    use crate::store::WatchedStore;

    /// A photo of its own for each part.
    fn photo(number: usize) -> Photo {
        let key = format!("a/{number:05}.jpg");
        Photo {
            path: format!("/none/{key}"),
            key,
            label: "a".to_owned(),
            size: 1,
            version: String::new(),
        }
    }

    #[tokio::test]
    async fn a_task_finds_its_photo_among_many_parts() {
        let store = Arc::new(WatchedStore::default());
        let none = features(&[], &[], &Array2::zeros((0, 2)));
        let model = &none.manifest().model;
        let mut writer = FeaturesWriter::begin(store.clone(), IfExists::Refuse).await.unwrap();
        for number in 0..500 {
            let photo = photo(number);
            let table = rows(&[&photo.path], &["a"], &ndarray::array![[number as f32, 0.0]]).unwrap();
            writer
                .push_with_index(table, vec![photo], "/none", model)
                .await
                .unwrap();
        }
        store.most_at_once();
        writer.finish(&[], none.manifest().clone()).await.unwrap();
        assert!(
            store.most_at_once() < 20,
            "not all requests are made before the first is sent"
        );

        let before = store.read().len();
        let task = FeaturesWriter::of_task(store.clone(), "0123456789abcdef".to_owned(), 0);
        let mut earlier = task.earlier("/none", model).await.unwrap();
        earlier.skip_to(&photo(321)).await.unwrap();
        assert_eq!(earlier.take(&photo(321)).await.unwrap(), Some(vec![321.0, 0.0]));
        let read = &store.read()[before..];
        // Halving finds one of 500 in nine steps; the last index, that of the photo, and its part come beside them.
        assert!(read.len() <= 12, "{read:?}");
        assert!(
            !read.iter().any(|key| key == MANIFEST),
            "of as many parts it has megabytes"
        );
    }
}
