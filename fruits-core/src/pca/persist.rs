//! A PCA as a folder: `components.parquet`, `projection.parquet`, the manifest, and `_SUCCESS` last.

use ndarray::{Array1, Array2};
use polars::prelude::*;
use serde::{Deserialize, Serialize};

use super::Pca;
use crate::error::{Error, ErrorKind, Result, Step};
use crate::features::Features;
use crate::output::{self, IfExists};
use crate::{store, table};

const COMPONENTS: &str = "components.parquet";
const PROJECTION: &str = "projection.parquet";

/// What the tables do not hold.
#[derive(Serialize, Deserialize)]
struct Manifest {
    version: String,
    n: usize,
    total_variance: f64,
    centre_projection: bool,
    mean: Vec<f64>,
    scale: Option<Vec<f64>>,
    explained_variance: Vec<f64>,
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
                table::vectors::<Float64Type>("vector", &self.components),
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
            Column::new("path".into(), features.paths()),
            Column::new("label".into(), features.labels()),
            table::vectors::<Float64Type>("projection", &projection),
        ];
        DataFrame::new(features.len(), columns).map_err(|error| Error::from_source(Step::Pca, "projection", error))
    }

    /// Writes the PCA, and the coordinates of `features`, to a folder.
    ///
    /// # Errors
    /// [`ErrorKind::AlreadyExists`] as `if_exists` says; as [`project`](Pca::project).
    pub async fn write(&self, location: &str, features: &Features, if_exists: IfExists) -> Result<()> {
        let store = store::open(location)?;
        let tables = [
            (COMPONENTS, self.components_table()),
            (PROJECTION, self.projection_table(features)?),
        ];
        output::begin(&*store, if_exists).await?;
        for (key, mut table) in tables {
            let file = table::to_parquet(&mut table, &store.uri(key))?;
            store.put(key, file).await?;
        }
        let manifest = Manifest {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            n: self.n,
            total_variance: self.total_variance,
            centre_projection: self.centre_projection,
            mean: self.mean.to_vec(),
            scale: self.scale.as_ref().map(|scale| scale.to_vec()),
            explained_variance: self.explained_variance.to_vec(),
        };
        output::finish(&*store, &manifest).await
    }

    /// Reads what [`write`](Self::write) or `fruits pca` wrote.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if there is no such folder, or no manifest in it; [`ErrorKind::Invalid`] if whatever wrote it did
    /// not finish, or a file is damaged.
    pub async fn read(location: &str) -> Result<Self> {
        let store = store::open(location)?;
        let manifest: Manifest = output::manifest(&*store).await?;
        let uri = store.uri(COMPONENTS);
        let table = table::from_parquet(store.get(COMPONENTS, output::MAX_FILE).await?, &uri)?;
        let components: Array2<f64> = table
            .column("vector")
            .and_then(|column| table::matrix::<Float64Type>(column, Some(manifest.mean.len())))
            .map_err(|error| Error::from_source(Step::Read, &uri, error))?;
        if components.nrows() > manifest.explained_variance.len() || components.is_empty() {
            let message = "the components do not go with the manifest";
            return Err(Error::new(ErrorKind::Invalid, Step::Read, uri, message));
        }
        Ok(Pca {
            n: manifest.n,
            mean: manifest.mean.into(),
            scale: manifest.scale.map(Array1::from),
            components,
            explained_variance: manifest.explained_variance.into(),
            total_variance: manifest.total_variance,
            centre_projection: manifest.centre_projection,
        })
    }
}
