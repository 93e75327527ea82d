//! A PCA as a folder: tables for people, and all numbers for reading it back.

use bytes::Bytes;
use futures::stream::{self, Stream, TryStreamExt};
use ndarray::Array1;
use polars::prelude::*;
use serde::{Deserialize, Serialize};

use super::Pca;
use crate::error::{Error, Result, Step};
use crate::features::{Features, FeaturesScan};
use crate::holds::{self, Wanted};
use crate::interrupt;
use crate::output::{self, IfExists, Kind, Run};
use crate::store::{self, Store};
use crate::table;
use crate::tensors::{self, Tensor, Tensors};

const COMPONENTS: (&str, &str) = ("components/part-00000-00000", ".parquet");
/// Its parts are numbered.
const PROJECTION: (&str, &str) = ("projection/part-00000-", ".parquet");
const STATE: (&str, &str) = ("_pca", ".safetensors");
/// Its name before it carried a run.
const EARLIER_STATE: &str = "pca.safetensors";

/// An output of a PCA.
static KIND: Kind = Kind {
    files: &[
        ("components/part-", ".parquet"),
        ("projection/part-", ".parquet"),
        STATE,
    ],
    is_earlier: |key| matches!(key, EARLIER_STATE | "components.parquet" | "projection.parquet"),
};

/// What is no array.
#[derive(Serialize, Deserialize)]
struct Manifest {
    version: String,
    n: usize,
    centre_projection: bool,
}

impl Pca {
    /// The kept components as a table: `component` (from 1), `explained_variance`, `explained_variance_ratio`,
    /// `cumulative_ratio` and `vector` (list of f64).
    pub fn components_table(&self) -> DataFrame {
        let kept = self.components.nrows();
        let column = |name: &str, values: &Array1<f64>| Column::new(name.into(), &values.to_vec()[..kept]);
        DataFrame::new(
            kept,
            vec![
                Column::new("component".into(), (1..=kept as u32).collect::<Vec<_>>()),
                column("explained_variance", &self.explained_variance),
                column("explained_variance_ratio", &self.explained_variance_ratio()),
                column("cumulative_ratio", &self.cumulative_ratio()),
                table::vectors::<Float64Type>("vector", self.components.view()),
            ],
        )
        .expect("five columns of one length")
    }

    /// The coordinates of photos as a table: `path`, `label` and `projection` (list of f64).
    ///
    /// # Errors
    /// As [`project`](Pca::project).
    pub fn projection_table(&self, features: &Features) -> Result<DataFrame> {
        let projection = self.project_features(features)?;
        let columns = vec![
            Column::new("path".into(), features.path_column()),
            Column::new("label".into(), features.label_column()),
            table::vectors::<Float64Type>("projection", projection.view()),
        ];
        DataFrame::new(features.len(), columns).map_err(|error| Error::from_source(Step::Pca, "projection", error))
    }

    /// Writes the PCA, and the coordinates of `features`, to a folder: the tables `components` and `projection` (see
    /// [`components_table`](Self::components_table) and [`projection_table`](Self::projection_table)), each a folder that other tools read
    /// as one table, and `_pca-*.safetensors`.
    ///
    /// # Errors
    /// [`ErrorKind::AlreadyExists`](crate::ErrorKind::AlreadyExists) as `if_exists` says; as [`project`](Pca::project).
    pub async fn write(&self, location: &str, features: &Features, if_exists: IfExists) -> Result<()> {
        self.check_width(features.manifest().model.features)?;
        self.write_parts(location, stream::iter(features.parts().map(Ok)), if_exists)
            .await
    }

    /// As [`write`](Self::write), with the coordinates of features that lie at a location: they are read, projected and written part by part.
    ///
    /// # Errors
    /// As [`write`](Self::write); about the file, if one of the features is missing or damaged. Then nothing is left at the location.
    pub async fn write_scan(&self, location: &str, scan: &FeaturesScan, if_exists: IfExists) -> Result<()> {
        self.check_width(scan.manifest().model.features)?;
        self.write_parts(location, scan.parts(), if_exists).await
    }

    async fn write_parts(
        &self,
        location: &str,
        parts: impl Stream<Item = Result<Features>>,
        if_exists: IfExists,
    ) -> Result<()> {
        let mut run = Run::begin(store::open(location)?, &KIND, if_exists).await?;
        let put = interrupt::race(Step::Write, self.put_files(&mut run, parts)).await;
        if let Err(error) = put.flatten() {
            // Nothing of it is worth resuming.
            run.discard().await;
            return Err(error);
        }
        let manifest = Manifest {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            n: self.n,
            centre_projection: self.centre_projection,
        };
        run.finish(&manifest).await
    }

    async fn put_files(&self, run: &mut Run, parts: impl Stream<Item = Result<Features>>) -> Result<()> {
        let name = |run: &Run, (begin, end): (&str, &str), number: &str| format!("{begin}{number}-{}{end}", run.id());
        let mut number = 0;
        let mut parts = std::pin::pin!(parts);
        while let Some(part) = parts.try_next().await? {
            let name = name(run, PROJECTION, &format!("{number:05}"));
            let table = self.projection_table(&part)?;
            drop(part);
            let file = table::to_parquet(&table, &run.store().uri(&name))?;
            drop(table);
            run.put(&name, file).await?;
            number += 1;
        }
        let components = name(run, COMPONENTS, "");
        let table = table::to_parquet(&self.components_table(), &run.store().uri(&components))?;
        run.put(&components, table).await?;
        let state = name(run, STATE, "");
        let tensors = self.state(&run.store().uri(&state))?;
        run.put(&state, tensors).await
    }

    /// Reads what [`write`](Self::write) or `fruits pca` wrote.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) if there is no such folder, or no manifest in it; [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if whatever wrote it did
    /// not finish, or a file is damaged.
    pub async fn read(location: &str) -> Result<Self> {
        interrupt::race(Step::Read, Self::read_from(&*store::open(location)?)).await?
    }

    async fn read_from(store: &dyn Store) -> Result<Self> {
        let finished = match output::open::<Manifest>(store).await {
            Ok(finished) => finished,
            Err(error) => return Err(holds::explain(store, Wanted::Pca, error).await),
        };
        let uri = store.uri(STATE.0);
        let file = finished.read(store, STATE.0, EARLIER_STATE).await?;
        let manifest = finished.about;
        let state = Tensors::read(&file, &uri)?;
        let mean = state.vector("mean")?;
        let explained_variance = state.vector("explained_variance")?;
        let total_variance = state.vector("total_variance")?;
        let components = state.matrix("components", mean.len())?;
        let (kept, scale) = (components.nrows(), state.optional("scale"));
        let fits = kept > 0
            && kept <= explained_variance.len()
            && total_variance.len() == 1
            && scale.as_ref().is_none_or(|scale| scale.len() == mean.len());
        if !fits {
            return Err(state.damaged("a tensor of the right shape"));
        }
        Ok(Pca {
            n: manifest.n,
            mean,
            scale,
            components,
            explained_variance,
            total_variance: total_variance[0],
            centre_projection: manifest.centre_projection,
        })
    }

    /// All numbers, bit for bit, as a safetensors file.
    fn state(&self, uri: &str) -> Result<Bytes> {
        let total = Array1::from_elem(1, self.total_variance);
        let mut tensors = vec![
            Tensor::new("mean", self.mean.view()),
            Tensor::new("explained_variance", self.explained_variance.view()),
            Tensor::new("total_variance", total.view()),
            Tensor::new("components", self.components.view()),
        ];
        if let Some(scale) = &self.scale {
            tensors.push(Tensor::new("scale", scale.view()));
        }
        tensors::to_file(&tensors, uri)
    }
}
