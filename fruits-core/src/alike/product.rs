//! The first pass of a search: products of rows in `f32`, tile by tile, as fast as the processor goes. What it says is right within a bound,
//! and whoever uses it computes anew what is near the decision.

#![allow(unsafe_code)]
// Indices with constant bounds are unrolled, and name the registers that they stand for.
#![allow(clippy::needless_range_loop)]

#[cfg(target_arch = "x86_64")]
use crate::simd::{Avx2, Avx512};
use crate::simd::{Plain, Simd};

/// Queries and rows of a tile at most.
const QUERIES: usize = 4;
const ROWS: usize = 8;

/// The queries of a tile, and its rows, of one length each.
type Queries<'a> = [&'a [f32]; QUERIES];
type TileRows<'a> = [&'a [f32]; ROWS];
/// The products of a tile's queries and rows; what is beyond the tile's size means nothing.
pub(super) type Tile = [[f32; ROWS]; QUERIES];

/// How an instruction set multiplies a tile: for many queries, and for one.
pub(super) struct Kernel {
    many: Shape,
    one: Shape,
}

struct Shape {
    queries: usize,
    rows: usize,
    multiply: unsafe fn(&Queries, &TileRows, &mut Tile),
}

impl Kernel {
    /// The widest that this processor has.
    pub fn of_this_processor() -> &'static Kernel {
        #[cfg(target_arch = "x86_64")]
        {
            if std::is_x86_feature_detected!("avx512f") {
                return &AVX512;
            }
            if std::is_x86_feature_detected!("avx2") && std::is_x86_feature_detected!("fma") {
                return &AVX2;
            }
        }
        &PLAIN
    }

    /// Calls `visit` with the number of a query, that of a row, and their product, for all pairs. All have the same length.
    #[inline(always)]
    pub fn products<'a>(
        &self,
        queries: usize,
        query: impl Fn(usize) -> &'a [f32],
        rows: usize,
        row: impl Fn(usize) -> &'a [f32],
        mut visit: impl FnMut(usize, usize, f32),
    ) {
        let shape = if queries < 2 { &self.one } else { &self.many };
        let mut tile = [[0.0; ROWS]; QUERIES];
        for first_row in (0..rows).step_by(shape.rows) {
            let some_rows: TileRows = std::array::from_fn(|j| row((first_row + j).min(rows - 1)));
            for first_query in (0..queries).step_by(shape.queries) {
                let some_queries: Queries = std::array::from_fn(|i| query((first_query + i).min(queries - 1)));
                let depth = some_rows[0].len();
                assert!(some_rows.iter().chain(&some_queries).all(|one| one.len() == depth));
                // SAFETY: this processor has the instructions, and all slices are of one length.
                unsafe { (shape.multiply)(&some_queries, &some_rows, &mut tile) };
                for i in 0..shape.queries.min(queries - first_query) {
                    for j in 0..shape.rows.min(rows - first_row) {
                        visit(first_query + i, first_row + j, tile[i][j]);
                    }
                }
            }
        }
    }
}

/// How far a product in `f32` may be from the exact one, as a share of the lengths' product: rounding errors of a sum of `depth` products in
/// at least four parts, and of what is done with it afterwards. (Higham, Accuracy and Stability of Numerical Algorithms, 2002, 3.1)
pub(super) fn error(depth: usize) -> f64 {
    let roundings = (depth / 4 + 16) as f64;
    let unit = f64::from(f32::EPSILON) / 2.0;
    roundings * unit / (1.0 - roundings * unit)
}

/// # Safety
/// The processor has the instruction set, into a function of which this is inlined. All slices are of one length.
#[inline(always)]
unsafe fn multiply<S: Simd, const Q: usize, const R: usize>(queries: &Queries, rows: &TileRows, tile: &mut Tile) {
    let depth = rows[0].len();
    let whole = depth / S::LANES * S::LANES;
    // SAFETY: all reads are below the slices' length.
    unsafe {
        let mut sums = [[S::splat(0.0); R]; Q];
        let (queries, rows) = (queries.map(<[f32]>::as_ptr), rows.map(<[f32]>::as_ptr));
        let mut k = 0;
        while k < whole {
            let mut x = [S::splat(0.0); Q];
            for i in 0..Q {
                x[i] = S::load(queries[i].add(k));
            }
            for j in 0..R {
                let y = S::load(rows[j].add(k));
                for i in 0..Q {
                    sums[i][j] = S::mul_add(x[i], y, sums[i][j]);
                }
            }
            k += S::LANES;
        }
        for i in 0..Q {
            for j in 0..R {
                let mut lanes = [0.0; 16];
                S::store(lanes.as_mut_ptr(), sums[i][j]);
                let mut width = S::LANES;
                while width > 1 {
                    width /= 2;
                    for lane in 0..width {
                        lanes[lane] += lanes[lane + width];
                    }
                }
                for k in whole..depth {
                    lanes[0] += *queries[i].add(k) * *rows[j].add(k);
                }
                tile[i][j] = lanes[0];
            }
        }
    }
}

macro_rules! kernel {
    ($(#[$features:meta])? $name:ident, $simd:ty, $queries:literal x $rows:literal) => {
        static $name: Kernel = {
            $(#[$features])?
            unsafe fn many(queries: &Queries, rows: &TileRows, tile: &mut Tile) {
                // SAFETY: the caller's.
                unsafe { multiply::<$simd, $queries, $rows>(queries, rows, tile) }
            }
            $(#[$features])?
            unsafe fn one(queries: &Queries, rows: &TileRows, tile: &mut Tile) {
                // SAFETY: the caller's.
                unsafe { multiply::<$simd, 1, 8>(queries, rows, tile) }
            }
            Kernel {
                many: Shape { queries: $queries, rows: $rows, multiply: many },
                one: Shape { queries: 1, rows: 8, multiply: one },
            }
        };
    };
}

#[cfg(target_arch = "x86_64")]
kernel!(#[target_feature(enable = "avx512f")] AVX512, Avx512, 4 x 6);
// Twelve registers for sums, three for queries, one for a row.
#[cfg(target_arch = "x86_64")]
kernel!(#[target_feature(enable = "avx2,fma")] AVX2, Avx2, 3 x 4);
kernel!(PLAIN, Plain, 2 x 4);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_are_right_within_the_bound() {
        let mut random = fastrand::Rng::with_seed(1);
        for depth in [1, 3, 16, 37, 1280] {
            let mut rows = |n: usize| -> Vec<Vec<f32>> {
                (0..n)
                    .map(|_| (0..depth).map(|_| random.f32() * 6.0 - 1.0).collect())
                    .collect()
            };
            for (m, n) in [(1, 1), (1, 19), (2, 3), (7, 11)] {
                let (a, b) = (rows(m), rows(n));
                for kernel in [Kernel::of_this_processor(), &PLAIN] {
                    let mut seen = vec![0; m * n];
                    kernel.products(
                        m,
                        |i| &a[i],
                        n,
                        |j| &b[j],
                        |i, j, product| {
                            seen[i * n + j] += 1;
                            let dot = |x: &[f32], y: &[f32]| -> f64 {
                                x.iter().zip(y).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum()
                            };
                            let lengths = (dot(&a[i], &a[i]) * dot(&b[j], &b[j])).sqrt();
                            assert!((f64::from(product) - dot(&a[i], &b[j])).abs() <= error(depth) * lengths);
                        },
                    );
                    assert!(seen.iter().all(|count| *count == 1), "each pair once");
                }
            }
        }
    }
}
