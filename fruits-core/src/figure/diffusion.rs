//! The diffusion map: a view of the photos that follows neighbourhoods instead of straight lines.

use linfa::ParamGuard;
use linfa::traits::Transformer;
use linfa_kernel::{Kernel, KernelInner, KernelMethod};
use linfa_reduction::DiffusionMap;
use ndarray::{Array2, Axis};

use super::explorer::{Exploration, Explorer};
use crate::error::{Error, ErrorKind, Result, Step};
use crate::features::Features;
use crate::folder::spread;
use crate::interrupt;
use crate::pca::product;

/// With fewer, linfa decomposes a matrix that is not symmetric as if it were.
const MIN_PHOTOS: usize = 5 * AXES + 1;
/// Photos at most: the kernel has a number for each two of them.
const MAX_PHOTOS: usize = 2_000;
/// Coordinates to choose from.
const AXES: usize = 6;
/// The neighbour whose distance, as the median over all photos, is the width of the kernel.
const NEIGHBOUR: usize = 7;

impl Features {
    /// The photos along the first coordinates of a diffusion map (linfa-reduction's), to look around in, as a second view beside the PCA:
    /// photos are close if many short steps between neighbours lead from one to the other. Of more than 2,000 photos so many are shown,
    /// evenly spread.
    ///
    /// The kernel is Gaussian; its width is the median distance of a photo to its seventh neighbour (after Zelnik-Manor and Perona, 2004).
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if there are fewer than 31 photos, or too many of them are the same.
    pub async fn diffusion_map(&self) -> Result<Explorer> {
        let photos = Exploration::new(self, spread(self.len(), MAX_PHOTOS));
        photos.diffusion_map().await?.draw().await
    }
}

impl Exploration {
    /// The photos along the coordinates of a [diffusion map](Features::diffusion_map). Of more than 2,000 photos so many are in this view, evenly spread.
    ///
    /// # Errors
    /// As [`Features::diffusion_map`].
    pub async fn diffusion_map(self) -> Result<Self> {
        let some = spread(self.shown().len(), MAX_PHOTOS);
        let invalid = |message: &str| Error::new(ErrorKind::Invalid, Step::Draw, "diffusion map", message);
        if some.len() < MIN_PHOTOS {
            return Err(invalid("it needs 31 photos or more"));
        }
        let photos: Vec<usize> = some.iter().map(|&photo| self.shown()[photo]).collect();
        let rows = self.features().matrix().select(Axis(0), &photos).mapv(f64::from);
        let embedding = tokio::task::spawn_blocking(move || embed(&rows));
        let embedding = interrupt::race(Step::Draw, embedding)
            .await?
            .ok() // linfa panics when it finds no eigenvalues
            .flatten()
            .ok_or_else(|| invalid("the photos are too much the same"))?;
        let mut at = Array2::from_elem((self.shown().len(), AXES), f64::NAN);
        for (&photo, place) in some.iter().zip(embedding.outer_iter()) {
            at.row_mut(photo).assign(&place);
        }
        let names = (1..=AXES).map(|i| format!("diffusion {i}")).collect();
        Ok(self.view("Diffusion map", names, at.view(), false))
    }
}

/// Coordinates of the rows, `n x AXES`; nothing if they are not all finite.
fn embed(rows: &Array2<f64>) -> Option<Array2<f64>> {
    let squares = rows.map_axis(Axis(1), |row| row.dot(&row));
    let largest = squares.iter().copied().fold(0.0, f64::max);
    let mut distances = product(rows.view(), rows.t()) * -2.0;
    distances += &squares;
    distances += &squares.insert_axis(Axis(1));
    distances.mapv_inplace(|square| square.max(0.0));
    let mut to_neighbour: Vec<f64> = distances
        .rows()
        .into_iter()
        .map(|row| *row.to_vec().select_nth_unstable_by(NEIGHBOUR, f64::total_cmp).1)
        .collect();
    let middle = to_neighbour.len() / 2;
    let width = *to_neighbour.select_nth_unstable_by(middle, f64::total_cmp).1;
    if width <= 1e-9 * largest {
        return None;
    }
    let kernel = Kernel {
        inner: KernelInner::Dense(distances.mapv(|square| (-square / width).exp())),
        method: KernelMethod::Gaussian(width),
    };
    let map = DiffusionMap::<f64>::params(AXES).check().ok()?.transform(&kernel);
    let embedding = map.embedding();
    embedding
        .iter()
        .all(|value| value.is_finite())
        .then(|| embedding.clone())
}
