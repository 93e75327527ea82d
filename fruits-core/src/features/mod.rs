//! The table of features: a row a photo, in polars and in Parquet, with the failures beside it.

mod clusters;
mod earlier;
mod parts;
mod scan;

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use ndarray::{Array1, Array2, Axis, s};
use polars::prelude::*;
use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Failure, Result, Step};
use crate::extractor::Model;
use crate::folder::{self, Survey};
use crate::holds::{self, Wanted};
use crate::interrupt;
use crate::output::{self, Finished, IfExists};
use crate::store::{self, Store};
use crate::table;
pub(crate) use earlier::Earlier;
use parts::{EARLIER_FAILURES, FAILURES};
pub(crate) use parts::{FeaturesWriter, PARTS, ROWS_PER_PART, task_of_part};
pub use scan::FeaturesScan;

/// More features than this a photo has from no network that anybody uses.
const MAX_FEATURES: usize = 1 << 20;

/// Where features come from and what made them. It is written beside them as `_manifest.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of the crate.
    pub version: String,
    /// The location of the photos.
    pub source: String,
    /// The network.
    pub model: Model,
    /// Photos that have features.
    pub photos: usize,
    /// Photos of these whose features an earlier run had computed.
    pub reused: usize,
    /// Photos that failed.
    pub failures: usize,
    /// Whether a deadline passed before all photos were done, or these are some rows of others.
    #[serde(default)]
    pub is_partial: bool,
    /// What was left out, and labels that may not be as people mean them.
    #[serde(default)]
    pub survey: Survey,
    /// Files of the table, in the order of their rows.
    pub parts: Vec<Part>,
    /// Where the time went.
    pub timings: Timings,
}

impl Manifest {
    /// Photos that were computed, or failed, in a second; none if all were known from earlier runs.
    pub fn photos_per_second(&self) -> Option<f64> {
        let photos = self.photos.saturating_sub(self.reused) + self.failures;
        (photos > 0).then(|| photos as f64 / self.timings.elapsed.max(1e-9))
    }

    /// That of one of its parts. The others, which may be thousands, are not cloned for it.
    fn of_part(&self, part: Part) -> Manifest {
        Manifest {
            version: self.version.clone(),
            source: self.source.clone(),
            model: self.model.clone(),
            photos: part.rows,
            reused: 0,
            failures: 0,
            is_partial: true,
            survey: self.survey.clone(),
            parts: vec![part],
            timings: self.timings,
        }
    }
}

/// A Parquet file of the table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Its name.
    pub file: String,
    /// Its rows.
    pub rows: usize,
    /// SHA-256 of its content, in hexadecimal: damaged Parquet is refused before it is parsed.
    pub sha256: String,
}

/// Where the time of an extraction went, in seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Timings {
    /// From the first read to the last row.
    pub elapsed: f64,
    /// Waiting for bytes, summed over reads that run at the same time.
    pub read: f64,
    /// Decoding and resizing, summed over threads.
    pub decode: f64,
    /// In the network, summed over threads.
    pub infer: f64,
}

/// The features of photos: a table with the columns `path`, `label` and `features` (with MobileNetV2, 1280 x f32), and what failed.
///
/// ```no_run
/// use fruits_core::{Features, ImageFolder, MobileNetV2};
///
/// # async fn example() -> fruits_core::Result<()> {
/// let photos = ImageFolder::open("data-sample").await?;
/// let features = photos.features(&MobileNetV2::imagenet()?).await?;
/// features.write("features").await?;
///
/// let again = Features::read("features").await?;
/// assert_eq!(again.matrix().dim(), (96, 1280));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Features {
    /// `path` and `label`, rows as in the matrix.
    names: DataFrame,
    matrix: Arc<Array2<f32>>,
    /// Both in one, made when somebody asks: it has the numbers once more.
    table: Arc<OnceLock<DataFrame>>,
    failures: Arc<[Failure]>,
    manifest: Manifest,
}

impl Features {
    /// Puts rows together: those of a table that has the columns it must have.
    pub(crate) fn new(table: DataFrame, failures: Vec<Failure>, manifest: Manifest) -> Result<Self> {
        let (names, matrix) = split(table, manifest.model.features)
            .map_err(|error| Error::from_source(Step::Input, "features", error))?;
        Ok(Self::of(names, matrix, failures, manifest))
    }

    /// Puts `path` and `label` beside as many rows of a matrix.
    fn of(names: DataFrame, matrix: Array2<f32>, failures: Vec<Failure>, manifest: Manifest) -> Self {
        debug_assert_eq!(names.height(), matrix.nrows());
        Features {
            names,
            matrix: Arc::new(matrix),
            table: Arc::default(),
            failures: failures.into(),
            manifest,
        }
    }

    /// Reads what [`write`](Self::write) or `fruits features` wrote. What does not fit into memory can be [scanned](Self::scan).
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if there is no such folder, or no manifest in it; [`ErrorKind::Invalid`] if whatever wrote it did
    /// not finish, or a file is damaged; [`ErrorKind::TooLarge`] if there is not enough memory.
    pub async fn read(location: &str) -> Result<Self> {
        let all = async { FeaturesScan::open(location).await?.read_every(1).await };
        interrupt::race(Step::Read, all).await?
    }

    /// Writes the table to a new folder or prefix: Parquet files in `features/`, which other tools read as one table, and beside them what
    /// failed (`_failures-*.jsonl`), `_manifest.json`, and `_SUCCESS` last.
    ///
    /// # Errors
    /// [`ErrorKind::AlreadyExists`] if the folder is not empty.
    pub async fn write(&self, location: &str) -> Result<()> {
        self.write_with(location, IfExists::Refuse).await
    }

    /// As [`write`](Self::write), with a say in what happens if the folder is not empty.
    ///
    /// # Errors
    /// [`ErrorKind::AlreadyExists`] as [`IfExists`] says.
    pub async fn write_with(&self, location: &str, if_exists: IfExists) -> Result<()> {
        let mut writer = FeaturesWriter::begin(store::open(location)?, if_exists).await?;
        for first in (0..self.len()).step_by(ROWS_PER_PART) {
            let push = writer.push(self.some(first, ROWS_PER_PART));
            let pushed = interrupt::race(Step::Write, push).await.flatten();
            writer.run().or_release(pushed).await?;
        }
        writer.finish(&self.failures, self.manifest.clone()).await?;
        Ok(())
    }

    /// The table: `path` (str), `label` (str), `features` (list of f32, with MobileNetV2 1280). It is made by the first call, and takes as
    /// much memory again as the [matrix](Self::matrix).
    pub fn table(&self) -> &DataFrame {
        self.table.get_or_init(|| self.some(0, self.len()))
    }

    /// So many rows of the table, or those that there are.
    pub(crate) fn some(&self, first: usize, rows: usize) -> DataFrame {
        let mut table = self.names.slice(first as i64, rows);
        let matrix = self.matrix.slice(s![first..first + table.height(), ..]);
        table
            .with_column(table::vectors::<Float32Type>("features", matrix))
            .expect("a row of the matrix for each name");
        table
    }

    /// The rows as [`FeaturesScan::parts`] gives them, a part of a file's size at a time; of no rows, one part without any.
    pub(crate) fn parts(&self) -> impl Iterator<Item = Features> + Send + '_ {
        (0..self.len().max(1)).step_by(ROWS_PER_PART).map(|first| {
            let names = self.names.slice(first as i64, ROWS_PER_PART);
            let matrix = self.matrix.slice(s![first..first + names.height(), ..]).to_owned();
            Self::of(names, matrix, Vec::new(), self.manifest.clone())
        })
    }

    /// The features, with MobileNetV2 `n x 1280`, rows as in the table.
    pub fn matrix(&self) -> &Array2<f32> {
        &self.matrix
    }

    /// The paths of the photos, rows as in the table.
    pub fn paths(&self) -> Vec<String> {
        owned(self.path_column())
    }

    /// The paths below the source, for people to read.
    pub(crate) fn short_paths(&self) -> Vec<&str> {
        let source = self.manifest.source.as_str();
        let below = |path| str::strip_prefix(path, source).unwrap_or(path).trim_start_matches('/');
        self.path_column().into_iter().map(below).collect()
    }

    /// The labels of the photos, rows as in the table.
    pub fn labels(&self) -> Vec<String> {
        owned(self.label_column())
    }

    pub(crate) fn path_column(&self) -> Vec<&str> {
        self.strings("path")
    }

    pub(crate) fn label_column(&self) -> Vec<&str> {
        self.strings("label")
    }

    /// Some of the rows, in the order in which they are given: a sample, or the photos that a PCA shall not see.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if there is no such row.
    pub fn take(&self, rows: &[usize]) -> Result<Self> {
        if let Some(row) = rows.iter().find(|row| **row >= self.len()) {
            let message = format!("no row {row} in {}", self.len());
            return Err(Error::new(ErrorKind::Invalid, Step::Input, "features", message));
        }
        let (labels, paths) = (self.label_column(), self.path_column());
        let labels: Vec<&str> = rows.iter().map(|row| labels[*row]).collect();
        let paths: Vec<&str> = rows.iter().map(|row| paths[*row]).collect();
        let matrix = self.matrix.select(Axis(0), rows);
        let manifest = Manifest {
            photos: rows.len(),
            is_partial: true,
            ..self.manifest.clone()
        };
        Ok(Self::of(
            names(&paths, &labels),
            matrix,
            self.failures.to_vec(),
            manifest,
        ))
    }

    /// The rows of which something holds, told by path and label.
    ///
    /// ```no_run
    /// # use fruits_core::Features;
    /// # fn example(features: Features) {
    /// let red = features.filter(|_, label| label == "Apple Red");
    /// let test = features.filter(|path, _| path.contains("/Test/"));
    /// # }
    /// ```
    pub fn filter(&self, is_wanted: impl Fn(&str, &str) -> bool) -> Self {
        let rows: Vec<usize> = (self.path_column().into_iter().zip(self.label_column()).enumerate())
            .filter(|(_, (path, label))| is_wanted(path, label))
            .map(|(row, _)| row)
            .collect();
        self.take(&rows).expect("there are these rows")
    }

    /// The same photos with other numbers, a row each, such as coordinates along components.
    pub(crate) fn with_matrix(&self, matrix: &Array2<f32>) -> Result<Self> {
        let mut manifest = self.manifest.clone();
        manifest.model.features = matrix.ncols();
        if matrix.nrows() != self.len() {
            let message = format!("{} rows for {} photos", matrix.nrows(), self.len());
            return Err(Error::new(ErrorKind::Invalid, Step::Input, "features", message));
        }
        let failures = self.failures.to_vec();
        Ok(Self::of(self.names.clone(), matrix.clone(), failures, manifest))
    }

    /// The same photos, labelled by variety: without a number at the label's end, so that `Apple Golden 1` and `Apple Golden 2`, two pieces of
    /// fruit, are both `Apple Golden`.
    pub fn varieties(&self) -> Self {
        let variety = |label: &str| {
            let name = label
                .trim_end_matches(|letter: char| letter.is_ascii_digit())
                .trim_end_matches([' ', '-', '_']);
            // A label that is nothing but a number is a name.
            if name.is_empty() {
                label.to_owned()
            } else {
                name.to_owned()
            }
        };
        let labels: Vec<String> = self.label_column().into_iter().map(variety).collect();
        let mut names = self.names.clone();
        names
            .with_column(Column::new("label".into(), labels))
            .expect("a label for each row");
        Features {
            names,
            table: Arc::default(),
            ..self.clone()
        }
    }

    /// How far each photo is from the mean of its label, the farthest first: `path`, `label` and `distance` (Euclidean, between features).
    pub fn outliers_table(&self) -> DataFrame {
        let distances = self.distances_to_label_mean();
        let mut rows: Vec<usize> = (0..self.len()).collect();
        rows.sort_by(|&a, &b| distances[b].total_cmp(&distances[a]));
        let (paths, labels) = (self.path_column(), self.label_column());
        let pick = |names: &[&str]| rows.iter().map(|&row| names[row].to_owned()).collect::<Vec<_>>();
        let distances: Vec<f32> = rows.iter().map(|&row| distances[row]).collect();
        let columns = vec![
            Column::new("path".into(), pick(&paths)),
            Column::new("label".into(), pick(&labels)),
            Column::new("distance".into(), distances),
        ];
        DataFrame::new(rows.len(), columns).expect("three columns of one length")
    }

    /// Euclidean distance of each photo's features to the mean of its label.
    pub(crate) fn distances_to_label_mean(&self) -> Array1<f32> {
        let mut distances = Array1::zeros(self.len());
        for photos in self.by_label().into_values() {
            let rows = self.matrix().select(Axis(0), &photos);
            let Some(mean) = rows.mean_axis(Axis(0)) else { continue };
            for (row, photo) in rows.rows().into_iter().zip(photos) {
                distances[photo] = (&row - &mean).mapv(|x| x * x).sum().sqrt();
            }
        }
        distances
    }

    /// The rows of each label, labels in the order of their names.
    pub fn by_label(&self) -> BTreeMap<&str, Vec<usize>> {
        folder::by_label(self.label_column().into_iter())
    }

    /// The photos that failed.
    pub fn failures(&self) -> &[Failure] {
        &self.failures
    }

    /// The photos that failed, as a table: `path`, `step`, `message`.
    pub fn failures_table(&self) -> DataFrame {
        let column = |name: &str, field: fn(&Failure) -> &str| {
            Column::new(name.into(), self.failures.iter().map(field).collect::<Vec<_>>())
        };
        DataFrame::new_infer_height(vec![
            column("path", |failure| &failure.path),
            column("step", |failure| &failure.step),
            column("message", |failure| &failure.message),
        ])
        .expect("three columns of one length")
    }

    /// Where the features come from and what made them.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Number of photos that have features.
    pub fn len(&self) -> usize {
        self.matrix.nrows()
    }

    /// Whether no photo has features.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn strings(&self, name: &str) -> Vec<&str> {
        let column = self.names.column(name).and_then(|column| column.str());
        column
            .expect("checked when the table was made")
            .no_null_iter()
            .collect()
    }
}

fn owned(names: Vec<&str>) -> Vec<String> {
    names.into_iter().map(str::to_owned).collect()
}

/// The names and the matrix of a table that has the columns it must have.
fn split(table: DataFrame, width: usize) -> PolarsResult<(DataFrame, Array2<f32>)> {
    let mut names = table.select(["path", "label"])?;
    for column in names.columns() {
        polars_ensure!(column.str()?.null_count() == 0, ComputeError: "a row of {} is null", column.name());
    }
    names.rechunk_mut();
    let matrix = table::matrix::<Float32Type>(table.column("features")?, Some(width))?;
    Ok((names, matrix))
}

fn names(paths: &[&str], labels: &[&str]) -> DataFrame {
    let columns = vec![Column::new("path".into(), paths), Column::new("label".into(), labels)];
    DataFrame::new(paths.len(), columns).expect("a label for each path")
}

/// Some rows of the table.
pub(crate) fn rows(paths: &[&str], labels: &[&str], features: &Array2<f32>) -> Result<DataFrame> {
    DataFrame::new(
        paths.len(),
        vec![
            Column::new("path".into(), paths),
            Column::new("label".into(), labels),
            table::vectors::<Float32Type>("features", features.view()),
        ],
    )
    .map_err(|error| Error::from_source(Step::Infer, "features", error))
}

/// The features in one part of a table, `n x width`.
pub(crate) async fn read_part(store: &dyn Store, part: &Part, width: usize) -> Result<Array2<f32>> {
    Ok(parts::read_rows(store, part, width).await?.1)
}

/// The rows in one part of a table, as they are in it.
pub(crate) async fn read_part_table(store: &dyn Store, part: &Part) -> Result<DataFrame> {
    parts::read(store, part).await
}

/// What a finished output says of itself.
pub(crate) async fn manifest(store: &dyn Store) -> Result<Manifest> {
    Ok(open(store).await?.about)
}

async fn open(store: &dyn Store) -> Result<Finished<Manifest>> {
    let finished: Finished<Manifest> = match output::open(store).await {
        Ok(finished) => finished,
        Err(error) => return Err(holds::explain(store, Wanted::Features, error).await),
    };
    let features = finished.about.model.features;
    if !(1..=MAX_FEATURES).contains(&features) {
        let message = format!("damaged: it speaks of {features} features a photo");
        return Err(Error::new(ErrorKind::Invalid, Step::Read, store.uri(""), message));
    }
    Ok(finished)
}

async fn read_failures(store: &dyn Store, finished: &Finished<Manifest>) -> Result<Vec<Failure>> {
    let lines: Bytes = finished.read(store, FAILURES, EARLIER_FAILURES).await?;
    serde_json::Deserializer::from_slice(&lines)
        .into_iter()
        .collect::<Result<_, _>>()
        .map_err(|error| Error::from_source(Step::Read, store.uri(FAILURES), error))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Features as they are read from an output.
    pub(crate) fn features(paths: &[String], labels: &[String], matrix: &Array2<f32>) -> Features {
        let manifest = Manifest {
            version: String::new(),
            source: "/none".to_owned(),
            model: Model {
                name: String::new(),
                weights_sha256: String::new(),
                preprocessing: String::new(),
                decoding: Default::default(),
                views: Default::default(),
                texture: false,
                side: 1,
                features: matrix.ncols(),
            },
            photos: paths.len(),
            reused: 0,
            failures: 0,
            is_partial: false,
            survey: Default::default(),
            parts: Vec::new(),
            timings: Default::default(),
        };
        fn names(names: &[String]) -> Vec<&str> {
            names.iter().map(String::as_str).collect()
        }
        let table = rows(&names(paths), &names(labels), matrix).unwrap();
        Features::new(table, Vec::new(), manifest).unwrap()
    }

    /// Writes features in parts of so many rows.
    pub(crate) async fn write_in_parts(features: &Features, location: &str, rows: usize) {
        let store = store::open(location).unwrap();
        let mut writer = FeaturesWriter::begin(store, IfExists::Refuse).await.unwrap();
        for first in (0..features.len()).step_by(rows) {
            writer.push(features.some(first, rows)).await.unwrap();
        }
        let finished = writer.finish(features.failures(), features.manifest().clone());
        finished.await.unwrap();
    }

    #[test]
    fn the_table_has_the_rows_of_the_matrix() {
        let names = |names: [&str; 3]| names.map(str::to_owned);
        let matrix = ndarray::array![[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]];
        let features = features(&names(["a", "b", "c"]), &names(["Kiwi 1", "Kiwi 2", "Lemon"]), &matrix);
        let table = features.table();
        assert_eq!(
            table,
            &rows(&["a", "b", "c"], &["Kiwi 1", "Kiwi 2", "Lemon"], &matrix).unwrap()
        );
        let again = Features::new(table.clone(), Vec::new(), features.manifest().clone()).unwrap();
        assert_eq!(again.matrix(), features.matrix());
        // A table that was asked for before is not that of what was made of it.
        assert_eq!(features.varieties().label_column(), ["Kiwi", "Kiwi", "Lemon"]);
        let varieties = features.varieties();
        let labels = varieties.table().column("label").unwrap().str().unwrap();
        assert_eq!(labels.no_null_iter().collect::<Vec<_>>(), ["Kiwi", "Kiwi", "Lemon"]);
        assert_eq!(
            features.take(&[2]).unwrap().table(),
            &rows(&["c"], &["Lemon"], &ndarray::array![[5.0, 6.0]]).unwrap()
        );
    }

    #[tokio::test]
    async fn what_is_read_is_what_was_written() {
        let root = tempfile::tempdir().unwrap();
        let location = root.path().to_str().unwrap();
        let paths: Vec<String> = (0..10).map(|row| format!("/none/{row}")).collect();
        let features = features(
            &paths,
            &paths,
            &Array2::from_shape_fn((10, 3), |(i, j)| (i * 3 + j) as f32),
        );
        write_in_parts(&features, location, 4).await;
        let read = Features::read(location).await.unwrap();
        assert_eq!((read.matrix(), read.table()), (features.matrix(), features.table()));
        // A sample has every second row, every third and so on, over the ends of parts.
        let scan = Features::scan(location).await.unwrap();
        for (most, rows) in [
            (10, (0..10).collect()),
            (9, vec![0, 2, 4, 6, 8]),
            (4, vec![0, 3, 6, 9]),
            (1, vec![0]),
        ] {
            let sample = scan.sample(most).await.unwrap();
            assert_eq!(sample.table(), features.take(&rows).unwrap().table());
            assert_eq!(
                (sample.manifest().photos, sample.manifest().is_partial),
                (rows.len(), most < 10)
            );
        }
        assert_eq!(scan.sample(0).await.unwrap_err().kind(), ErrorKind::Invalid);
        // A manifest that promises more is refused before there is memory for it.
        let manifest = std::fs::read_to_string(root.path().join(output::MANIFEST)).unwrap();
        let more = manifest.replace("\"photos\": 10", "\"photos\": 1000000000000000000");
        assert_ne!(more, manifest);
        std::fs::write(root.path().join(output::MANIFEST), more).unwrap();
        assert_eq!(Features::read(location).await.unwrap_err().kind(), ErrorKind::Invalid);
    }
}
