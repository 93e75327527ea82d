//! A map of photos: two dimensions in which like lies beside like.
//!
//! t-SNE ([van der Maaten and Hinton, 2008](https://www.jmlr.org/papers/v9/vandermaaten08a.html)) of the exact nearest neighbours, started from the
//! PCA, as [Kobak and Berens, 2019](https://doi.org/10.1038/s41467-019-13056-x) recommend, with a tree
//! ([van der Maaten, 2014](https://jmlr.org/papers/v15/vandermaaten14a.html)). All of a photo's neighbours count the same, so that nothing has to be
//! searched for each photo. Every sum has one order, so the map is the same with any number of threads and on any processor: a gradient descent
//! makes another picture of a single bit that differs.
//!
//! | file | what it knows |
//! |---|---|
//! | `layout` | the descent |
//! | `tree` | how far away points push |
//! | `unseen` | photos that come later |
//! | `quality` | trustworthiness and continuity |

mod layout;
mod quality;
mod tree;
mod unseen;

use std::fmt;
use std::sync::Arc;

use linfa::DatasetBase;
use linfa::traits::Fit;
use ndarray::{Array2, ArrayView2, Axis};
use polars::prelude::{Column, DataFrame};

use crate::alike::{Metric, nearest_others};
use crate::error::{Error, ErrorKind, Result, Step, counted};
use crate::features::Features;
use crate::folder::spread;
use crate::interrupt;
use crate::pca::Pca;
use layout::Graph;
use quality::Quality;

/// Where a photo is on the map.
type Point = [f32; 2];

/// Neighbours of a photo.
const NEIGHBOURS: usize = 15;
const MIN_PHOTOS: usize = 5;
/// Photos that the components are of, along which the map starts.
const START_PHOTOS: usize = 500;
/// The standard deviation along the first component at the start (Kobak and Berens).
const START_DEVIATION: f64 = 1e-4;
/// Places at the start are multiples of that: the last bits of a PCA depend on the number of threads.
const START_GRID: f64 = 1.0 / (1_u64 << 32) as f64;
/// Photos of which rows are made ready at once.
const ROWS: usize = 1_024;

/// Photos on a map. Made by [`Features::map`].
#[derive(Debug, Clone)]
pub struct Map {
    features: Features,
    points: Arc<[Point]>,
    near: Arc<[Vec<usize>]>,
    quality: Quality,
}

impl Features {
    /// The photos on a map on which those lie beside each other that are alike.
    ///
    /// What lies together is alike. How far islands are from each other, how large and how dense they are, says little; the
    /// [trustworthiness](Map::trustworthiness) says how far neighbours on the map can be believed.
    ///
    /// ```no_run
    /// use fruits_core::Features;
    ///
    /// # async fn example() -> fruits_core::Result<()> {
    /// let features = Features::read("features").await?;
    /// let map = features.map()?;
    /// println!("{map}"); // 3640 photos on a map: trustworthiness 0.999, continuity 0.998 …
    /// map.explore().await?.write("map.html").await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if there are fewer than five photos, all are the same, or a feature is not a finite number.
    pub fn map(&self) -> Result<Map> {
        are_enough(self.len())?;
        let count = count(self.len());
        let neighbours = self.neighbours(count)?;
        let near: Vec<Vec<usize>> = (0..self.len()).map(|row| neighbours.of(row)).collect();
        let points = layout::descend(&Graph::new(&near), start(self.matrix().view())?)?;
        let quality = Quality::of(self.matrix().view(), &points, count)?;
        Ok(Map {
            features: self.clone(),
            points: points.into(),
            near: near.into(),
            quality,
        })
    }
}

/// Where the rows of any matrix lie on a map, `n x 2`: what [`Features::map`] does with features.
///
/// ```
/// use fruits_core::ndarray::Array2;
///
/// let rows = Array2::from_shape_fn((60, 8), |(row, column)| if row % 3 == column { 9.0 } else { (row % 7) as f32 });
/// assert_eq!(fruits_core::map::points(rows.view())?.dim(), (60, 2));
/// # Ok::<(), fruits_core::Error>(())
/// ```
///
/// # Errors
/// As [`Features::map`].
pub fn points(rows: ArrayView2<f32>) -> Result<Array2<f64>> {
    are_enough(rows.nrows())?;
    let near = nearest_others(rows, count(rows.nrows()), Metric::Cosine)?;
    let near: Vec<Vec<usize>> = near
        .iter()
        .map(|near| near.iter().map(|near| near.row).collect())
        .collect();
    Ok(array(&layout::descend(&Graph::new(&near), start(rows)?)?))
}

fn are_enough(photos: usize) -> Result<()> {
    if photos < MIN_PHOTOS {
        let message = format!("{}; it needs {MIN_PHOTOS}", counted(photos, "photo"));
        return Err(Error::new(ErrorKind::Invalid, Step::Draw, "map", message));
    }
    Ok(())
}

/// Neighbours of each of so many photos.
fn count(photos: usize) -> usize {
    NEIGHBOURS.min((photos - 1) / 2)
}

fn array(points: &[Point]) -> Array2<f64> {
    Array2::from_shape_fn((points.len(), 2), |(row, axis)| f64::from(points[row][axis]))
}

/// Where the descent starts: the photos along the first two components of some of them.
fn start(matrix: ArrayView2<f32>) -> Result<Vec<Point>> {
    let some = matrix
        .select(Axis(0), &spread(matrix.nrows(), START_PHOTOS))
        .mapv(f64::from);
    let pca = Pca::params().components(2).fit(&DatasetBase::from(some))?;
    let mut along = Array2::zeros((0, pca.components().nrows()));
    for rows in matrix.axis_chunks_iter(Axis(0), ROWS) {
        interrupt::check(Step::Draw)?;
        let rows = pca.project(rows.mapv(f64::from).view())?;
        along
            .append(Axis(0), rows.view())
            .map_err(|error| Error::from_source(Step::Draw, "map", error))?;
    }
    let deviation = along.columns().into_iter().next().map_or(0.0, |first| first.std(0.0));
    if deviation == 0.0 {
        let message = "all photos are the same";
        return Err(Error::new(ErrorKind::Invalid, Step::Draw, "map", message));
    }
    let place = |along: f64| {
        let place = along / deviation * START_DEVIATION;
        ((place / START_GRID).round() * START_GRID) as f32
    };
    let points = along
        .outer_iter()
        .map(|row| [0, 1].map(|axis| row.get(axis).map_or(0.0, |along| place(*along))));
    Ok(points.collect())
}

impl Map {
    /// The photos that are on it.
    pub fn features(&self) -> &Features {
        &self.features
    }

    /// Where they lie, `n x 2`.
    pub fn points(&self) -> Array2<f64> {
        array(&self.points)
    }

    /// Where other photos lie on this map, `m x 2`: beside the photos that they are like. The map stays as it is.
    ///
    /// ```no_run
    /// # use fruits_core::{Features, Result};
    /// # async fn example(features: Features) -> Result<()> {
    /// let map = features.map()?;
    /// let places = map.place(&Features::read("features-of-today").await?)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Features::search`].
    pub fn place(&self, photos: &Features) -> Result<Array2<f64>> {
        let count = NEIGHBOURS.min(self.points.len());
        let found = self.features.search(photos, count)?;
        let near: Vec<Vec<usize>> = (0..photos.len()).map(|row| found.of(row)).collect();
        let points = unseen::place(&self.points, &near);
        Ok(Array2::from_shape_fn((points.len(), 2), |(row, axis)| {
            f64::from(points[row][axis])
        }))
    }

    /// So many neighbours of each photo at most, one photo's after the other's, the nearest first.
    pub(crate) fn neighbours(&self, count: usize) -> (usize, Vec<u32>) {
        let count = self.near.iter().map(Vec::len).min().unwrap_or_default().min(count);
        let of_each = self.near.iter().flat_map(|near| &near[..count]);
        (count, of_each.map(|&near| near as u32).collect())
    }

    /// How far neighbours on the map are neighbours indeed, from 0 to 1, of 15 neighbours by cosine
    /// ([Venna and Kaski, 2001](https://doi.org/10.1007/3-540-44668-0_68)); scikit-learn's `trustworthiness`. Of more than 300 photos, of so many, evenly
    /// spread.
    pub fn trustworthiness(&self) -> f64 {
        self.quality.trustworthiness
    }

    /// How far neighbours are neighbours on the map, too, in the same way.
    pub fn continuity(&self) -> f64 {
        self.quality.continuity
    }

    /// A row a photo: `path`, `label`, `x`, `y`.
    pub fn table(&self) -> DataFrame {
        let axis = |axis: usize| self.points.iter().map(|point| point[axis]).collect::<Vec<f32>>();
        let columns = vec![
            Column::new("path".into(), self.features.path_column()),
            Column::new("label".into(), self.features.label_column()),
            Column::new("x".into(), axis(0)),
            Column::new("y".into(), axis(1)),
        ];
        DataFrame::new_infer_height(columns).expect("columns of one length")
    }
}

impl fmt::Display for Map {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} on a map: trustworthiness {:.3}, continuity {:.3}. What lies together is alike; how far islands are from each other, how large and how \
             dense they are, says little.",
            counted(self.points.len(), "photo"),
            self.trustworthiness(),
            self.continuity()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::tests::features;

    /// Clouds of photos, a label each.
    fn clouds(labels: usize, of_each: usize) -> Features {
        let mut random = fastrand::Rng::with_seed(5);
        let (mut paths, mut names, mut rows) = (Vec::new(), Vec::new(), Vec::new());
        for label in 0..labels {
            let centre: Vec<f32> = (0..30).map(|_| random.f32()).collect();
            for photo in 0..of_each {
                paths.push(format!("/none/{label}/{photo}.jpg"));
                names.push(label.to_string());
                rows.extend(centre.iter().map(|at| at + 0.1 * random.f32()).collect::<Vec<f32>>());
            }
        }
        let matrix = Array2::from_shape_vec((labels * of_each, 30), rows).unwrap();
        features(&paths, &names, &matrix)
    }

    #[test]
    fn like_lies_beside_like() {
        let photos = clouds(8, 40);
        let map = photos.map().unwrap();
        assert!(map.trustworthiness() > 0.95 && map.continuity() > 0.95, "{map}");
        let points = map.points().mapv(|at| at as f32);
        let near = crate::alike::nearest_others(points.view(), 5, crate::alike::Metric::Euclidean).unwrap();
        let labels = photos.label_column();
        let same = near
            .iter()
            .enumerate()
            .flat_map(|(row, near)| near.iter().map(move |near| (row, near.row)));
        let wrong = same.filter(|(a, b)| labels[*a] != labels[*b]).count();
        assert!(wrong < 10, "{wrong} of 1600 neighbours have another label");
        assert_eq!(map.table().shape(), (320, 4));
        assert!(
            map.to_string().starts_with("320 photos on a map: trustworthiness 0.9"),
            "{map}"
        );
    }

    #[test]
    fn it_is_the_same_map_every_time() {
        let photos = clouds(5, 60);
        let by = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| photos.map().unwrap().points())
        };
        let first = by(1);
        assert!([1, 2, 3, 4].into_iter().all(|threads| by(threads) == first));
    }

    #[test]
    fn unseen_photos_come_to_lie_beside_those_that_they_are_like() {
        let photos = clouds(8, 40);
        let (seen, unseen): (Vec<usize>, Vec<usize>) = (0..320).partition(|row| row % 10 > 0);
        let map = photos.take(&seen).unwrap().map().unwrap();
        let unseen = photos.take(&unseen).unwrap();
        let (places, points) = (map.place(&unseen).unwrap(), map.points());
        let distance = |photo: usize, row: usize| {
            (0..2)
                .map(|axis| (places[(photo, axis)] - points[(row, axis)]).powi(2))
                .sum::<f64>()
        };
        for (photo, label) in unseen.label_column().into_iter().enumerate() {
            let nearest = (0..seen.len()).min_by(|a, b| distance(photo, *a).total_cmp(&distance(photo, *b)));
            assert_eq!(map.features().label_column()[nearest.unwrap()], label);
        }
        assert_eq!(map.place(&unseen).unwrap(), places);
        assert_eq!(map.place(&unseen.take(&[]).unwrap()).unwrap().dim(), (0, 2));
    }

    #[test]
    fn few_photos_and_those_that_are_the_same() {
        let refused = clouds(1, 4).map().unwrap_err().to_string();
        assert!(refused.contains("4 photos; it needs 5"), "{refused}");
        let five = clouds(1, 5).map().unwrap();
        assert!(five.points().iter().all(|at| at.is_finite()));
        let same = five.features().take(&[0; 40]).unwrap();
        assert_eq!(same.map().unwrap_err().kind(), ErrorKind::Invalid);
        let photos = clouds(2, 10);
        let twice: Vec<usize> = (0..20).chain(0..20).collect();
        let map = photos.take(&twice).unwrap().map().unwrap();
        let points = map.points();
        assert!(points.iter().all(|at| at.is_finite()));
    }
}
