//! Count, mean and second moment of rows: all that a PCA needs, and they can be gathered in parts.

use ndarray::{Array1, Array2, ArrayView2, Axis};

use super::{invalid, product};
use crate::error::Result;
use crate::features::Features;

/// Rows that are centred at a time; the copy of a block stays below 22 MB.
const BLOCK: usize = 2048;

/// Count, mean and centred second moment of rows, in f64. Parts of a data set can be merged, in a fixed order for equal bits.
///
/// ```
/// use fruits_core::Moments;
/// use ndarray::array;
///
/// let mut moments = Moments::of(array![[1.0, 2.0], [3.0, 4.0]].view());
/// moments.merge(&Moments::of(array![[5.0, 0.0]].view()))?;
/// assert_eq!(moments.count(), 3);
/// assert_eq!(moments.mean().to_vec(), [3.0, 2.0]);
/// assert_eq!(moments.scatter()[[0, 1]], -4.0);
/// # Ok::<(), fruits_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Moments {
    count: usize,
    mean: Array1<f64>,
    scatter: Array2<f64>,
}

impl Moments {
    /// The moments of no rows of `d` features.
    pub fn empty(d: usize) -> Self {
        Moments {
            count: 0,
            mean: Array1::zeros(d),
            scatter: Array2::zeros((d, d)),
        }
    }

    /// The moments of the rows of a matrix, `n x d`.
    pub fn of(rows: ArrayView2<f64>) -> Self {
        let mut moments = Moments::empty(rows.ncols());
        for block in rows.axis_chunks_iter(Axis(0), BLOCK) {
            moments.add(&Moments::of_block(block.to_owned()));
        }
        moments
    }

    /// The moments of features.
    pub fn of_features(features: &Features) -> Self {
        let matrix = features.matrix();
        let mut moments = Moments::empty(matrix.ncols());
        for block in matrix.axis_chunks_iter(Axis(0), BLOCK) {
            moments.add(&Moments::of_block(block.mapv(f64::from)));
        }
        moments
    }

    fn of_block(mut rows: Array2<f64>) -> Self {
        let count = rows.nrows();
        let Some(mean) = rows.mean_axis(Axis(0)) else {
            return Moments::empty(rows.ncols());
        };
        rows -= &mean;
        Moments {
            count,
            mean,
            scatter: product(rows.t(), rows.view()),
        }
    }

    /// Adds the rows behind `other` to these.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if they have another number of features.
    pub fn merge(&mut self, other: &Moments) -> Result<()> {
        if self.mean.len() != other.mean.len() {
            return Err(invalid(format!(
                "moments of {} and of {} features do not go together",
                self.mean.len(),
                other.mean.len()
            )));
        }
        self.add(other);
        Ok(())
    }

    /// The pairwise update of Chan, Golub and LeVeque (1979).
    fn add(&mut self, other: &Moments) {
        if other.count == 0 {
            return;
        }
        let (n, m) = (self.count as f64, other.count as f64);
        let difference = &other.mean - &self.mean;
        let column = difference.view().insert_axis(Axis(1));
        let row = difference.view().insert_axis(Axis(0));
        self.scatter += &other.scatter;
        self.scatter += &(&column * &row * (n * m / (n + m)));
        self.mean += &(&difference * (m / (n + m)));
        self.count += other.count;
    }

    /// Number of rows.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The mean of each feature, of length `d`.
    pub fn mean(&self) -> &Array1<f64> {
        &self.mean
    }

    /// The sum over rows of the products of centred features, `d x d`; divided by `n - 1` it is the covariance.
    pub fn scatter(&self) -> &Array2<f64> {
        &self.scatter
    }
}
