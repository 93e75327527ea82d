//! Gathering of moments: half of the product, added in place.

use ndarray::{Array1, Array2, ArrayView2, Axis, s};
use rayon::prelude::*;

use super::Moments;
use super::half::Panels;

/// Rows that are centred and multiplied at a time: two panels of them stay near a core.
pub(super) const BLOCK: usize = 256;

/// Moments that rows are added to.
pub(super) struct Gathering {
    count: usize,
    mean: Vec<f64>,
    /// Its lower half; what is above the diagonal comes at the end.
    scatter: Vec<f64>,
    panels: Panels,
    /// Memory for the panels of a block.
    centred: Vec<f64>,
}

impl Gathering {
    /// Of no rows of `d` features.
    pub fn new(d: usize) -> Self {
        Gathering {
            count: 0,
            mean: vec![0.0; d],
            scatter: vec![0.0; d * d],
            panels: Panels::fastest(),
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
        let ((count, d), before) = (block.dim(), self.count);
        self.count += count;
        if count == 0 || d == 0 {
            return;
        }
        let columns = self.panels.columns;
        self.centred.resize(d.next_multiple_of(columns) * (count + 1), 0.0);
        let panels = self.centred.par_chunks_mut(columns * (count + 1));
        panels
            .zip(self.mean.par_chunks_mut(columns))
            .enumerate()
            .for_each(|(panel, (lines, mean))| {
                let first = panel * columns;
                let block = block.slice(s![.., first..first + mean.len()]);
                centre(block, before, mean, lines.chunks_mut(columns));
            });
        self.panels.add_half(&self.centred, &mut self.scatter, d);
    }

    /// What was gathered.
    pub fn finish(self) -> Moments {
        let d = self.mean.len();
        let scatter = Array2::from_shape_fn((d, d), |(i, j)| self.scatter[i.max(j) * d + i.min(j)]);
        Moments {
            count: self.count,
            mean: self.mean.into(),
            scatter,
        }
    }
}

/// Writes some columns of a block, less their mean, as lines of a panel, which end with the row that the difference of the means is. `mean` is that of
/// so many rows before, and becomes that of all.
fn centre<'a, T: Copy + Into<f64>>(
    block: ArrayView2<T>,
    before: usize,
    mean: &mut [f64],
    mut lines: impl Iterator<Item = &'a mut [f64]>,
) {
    let (n, m) = (before as f64, block.nrows() as f64);
    let mut own = Array1::<f64>::zeros(mean.len());
    for row in block.rows() {
        own.zip_mut_with(&row, |sum, &number| *sum += number.into());
    }
    own /= m;
    for (row, line) in block.rows().into_iter().zip(&mut lines) {
        for ((centred, &number), own) in line.iter_mut().zip(row).zip(&own) {
            *centred = number.into() - own;
        }
    }
    let weight = (n * m / (n + m)).sqrt();
    for ((last, own), mean) in lines.flatten().zip(&own).zip(mean) {
        let difference = own - *mean;
        *last = weight * difference;
        *mean += difference * (m / (n + m));
    }
}
