//! What is to be shown of photos, and how they can be coloured, before it is drawn.

use std::collections::HashSet;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ndarray::{Array2, ArrayView2, Axis};
use polars::prelude::DataFrame;
use serde_json::{Value, json};

use super::columns::Colouring;
use super::thumbnails::thumbnails;
use super::{Explorer, page};
use crate::error::{Error, ErrorKind, Result, Step};
use crate::features::Features;
use crate::figure::palette;
use crate::folder::spread;
use crate::interrupt;
use crate::map::Map;
use crate::pca::Pca;

/// Photos that are shown at most.
const MAX_PHOTOS: usize = 200_000;
/// Components to choose from.
const AXES: usize = 10;
/// Neighbours of a photo, and photos for which they are looked for; of more, those that a map has found are shown.
const NEIGHBOURS: usize = 10;
const MAX_SEARCHED: usize = 5_000;
/// What features are called in the lines to paste into a cell.
const NAME: &str = "features";

/// Photos that are going to be looked around in, from one side or several: begun by [`Features::explore`].
///
/// Views stand side by side and are linked: a photo that is chosen in one is chosen in all.
///
/// ```no_run
/// use fruits_core::{Features, Pca};
///
/// # async fn example() -> fruits_core::Result<()> {
/// let features = Features::read("features").await?;
/// let (pca, map) = (Pca::fit(&features)?, features.map()?);
/// let both = features.explore().pca(&pca)?.map(&map)?.columns(&features.kmeans(6)?)?;
/// both.draw().await?.write("explorer.html").await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Exploration {
    features: Features,
    shown: Vec<usize>,
    views: Vec<View>,
    columns: Vec<Colouring>,
    /// Of each photo shown so many, the nearest first.
    neighbours: Option<(usize, Vec<u32>)>,
}

#[derive(Debug, Clone)]
struct View {
    name: &'static str,
    axes: Vec<String>,
    /// `shown x axes`; not a number for photos that are not in the view.
    at: Array2<f32>,
    /// Whether its axes mean nothing.
    is_map: bool,
}

impl Features {
    /// The photos to look around in, from the sides that are added: see [`Exploration`]. Of more than 200,000 photos so many are shown, evenly spread.
    pub fn explore(&self) -> Exploration {
        Exploration::new(self, spread(self.len(), MAX_PHOTOS))
    }
}

impl Pca {
    /// The photos along the first components (ten at most), to look around in, with thumbnails. Photos are read where they lie; those that are gone are
    /// grey. Of more than 200,000 photos so many are shown, evenly spread.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if there is no photo or the features are not of the PCA's kind.
    pub async fn explore(&self, features: &Features) -> Result<Explorer> {
        features.explore().pca(self)?.draw().await
    }
}

impl Map {
    /// The photos on the map, to look around in, with thumbnails. Of more than 200,000 photos so many are shown, evenly spread.
    ///
    /// # Errors
    /// As [`Pca::explore`].
    pub async fn explore(&self) -> Result<Explorer> {
        self.features().explore().map(self)?.draw().await
    }
}

impl Exploration {
    pub(in crate::figure) fn new(features: &Features, shown: Vec<usize>) -> Self {
        let labels = features.label_column();
        let labels: Vec<&str> = shown.iter().map(|&photo| labels[photo]).collect();
        Exploration {
            columns: vec![Colouring::of_names("label", &labels)],
            features: features.clone(),
            shown,
            views: Vec::new(),
            neighbours: None,
        }
    }

    /// The photos along the first ten components.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if the features are not of the PCA's kind.
    pub fn pca(self, pca: &Pca) -> Result<Self> {
        let rows = self.features.take(&self.shown)?;
        let projection = pca.project_features(&rows)?;
        let axes = projection.ncols().min(AXES);
        let ratios = pca.explained_variance_ratio();
        let axis = |i: usize| format!("PC{} ({:.1} %)", i + 1, 100.0 * ratios[i]);
        let names = (0..axes).map(axis).collect();
        Ok(self.view("PCA", names, projection.view(), false))
    }

    /// The photos on a map of the same photos.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if the map is one of other photos.
    pub fn map(mut self, map: &Map) -> Result<Self> {
        if map.features().path_column() != self.features.path_column() {
            let message = "it is a map of other photos, or they come in another order";
            return Err(Error::new(ErrorKind::Invalid, Step::Draw, "map", message));
        }
        if self.is_whole() {
            self.neighbours = Some(map.neighbours(NEIGHBOURS));
        }
        let points = map.points().select(Axis(0), &self.shown);
        let axes = vec!["across".to_owned(), "up".to_owned()];
        Ok(self.view("Map", axes, points.view(), true))
    }

    /// Adds columns of a table that has a `path` for each row, such as those of [`Features::kmeans`] or
    /// [`outliers_table`](Features::outliers_table): photos can be coloured by them. Columns of lists are left out, and those of more than a thousand
    /// different texts; a column takes the place of an earlier one of its name.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if the table has no column `path`.
    pub fn columns(mut self, table: &DataFrame) -> Result<Self> {
        let paths = self.features.path_column();
        let paths: Vec<&str> = self.shown.iter().map(|&photo| paths[photo]).collect();
        let mut new = Colouring::of_table(table, &paths)?;
        new.retain(|column| column.name != "label");
        let names: HashSet<&str> = new.iter().map(|column| column.name.as_str()).collect();
        self.columns.retain(|column| !names.contains(column.name.as_str()));
        self.columns.extend(new);
        Ok(self)
    }

    pub(in crate::figure) fn view(
        mut self,
        name: &'static str,
        axes: Vec<String>,
        at: ArrayView2<f64>,
        is_map: bool,
    ) -> Self {
        let at = Array2::from_shape_fn((at.nrows(), axes.len()), |place| at[place] as f32);
        self.views.push(View { name, axes, at, is_map });
        self
    }

    /// The photos that are shown, as rows of the features.
    pub(in crate::figure) fn shown(&self) -> &[usize] {
        &self.shown
    }

    pub(in crate::figure) fn features(&self) -> &Features {
        &self.features
    }

    fn is_whole(&self) -> bool {
        self.shown.len() == self.features.len()
    }

    /// Reads the photos and makes the page. A photo that is gone, or that does not come within ten seconds, is grey and counted.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if there is no photo, nothing to show them by, or a feature is not a finite number.
    pub async fn draw(mut self) -> Result<Explorer> {
        let invalid = |message: &str| Err(Error::new(ErrorKind::Invalid, Step::Draw, "explorer", message));
        if self.shown.is_empty() {
            return invalid("there is no photo");
        }
        if self.views.is_empty() {
            return invalid("there is nothing to show the photos by: add .pca(&pca)? or .map(&map)?");
        }
        if self.neighbours.is_none() && self.is_whole() && (2..=MAX_SEARCHED).contains(&self.shown.len()) {
            let count = NEIGHBOURS.min(self.shown.len() - 1);
            let found = self.features.neighbours(count)?;
            let of = |row: usize| found.of(row).into_iter().map(|near| near as u32);
            self.neighbours = Some((count, (0..self.shown.len()).flat_map(of).collect()));
        }
        let data = self.json().await?;
        Ok(page(&data, self.description()))
    }

    fn description(&self) -> String {
        let photos = match self.is_whole() {
            true => self.shown.len().to_string(),
            false => format!("{} of {}", self.shown.len(), self.features.len()),
        };
        let views: Vec<&str> = self.views.iter().map(|view| view.name).collect();
        let labels = self.columns[0].len();
        format!(
            "Interactive scatter plot of {photos} photos with {labels} labels: {}",
            views.join(", ")
        )
    }

    async fn json(&self) -> Result<Value> {
        let of_shown = |all: Vec<&str>| {
            self.shown
                .iter()
                .map(|&photo| all[photo].to_owned())
                .collect::<Vec<_>>()
        };
        let (short, paths) = (of_shown(self.features.short_paths()), self.features.path_column());
        let paths: Vec<&str> = self.shown.iter().map(|&photo| paths[photo]).collect();
        let root = paths[0].strip_suffix(short[0].as_str()).unwrap_or_default();
        let views = self.views.iter().map(|view| {
            let floats: Vec<u8> = view.at.t().iter().copied().flat_map(f32::to_le_bytes).collect();
            json!({ "name": view.name, "axes": view.axes, "at": BASE64_STANDARD.encode(floats), "isMap": view.is_map })
        });
        let neighbours = self.neighbours.as_ref().map(|(count, of)| {
            let of: Vec<u8> = of.iter().copied().flat_map(u32::to_le_bytes).collect();
            json!({ "count": count, "of": BASE64_STANDARD.encode(of) })
        });
        Ok(json!({
            "n": self.shown.len(),
            "of": self.features.len(),
            "name": NAME,
            "rows": (!self.is_whole()).then_some(&self.shown),
            "path": short,
            "root": root,
            "views": views.collect::<Vec<_>>(),
            "columns": self.columns.iter().map(Colouring::json).collect::<Vec<_>>(),
            "marks": palette::json(),
            "neighbours": neighbours,
            "thumbnails": interrupt::race(Step::Draw, thumbnails(&self.features.manifest().source, &paths)).await??,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::tests::features;

    fn photos(n: usize) -> Features {
        let paths: Vec<String> = (0..n).map(|row| format!("/none/{}/{row}.jpg", row % 3)).collect();
        let labels: Vec<String> = (0..n).map(|row| format!("</script>{}", row % 3)).collect();
        let matrix = Array2::from_shape_fn((n, 8), |(row, column)| {
            let centre = if row % 3 == column { 9.0 } else { 0.0 };
            centre + (row * (column + 3) % 7) as f32
        });
        features(&paths, &labels, &matrix)
    }

    fn data(explorer: &Explorer) -> Value {
        let page = explorer.html();
        let start = page.find("application/json\">").unwrap() + "application/json\">".len();
        serde_json::from_str(&page[start..][..page[start..].find("</script>").unwrap()]).unwrap()
    }

    #[tokio::test]
    async fn views_and_columns_are_in_the_page() {
        let photos = photos(45);
        let (pca, map) = (Pca::fit(&photos).unwrap(), photos.map().unwrap());
        let views = photos.explore().pca(&pca).unwrap().map(&map).unwrap();
        let views = views.diffusion_map().await.unwrap();
        let columns = views.columns(&photos.kmeans(3).unwrap()).unwrap();
        let columns = columns.columns(&photos.outliers_table()).unwrap();
        let explorer = columns.draw().await.unwrap();
        let data = data(&explorer);
        let names = |of: &str| -> Vec<String> {
            let all = data[of].as_array().unwrap().iter();
            all.map(|one| one["name"].as_str().unwrap().to_owned()).collect()
        };
        assert_eq!(names("views"), ["PCA", "Map", "Diffusion map"]);
        assert_eq!(names("columns"), ["label", "cluster", "distance"], "one of each name");
        assert_eq!(
            (&data["n"], &data["of"], &data["rows"]),
            (&45.into(), &45.into(), &Value::Null)
        );
        assert_eq!(data["neighbours"]["count"], 10);
        assert_eq!(data["thumbnails"]["missing"], 45);
        assert_eq!(data["columns"][0]["names"][0], "</script>0", "a name ends no script");
        assert!(
            explorer
                .description()
                .ends_with("45 photos with 3 labels: PCA, Map, Diffusion map")
        );
    }

    #[tokio::test]
    async fn what_cannot_be_shown_is_refused() {
        let few = photos(45);
        let refused = few.explore().draw().await.unwrap_err().to_string();
        assert!(refused.contains("add .pca(&pca)?"), "{refused}");
        let others = photos(60).map().unwrap();
        let refused = few.explore().map(&others).map(|_| ()).unwrap_err().to_string();
        assert!(refused.contains("map of other photos"), "{refused}");
        let none = few.take(&[]).unwrap().explore().draw().await.unwrap_err();
        assert_eq!(none.kind(), ErrorKind::Invalid);
        let one = few.take(&[0]).unwrap();
        let alone = one
            .explore()
            .pca(&Pca::fit(&few).unwrap())
            .unwrap()
            .draw()
            .await
            .unwrap();
        assert_eq!(data(&alone)["neighbours"], Value::Null);
    }

    #[test]
    fn photos_that_are_not_in_a_view_have_no_place_there() {
        let many = Exploration::new(&photos(45), vec![3, 6, 7]);
        assert!(!many.is_whole());
        let at = Array2::from_shape_vec((3, 1), vec![0.5, f64::NAN, 1.5]).unwrap();
        let many = many.view("PCA", vec!["PC1".to_owned()], at.view(), false);
        assert_eq!(
            many.description(),
            "Interactive scatter plot of 3 of 45 photos with 2 labels: PCA"
        );
        assert!(many.views[0].at[(1, 0)].is_nan());
    }
}
