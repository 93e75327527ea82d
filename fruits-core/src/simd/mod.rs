//! Vectors: what the network's loops and a search's products ask of an instruction set.

#![allow(unsafe_code)]
// Indices with constant bounds are unrolled, and name the registers that they stand for.
#![allow(clippy::needless_range_loop)]

mod plain;
#[cfg(target_arch = "x86_64")]
mod x86;

pub(crate) use plain::Plain;
#[cfg(target_arch = "x86_64")]
pub(crate) use x86::{Avx2, Avx512};

/// Vectors of `f32`.
///
/// # Safety
/// Every function needs a processor with the instruction set, and has to be inlined into a function that is compiled for it. Pointers are
/// to [`LANES`](Self::LANES) numbers.
pub(crate) trait Simd: Sized {
    /// Numbers in a vector.
    const LANES: usize;
    type Vector: Copy;

    /// The same number in all lanes.
    unsafe fn splat(number: f32) -> Self::Vector;
    unsafe fn load(from: *const f32) -> Self::Vector;
    unsafe fn store(to: *mut f32, vector: Self::Vector);
    unsafe fn add(a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// `a b + c`, rounded once.
    unsafe fn mul_add(a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector;
    /// Between 0 and 6; what is not a number becomes 0.
    unsafe fn relu6(vector: Self::Vector) -> Self::Vector;
}

/// How numbers of another kind become vectors, and are multiplied.
///
/// # Safety
/// As [`Simd`].
pub(crate) trait Of<E>: Simd {
    /// Vectors' numbers that a cache line of these numbers holds, in vectors.
    const VECTORS: usize;
    /// Numbers that are multiplied at once in a lane: their products are added.
    const STEP: usize;
    type Factor: Copy;

    unsafe fn load_from(from: *const E) -> Self::Vector;
    unsafe fn store_to(to: *mut E, vector: Self::Vector);
    /// The same [`STEP`](Self::STEP) numbers in all lanes.
    unsafe fn splat_factor(from: *const E) -> Self::Factor;
    /// `STEP` numbers for each lane.
    unsafe fn load_factor(from: *const E) -> Self::Factor;
    unsafe fn accumulate(a: Self::Factor, b: Self::Factor, sum: Self::Vector) -> Self::Vector;

    /// Adds the products of `R x C` positions and `N` vectors of channels.
    #[inline(always)]
    unsafe fn multiply<const R: usize, const C: usize, const N: usize>(
        sums: &mut [[[Self::Vector; N]; C]; R],
        input: *const E,
        weights: *const E,
        walk: Walk,
    ) {
        // SAFETY: the caller's.
        unsafe { multiply::<Self, E, R, C, N>(sums, input, weights, walk) }
    }
}

/// Where the numbers lie that are multiplied: how far the next row, column and segment are, and how many there are.
#[derive(Clone, Copy)]
pub(crate) struct Walk {
    pub row: usize,
    pub column: usize,
    pub block: usize,
    /// Numbers of a segment; the last may have fewer.
    pub segment: usize,
    /// All numbers of a position.
    pub depth: usize,
}

#[inline(always)]
unsafe fn multiply<S: Of<E>, E, const R: usize, const C: usize, const N: usize>(
    sums: &mut [[[S::Vector; N]; C]; R],
    mut input: *const E,
    mut weights: *const E,
    walk: Walk,
) {
    // SAFETY: the caller's.
    unsafe {
        let mut left = walk.depth;
        while left > 0 {
            let count = left.min(walk.segment);
            for k in (0..count).step_by(S::STEP) {
                let mut w = [S::load_factor(weights); N];
                for n in 1..N {
                    w[n] = S::load_factor(weights.add(n * S::LANES * S::STEP));
                }
                for r in 0..R {
                    for c in 0..C {
                        let x = S::splat_factor(input.add(r * walk.row + c * walk.column + k));
                        for n in 0..N {
                            sums[r][c][n] = <S as Of<E>>::accumulate(x, w[n], sums[r][c][n]);
                        }
                    }
                }
                weights = weights.add(N * S::LANES * S::STEP);
            }
            left -= count;
            input = input.wrapping_add(walk.block);
        }
    }
}
