//! The first pass of a search: products of rows in `f32` or `bf16`, as fast as the processor goes. What it says is right within a bound, and
//! whoever uses it computes anew what is near the decision.
//!
//! For many queries, rows are put into panels: the same number of as many rows as a few vectors hold, number by number, as the network's
//! weights are. The loop is the network's, too: a few queries by a panel, whose sums stay in registers. For a few queries the panels would
//! not pay; rows are multiplied as they lie.

#![allow(unsafe_code)]
// Indices with constant bounds are unrolled, and name the registers that they stand for.
#![allow(clippy::needless_range_loop)]

use half::bf16;

#[cfg(target_arch = "x86_64")]
use crate::simd::{Avx2, Avx512};
use crate::simd::{Of, Plain, Simd, Walk};

/// Queries that stay in a core's own cache.
const QUERIES: usize = 48;
/// Queries from which on panels pay.
const MANY: usize = 12;
/// Numbers of a row that stay in a core's first cache, of a panel and some queries.
const DEPTH: usize = 256;
/// Rows of a panel at most.
pub(super) const WIDEST: usize = 48;
/// Rows that are multiplied with a query at once, without panels.
const ROWS: usize = 8;

/// Products of queries and a panel's rows.
type Sums = [[f32; WIDEST]; QUERIES];

/// How rows are multiplied with queries.
#[derive(Clone, Copy)]
pub(super) enum Pass {
    /// As they lie.
    Dots(Dots),
    Panels(Panels<f32>),
    /// Twice as fast where a processor has the instructions, and less exact.
    RoundedPanels(Panels<bf16>),
}

/// Products of a query and some rows.
type Dots = unsafe fn(query: &[f32], rows: &[&[f32]; ROWS]) -> [f32; ROWS];

/// Products of queries, which lie one behind the other, and of panels.
#[derive(Clone, Copy)]
pub(super) struct Panels<E> {
    /// Rows of a panel.
    rows: usize,
    multiply: unsafe fn(queries: &[E], panel: &[E], depth: usize, sums: &mut Sums),
}

/// Memory for panels and queries of one depth, to be used again.
#[derive(Default)]
pub(super) struct Memory {
    panels: Vec<f32>,
    rounded_panels: Vec<bf16>,
    rounded_queries: Vec<bf16>,
}

impl Pass {
    /// The fastest for so many queries on this processor.
    pub fn for_queries(queries: usize) -> Self {
        let is_many = queries >= MANY;
        #[cfg(target_arch = "x86_64")]
        {
            if std::is_x86_feature_detected!("avx512f") {
                return match is_many {
                    true if std::is_x86_feature_detected!("avx512bf16") => Pass::RoundedPanels(avx512_bf16::PANELS),
                    true => Pass::Panels(avx512::PANELS),
                    false => Pass::Dots(avx512::DOTS),
                };
            }
            if std::is_x86_feature_detected!("avx2") && std::is_x86_feature_detected!("fma") {
                return match is_many {
                    true => Pass::Panels(avx2::PANELS),
                    false => Pass::Dots(avx2::DOTS),
                };
            }
        }
        match is_many {
            true => Pass::Panels(plain::PANELS),
            false => Pass::Dots(plain::DOTS),
        }
    }

    /// Whether rows are read once for many queries.
    pub fn is_for_many(self) -> bool {
        !matches!(self, Pass::Dots(_))
    }

    /// How far a product may be from the exact one, as a share of the lengths' product: rounding errors of a sum of `depth` products, and of
    /// what is done with it afterwards (Higham, Accuracy and Stability of Numerical Algorithms, 2002, 3.1), and of both factors.
    pub fn error(self, depth: usize) -> f64 {
        let roundings = (depth + 16) as f64;
        let unit = f64::from(f32::EPSILON) / 2.0;
        let of_sum = roundings * unit / (1.0 - roundings * unit);
        match self {
            Pass::Dots(_) | Pass::Panels(_) => of_sum,
            Pass::RoundedPanels(_) => {
                let unit = f64::from(bf16::EPSILON) / 2.0;
                let of_factors = 2.0 * unit + unit * unit;
                of_factors + of_sum * (1.0 + of_factors)
            }
        }
    }

    /// Calls `visit` with the number of a query, that of a row, and the products of the query with this row and those behind it, for all
    /// queries and rows, each pair once. Both have `depth` numbers each, and lie one behind the other.
    #[inline(always)]
    pub fn products(
        self,
        queries: &[f32],
        rows: &[f32],
        depth: usize,
        memory: &mut Memory,
        mut visit: impl FnMut(usize, usize, &[f32]),
    ) {
        match self {
            Pass::Dots(dots) => {
                let count = rows.len() / depth;
                let row = |row: usize| &rows[row * depth..][..depth];
                for first in (0..count).step_by(ROWS) {
                    let some: [&[f32]; ROWS] = std::array::from_fn(|i| row((first + i).min(count - 1)));
                    for (query, numbers) in queries.chunks_exact(depth).enumerate() {
                        // SAFETY: this processor has the instructions, and all slices are of one length.
                        let products = unsafe { dots(numbers, &some) };
                        visit(query, first, &products[..ROWS.min(count - first)]);
                    }
                }
            }
            Pass::Panels(panels) => {
                panels.pack::<1>(rows, depth, &mut memory.panels, |number| number);
                panels.products(queries, &memory.panels, depth, rows.len() / depth, visit);
            }
            Pass::RoundedPanels(panels) => {
                let (of_rows, of_queries) = (&mut memory.rounded_panels, &mut memory.rounded_queries);
                panels.pack::<2>(rows, depth, of_rows, rounded);
                // An odd number is followed by a zero.
                let even = depth.next_multiple_of(2);
                of_queries.clear();
                for query in queries.chunks_exact(depth) {
                    of_queries.extend(query.iter().map(|number| rounded(*number)));
                    of_queries.resize(of_queries.len().next_multiple_of(even), bf16::ZERO);
                }
                panels.products(of_queries, of_rows, even, rows.len() / depth, visit);
            }
        }
    }
}

/// Rows that are put into panels once, for queries that come again and again.
pub(crate) struct Packed {
    panels: Panels<f32>,
    numbers: Vec<f32>,
    depth: usize,
    rows: usize,
}

impl Packed {
    /// Rows of `depth` numbers, one behind the other.
    pub fn new(rows: &[f32], depth: usize) -> Self {
        let (panels, mut numbers) = (Panels::fastest(), Vec::new());
        panels.pack::<1>(rows, depth, &mut numbers, |number| number);
        Packed {
            panels,
            numbers,
            depth,
            rows: rows.len() / depth,
        }
    }

    /// Calls `visit` as [`Pass::products`] does. Sums are those of fused products in the order of the numbers: the same on every processor.
    #[inline(always)]
    pub fn products(&self, queries: &[f32], visit: impl FnMut(usize, usize, &[f32])) {
        self.panels
            .products(queries, &self.numbers, self.depth, self.rows, visit);
    }
}

impl Panels<f32> {
    /// The fastest on this processor.
    fn fastest() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            if std::is_x86_feature_detected!("avx512f") {
                return avx512::PANELS;
            }
            if std::is_x86_feature_detected!("avx2") && std::is_x86_feature_detected!("fma") {
                return avx2::PANELS;
            }
        }
        plain::PANELS
    }
}

impl<E: Copy + Default> Panels<E> {
    fn pack<const STEP: usize>(&self, rows: &[f32], depth: usize, panels: &mut Vec<E>, number: impl Fn(f32) -> E) {
        let count = rows.len() / depth;
        let size = self.rows * depth.next_multiple_of(STEP);
        panels.resize(count.div_ceil(self.rows) * size, E::default());
        for (panel, rows) in panels.chunks_exact_mut(size).zip(rows.chunks(self.rows * depth)) {
            let (panel, _) = panel.as_chunks_mut::<STEP>();
            // Some numbers of some rows at a time: they are read in order, and written in pieces of cache lines.
            for (some, rows) in rows.chunks(8 * depth).enumerate() {
                for from in (0..depth).step_by(16) {
                    for (row, numbers) in (8 * some..).zip(rows.chunks_exact(depth)) {
                        let numbers = &numbers[from..depth.min(from + 16)];
                        let of_row = panel[from / STEP * self.rows + row..].iter_mut().step_by(self.rows);
                        for (to, numbers) in of_row.zip(numbers.chunks(STEP)) {
                            for (to, value) in to.iter_mut().zip(numbers) {
                                *to = number(*value);
                            }
                        }
                    }
                }
            }
        }
    }

    #[inline(always)]
    fn products(
        &self,
        queries: &[E],
        panels: &[E],
        depth: usize,
        rows: usize,
        mut visit: impl FnMut(usize, usize, &[f32]),
    ) {
        let mut sums = [[0.0; WIDEST]; QUERIES];
        for (some, queries) in queries.chunks(QUERIES * depth).enumerate() {
            for (first, panel) in (0..rows).step_by(self.rows).zip(panels.chunks_exact(self.rows * depth)) {
                // SAFETY: this processor has the instructions; there are as many queries as sums at most.
                unsafe { (self.multiply)(queries, panel, depth, &mut sums) };
                for (query, sums) in sums[..queries.len() / depth].iter().enumerate() {
                    visit(some * QUERIES + query, first, &sums[..self.rows.min(rows - first)]);
                }
            }
        }
    }
}

/// The nearest `bf16` of a finite number; of two, the even one.
fn rounded(number: f32) -> bf16 {
    let bits = number.to_bits();
    bf16::from_bits(((bits + 0x7fff + (bits >> 16 & 1)) >> 16) as u16)
}

/// # Safety
/// The processor has the instruction set, into a function of which this is inlined. The panel has `N` vectors of rows, and rows and queries
/// have `depth` numbers; there are `QUERIES` queries at most.
#[inline(always)]
unsafe fn panel<S: Of<E>, E, const C: usize, const N: usize>(
    queries: &[E],
    panel: &[E],
    depth: usize,
    sums: &mut Sums,
) {
    let count = queries.len() / depth;
    debug_assert!(count <= QUERIES && panel.len() == N * S::LANES * depth);
    let (queries, panel) = (queries.as_ptr(), panel.as_ptr());
    for from in (0..depth).step_by(DEPTH) {
        let numbers = DEPTH.min(depth - from);
        let walk = Walk {
            row: 0,
            column: depth,
            block: 0,
            segment: numbers,
            depth: numbers,
        };
        let mut query = 0;
        // SAFETY: the numbers of queries below the count, and of the panel.
        unsafe {
            let panel = panel.add(from * N * S::LANES);
            while query < count {
                let (at, sums) = (queries.add(query * depth + from), &mut sums[query..]);
                if query + C <= count {
                    tile::<S, E, C, N>(at, panel, walk, sums, from == 0);
                    query += C;
                } else {
                    tile::<S, E, 1, N>(at, panel, walk, sums, from == 0);
                    query += 1;
                }
            }
        }
    }
}

/// # Safety
/// As [`panel`].
#[inline(always)]
unsafe fn tile<S: Of<E>, E, const C: usize, const N: usize>(
    queries: *const E,
    panel: *const E,
    walk: Walk,
    sums: &mut [[f32; WIDEST]],
    is_first: bool,
) {
    // SAFETY: there are sums for `C` queries and `N` vectors of rows.
    unsafe {
        let mut tile = [[[S::splat(0.0); N]; C]; 1];
        if !is_first {
            for c in 0..C {
                for n in 0..N {
                    tile[0][c][n] = S::load(sums[c].as_ptr().add(n * S::LANES));
                }
            }
        }
        S::multiply::<1, C, N>(&mut tile, queries, panel, walk);
        for c in 0..C {
            for n in 0..N {
                S::store(sums[c].as_mut_ptr().add(n * S::LANES), tile[0][c][n]);
            }
        }
    }
}

/// # Safety
/// The processor has the instruction set, into a function of which this is inlined. All slices are of one length.
#[inline(always)]
unsafe fn dots<S: Simd>(query: &[f32], rows: &[&[f32]; ROWS]) -> [f32; ROWS] {
    let depth = query.len();
    let whole = depth / S::LANES * S::LANES;
    // SAFETY: all reads are below the slices' length.
    unsafe {
        let mut sums = [S::splat(0.0); ROWS];
        for k in (0..whole).step_by(S::LANES) {
            let x = S::load(query.as_ptr().add(k));
            for j in 0..ROWS {
                sums[j] = S::mul_add(x, S::load(rows[j].as_ptr().add(k)), sums[j]);
            }
        }
        std::array::from_fn(|j| {
            let mut lanes = [0.0; 16];
            S::store(lanes.as_mut_ptr(), sums[j]);
            // Half to half, so that additions wait little for each other.
            let mut half = S::LANES / 2;
            while half > 0 {
                for lane in 0..half {
                    lanes[lane] += lanes[lane + half];
                }
                half /= 2;
            }
            let rest = query[whole..].iter().zip(&rows[j][whole..]).map(|(x, y)| x * y);
            lanes[0] + rest.sum::<f32>()
        })
    }
}

macro_rules! panels {
    ($(#[$features:meta])? $number:ty, $simd:ty, $queries:literal by $vectors:literal) => {
        pub const PANELS: Panels<$number> = {
            $(#[$features])?
            unsafe fn multiply(queries: &[$number], rows: &[$number], depth: usize, sums: &mut Sums) {
                // SAFETY: the caller's.
                unsafe { panel::<$simd, $number, $queries, $vectors>(queries, rows, depth, sums) }
            }
            Panels {
                rows: <$simd>::LANES * $vectors,
                multiply,
            }
        };
    };
}

macro_rules! dots {
    ($(#[$features:meta])? $simd:ty) => {
        pub const DOTS: Dots = {
            $(#[$features])?
            unsafe fn multiply(query: &[f32], rows: &[&[f32]; ROWS]) -> [f32; ROWS] {
                // SAFETY: the caller's.
                unsafe { dots::<$simd>(query, rows) }
            }
            multiply
        };
    };
}

// Of 32 registers 24 are for sums, of 16 twelve; the others for three vectors of rows and a number of a query.
#[cfg(target_arch = "x86_64")]
mod avx512 {
    use super::*;

    panels!(#[target_feature(enable = "avx512f")] f32, Avx512, 8 by 3);
    dots!(
        #[target_feature(enable = "avx512f")]
        Avx512
    );
}

#[cfg(target_arch = "x86_64")]
mod avx512_bf16 {
    use super::*;

    panels!(#[target_feature(enable = "avx512f,avx512bf16")] bf16, Avx512, 8 by 3);
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use super::*;

    panels!(#[target_feature(enable = "avx2,fma")] f32, Avx2, 4 by 3);
    dots!(
        #[target_feature(enable = "avx2,fma")]
        Avx2
    );
}

mod plain {
    use super::*;

    panels!(f32, Plain, 2 by 2);
    dots!(Plain);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_are_right_within_the_bound() {
        let mut random = fastrand::Rng::with_seed(1);
        let plain = [Pass::Panels(plain::PANELS), Pass::Dots(plain::DOTS)];
        #[cfg(target_arch = "x86_64")]
        let narrow =
            std::is_x86_feature_detected!("fma").then_some([Pass::Panels(avx2::PANELS), Pass::Dots(avx2::DOTS)]);
        #[cfg(not(target_arch = "x86_64"))]
        let narrow = None::<[Pass; 2]>;
        for depth in [1, 3, 16, 37, 1280] {
            let mut numbers = |n: usize| -> Vec<f32> { (0..n * depth).map(|_| random.f32() * 6.0 - 1.0).collect() };
            for (m, n) in [(1, 1), (1, 19), (2, 3), (7, 11), (13, 3), (61, 110)] {
                let (a, b) = (numbers(m), numbers(n));
                let of_this_processor = [Pass::for_queries(1), Pass::for_queries(1000)];
                for pass in of_this_processor
                    .into_iter()
                    .chain(narrow.into_iter().flatten())
                    .chain(plain)
                {
                    let mut seen = vec![0; m * n];
                    pass.products(&a, &b, depth, &mut Memory::default(), |i, first, products| {
                        for (j, product) in (first..).zip(products) {
                            seen[i * n + j] += 1;
                            let dot = |x: &[f32], y: &[f32]| -> f64 {
                                x.iter().zip(y).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum()
                            };
                            let (x, y) = (&a[i * depth..][..depth], &b[j * depth..][..depth]);
                            let lengths = (dot(x, x) * dot(y, y)).sqrt();
                            assert!((f64::from(*product) - dot(x, y)).abs() <= pass.error(depth) * lengths);
                        }
                    });
                    assert!(seen.iter().all(|count| *count == 1), "each pair once");
                }
            }
        }
    }

    #[test]
    fn numbers_are_rounded_to_the_nearest() {
        let mut random = fastrand::Rng::with_seed(1);
        for _ in 0..100_000 {
            let number = f32::from_bits(random.u32(..));
            if number.is_finite() {
                assert_eq!(rounded(number), bf16::from_f32(number), "{number:e}");
            }
        }
    }
}
