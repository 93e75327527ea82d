//! Half of a product: that of columns with each other, which is symmetric.
//!
//! Columns lie in panels, a few in each, line by line: a number of each column. The loop is a search's: a few columns of one panel by all of another,
//! whose sums stay in registers.

#![allow(unsafe_code)]
// Indices with constant bounds are unrolled, and name the registers that they stand for.
#![allow(clippy::needless_range_loop)]

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

use rayon::prelude::*;

/// Columns of the widest panel.
const WIDEST: usize = 24;

/// How panels are multiplied.
#[derive(Clone, Copy)]
pub(super) struct Panels {
    /// Columns of a panel.
    pub columns: usize,
    /// Writes the products of the columns of one panel with those of another one, row by row.
    multiply: unsafe fn(&[f64], &[f64], &mut [f64]),
}

impl Panels {
    /// The fastest on this processor.
    pub fn fastest() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            if std::is_x86_feature_detected!("avx512f") {
                return AVX512;
            }
            if std::is_x86_feature_detected!("avx2") && std::is_x86_feature_detected!("fma") {
                return AVX2;
            }
        }
        PLAIN
    }

    /// Adds the products of columns with each other to a `d x d` matrix, row by row: to its lower half, the diagonal with it; what is above is not
    /// to be read. What stands in the last panel beyond the `d`th column does not count. On all cores; every sum has one order.
    pub fn add_half(self, panels: &[f64], square: &mut [f64], d: usize) {
        let size = panels.len() / d.div_ceil(self.columns);
        let panel = |number: usize| &panels[number * size..][..size];
        square
            .par_chunks_mut(self.columns * d)
            .enumerate()
            .for_each(|(a, rows)| {
                let mut products = [0.0; WIDEST * WIDEST];
                for b in 0..=a {
                    // SAFETY: this processor has the instructions.
                    unsafe { (self.multiply)(panel(a), panel(b), &mut products) };
                    for (row, products) in rows.chunks_mut(d).zip(products.chunks(self.columns)) {
                        let sums = row[b * self.columns..].iter_mut().zip(products);
                        sums.for_each(|(sum, product)| *sum += product);
                    }
                }
            });
    }
}

// Of 32 registers 24 are for sums, of 16 twelve; the others for three vectors of a panel and a number of the other.
#[cfg(target_arch = "x86_64")]
macro_rules! panels {
    ($name:ident, $features:literal, $lanes:literal, $at_once:literal, $zero:ident, $load:ident, $splat:ident, $mul_add:ident, $store:ident) => {
        const $name: Panels = {
            const COLUMNS: usize = 3 * $lanes;

            #[target_feature(enable = $features)]
            fn multiply(a: &[f64], b: &[f64], products: &mut [f64]) {
                let ((a, _), (b, _)) = (a.as_chunks::<COLUMNS>(), b.as_chunks::<COLUMNS>());
                let (products, _) = products.as_chunks_mut::<COLUMNS>();
                for (first, products) in (0..)
                    .step_by($at_once)
                    .zip(products.chunks_exact_mut($at_once))
                    .take(COLUMNS / $at_once)
                {
                    let mut sums = [[$zero(); 3]; $at_once];
                    for (a, b) in a.iter().zip(b) {
                        let b = b.as_ptr();
                        // SAFETY: three vectors are in a line. A closure would not have the instructions.
                        let b = unsafe { [$load(b), $load(b.add($lanes)), $load(b.add(2 * $lanes))] };
                        for m in 0..$at_once {
                            let number = $splat(a[first + m]);
                            for n in 0..3 {
                                sums[m][n] = $mul_add(number, b[n], sums[m][n]);
                            }
                        }
                    }
                    for m in 0..$at_once {
                        for n in 0..3 {
                            // SAFETY: likewise.
                            unsafe { $store(products[m].as_mut_ptr().add(n * $lanes), sums[m][n]) };
                        }
                    }
                }
            }
            Panels {
                columns: COLUMNS,
                multiply,
            }
        };
    };
}

#[cfg(target_arch = "x86_64")]
panels!(
    AVX512,
    "avx512f",
    8,
    8,
    _mm512_setzero_pd,
    _mm512_loadu_pd,
    _mm512_set1_pd,
    _mm512_fmadd_pd,
    _mm512_storeu_pd
);
#[cfg(target_arch = "x86_64")]
panels!(
    AVX2,
    "avx2,fma",
    4,
    4,
    _mm256_setzero_pd,
    _mm256_loadu_pd,
    _mm256_set1_pd,
    _mm256_fmadd_pd,
    _mm256_storeu_pd
);

const PLAIN: Panels = {
    const COLUMNS: usize = 8;

    fn multiply(a: &[f64], b: &[f64], products: &mut [f64]) {
        products[..COLUMNS * COLUMNS].fill(0.0);
        let ((a, _), (b, _)) = (a.as_chunks::<COLUMNS>(), b.as_chunks::<COLUMNS>());
        for (a, b) in a.iter().zip(b) {
            for (products, number) in products.as_chunks_mut::<COLUMNS>().0.iter_mut().zip(a) {
                for (product, other) in products.iter_mut().zip(b) {
                    *product += number * other;
                }
            }
        }
    }
    Panels {
        columns: COLUMNS,
        multiply,
    }
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_a_product_is_that_of_the_whole() {
        let mut random = fastrand::Rng::with_seed(1);
        for panels in [Panels::fastest(), PLAIN] {
            for (d, lines) in [(1_usize, 1), (7, 3), (24, 10), (61, 300)] {
                let rows: Vec<f64> = (0..lines * d).map(|_| random.f64() - 0.3).collect();
                let mut columns = vec![0.0; d.next_multiple_of(panels.columns) * lines];
                for (panel, into) in columns.chunks_mut(panels.columns * lines).enumerate() {
                    for (line, into) in into.chunks_mut(panels.columns).enumerate() {
                        for (column, number) in (panel * panels.columns..d).zip(into) {
                            *number = rows[line * d + column];
                        }
                    }
                }
                let mut square = vec![1.0; d * d];
                panels.add_half(&columns, &mut square, d);
                for i in 0..d {
                    for j in 0..=i {
                        let product: f64 = (0..lines).map(|line| rows[line * d + i] * rows[line * d + j]).sum();
                        let found = square[i * d + j] - 1.0;
                        assert!((found - product).abs() < 1e-11, "{found} is not {product}");
                    }
                }
            }
        }
    }
}
