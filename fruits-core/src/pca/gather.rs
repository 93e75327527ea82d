//! Gathering of moments: half of the product, added in place.

use faer::MatRef;
use ndarray::{Array1, Array2, ArrayView2, Axis};
use rayon::prelude::*;

use super::{Moments, add_half};

/// Rows that are centred at a time; the copy of a block stays below 22 MB.
pub(super) const BLOCK: usize = 2048;

/// Moments that rows are added to.
pub(super) struct Gathering {
    count: usize,
    mean: Array1<f64>,
    /// Its lower half; what is above the diagonal comes at the end.
    scatter: Array2<f64>,
    /// Memory for a block.
    centred: Vec<f64>,
}

impl Gathering {
    /// Of no rows of `d` features.
    pub fn new(d: usize) -> Self {
        Gathering {
            count: 0,
            mean: Array1::zeros(d),
            scatter: Array2::zeros((d, d)),
            centred: Vec::new(),
        }
    }

    /// Adds `m x d` rows.
    pub fn add<T: Copy + Into<f64> + Sync>(&mut self, rows: ArrayView2<T>) {
        for block in rows.axis_chunks_iter(Axis(0), BLOCK) {
            self.add_block(block);
        }
    }

    /// The pairwise update of Chan, Golub and LeVeque (1979). What the difference of both means adds to the scatter is what one more row would
    /// add, so that all of it is one product.
    fn add_block<T: Copy + Into<f64> + Sync>(&mut self, block: ArrayView2<T>) {
        let (count, d) = block.dim();
        if count == 0 || d == 0 {
            self.count += count;
            return;
        }
        let mut mean = Array1::<f64>::zeros(d);
        for row in block.rows() {
            mean.zip_mut_with(&row, |sum, &number| *sum += number.into());
        }
        let (n, m) = (self.count as f64, count as f64);
        mean /= m;
        self.centred.resize((count + 1) * d, 0.0);
        let (centred, last) = self.centred.split_at_mut(count * d);
        centred.par_chunks_mut(d).enumerate().for_each(|(row, centred)| {
            let numbers = block.row(row);
            for ((centred, number), mean) in centred.iter_mut().zip(numbers).zip(&mean) {
                *centred = (*number).into() - mean;
            }
        });
        let weight = (n * m / (n + m)).sqrt();
        for ((last, theirs), ours) in last.iter_mut().zip(&mean).zip(&mut self.mean) {
            let difference = theirs - *ours;
            *last = weight * difference;
            *ours += difference * (m / (n + m));
        }
        add_half(
            &mut self.scatter,
            MatRef::from_row_major_slice(&self.centred, count + 1, d),
        );
        self.count += count;
    }

    /// What was gathered.
    pub fn finish(self) -> Moments {
        let Gathering {
            count,
            mean,
            mut scatter,
            ..
        } = self;
        for i in 0..mean.len() {
            for j in 0..i {
                scatter[[j, i]] = scatter[[i, j]];
            }
        }
        Moments { count, mean, scatter }
    }
}
