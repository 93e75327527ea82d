//! The inner loops, for vectors of any kind: sums that stay in registers while they grow.
//!
//! Every sum begins with the bias and takes its products in one order, so results do not depend on the instruction set or on how the
//! work was cut.

// Indices with constant bounds are unrolled, and name the registers that they stand for.
#![allow(clippy::needless_range_loop)]

use super::kernels::{Depthwise, Mean, Pointwise, SEVEN, before};
use super::simd::Simd;

/// Where the numbers lie that a 1x1 convolution multiplies: those of a position in segments, and positions side by side.
#[derive(Clone, Copy)]
pub(super) struct Layout {
    /// Numbers of a segment; the last may be shorter.
    pub segment: usize,
    /// Numbers from one column to the next.
    pub column: usize,
}

/// A convolution of 1x1 with 32 registers, which hold 28 sums.
///
/// # Safety
/// As [`Simd`]; the lengths are those that [`Pointwise::check`] asks for.
#[inline(always)]
pub(super) unsafe fn pointwise_32<S: Simd>(call: &Pointwise, layout: Layout, output: &mut [f32]) {
    // SAFETY: the caller's.
    unsafe {
        match call.blocks(S::LANES) {
            1 => fourteen::<S, 1>(call, layout, output),
            2 => fourteen::<S, 2>(call, layout, output),
            _ => unreachable!("panels have two blocks at most"),
        }
    }
}

/// A convolution of 1x1 with 16 registers, which hold 12 sums.
///
/// # Safety
/// As [`pointwise_32`].
#[inline(always)]
pub(super) unsafe fn pointwise_16<S: Simd>(call: &Pointwise, layout: Layout, output: &mut [f32]) {
    // SAFETY: the caller's.
    unsafe {
        match call.blocks(S::LANES) {
            1 => four::<S, 1>(call, layout, output),
            2 => four::<S, 2>(call, layout, output),
            3 => four::<S, 3>(call, layout, output),
            _ => unreachable!("panels have three blocks at most"),
        }
    }
}

/// Tiles of 14 columns, or of two rows of seven.
#[inline(always)]
unsafe fn fourteen<S: Simd, const N: usize>(call: &Pointwise, layout: Layout, output: &mut [f32]) {
    // SAFETY: every tile lies within the rows and columns of the call.
    unsafe {
        if call.columns.is_multiple_of(2 * SEVEN) {
            for row in 0..call.rows {
                for column in (0..call.columns).step_by(2 * SEVEN) {
                    tile::<S, 1, { 2 * SEVEN }, N>(call, layout, (row, column), output);
                }
            }
        } else {
            for column in (0..call.columns).step_by(SEVEN) {
                for row in (0..call.rows - call.rows % 2).step_by(2) {
                    tile::<S, 2, SEVEN, N>(call, layout, (row, column), output);
                }
                if call.rows % 2 == 1 {
                    tile::<S, 1, SEVEN, N>(call, layout, (call.rows - 1, column), output);
                }
            }
        }
    }
}

/// Tiles of four and of three columns.
#[inline(always)]
unsafe fn four<S: Simd, const N: usize>(call: &Pointwise, layout: Layout, output: &mut [f32]) {
    // SAFETY: every tile lies within the rows and columns of the call.
    unsafe {
        for row in 0..call.rows {
            for column in (0..call.columns).step_by(SEVEN) {
                tile::<S, 1, 4, N>(call, layout, (row, column), output);
                tile::<S, 1, 3, N>(call, layout, (row, column + 4), output);
            }
        }
    }
}

/// `R` rows of `C` columns, and `N` blocks of output channels.
#[inline(always)]
unsafe fn tile<S: Simd, const R: usize, const C: usize, const N: usize>(
    call: &Pointwise,
    layout: Layout,
    (row, column): (usize, usize),
    output: &mut [f32],
) {
    // SAFETY: `check` has compared the lengths of all slices with the positions and channels that are read and written here.
    unsafe {
        let mut weights = call.weights.as_ptr();
        let mut input = call.input.as_ptr().add(row * call.input_row + column * layout.column);
        let mut sums = [[[S::splat(0.0); N]; C]; R];
        for n in 0..N {
            let bias = S::load(call.bias.as_ptr().add(n * S::LANES));
            for r in 0..R {
                for c in 0..C {
                    sums[r][c][n] = bias;
                }
            }
        }
        let mut left = call.depth;
        while left > 0 {
            let count = left.min(layout.segment);
            for k in 0..count {
                let mut w = [S::splat(0.0); N];
                for n in 0..N {
                    w[n] = S::load(weights.add(n * S::LANES));
                }
                for r in 0..R {
                    for c in 0..C {
                        let x = S::splat(*input.add(r * call.input_row + c * layout.column + k));
                        for n in 0..N {
                            sums[r][c][n] = S::mul_add(x, w[n], sums[r][c][n]);
                        }
                    }
                }
                weights = weights.add(N * S::LANES);
            }
            left -= count;
            input = input.wrapping_add(call.input_block);
        }
        // Loops this simple are unrolled, and the sums stay in registers.
        let at =
            |r: usize, c: usize, n: usize| (row + r) * call.output_row + (n * call.columns + column + c) * S::LANES;
        if let Some(residual) = call.residual {
            for r in 0..R {
                for c in 0..C {
                    for n in 0..N {
                        sums[r][c][n] = S::add(sums[r][c][n], S::load(residual.as_ptr().add(at(r, c, n))));
                    }
                }
            }
        }
        if call.relu6 {
            for r in 0..R {
                for c in 0..C {
                    for n in 0..N {
                        sums[r][c][n] = S::relu6(sums[r][c][n]);
                    }
                }
            }
        }
        for r in 0..R {
            for c in 0..C {
                for n in 0..N {
                    S::store(output.as_mut_ptr().add(at(r, c, n)), sums[r][c][n]);
                }
            }
        }
    }
}

/// A block of channels, each filtered by itself.
///
/// # Safety
/// As [`Simd`]; the lengths are those that [`Depthwise::check`] asks for.
#[inline(always)]
pub(super) unsafe fn depthwise<S: Simd, const STRIDE: usize>(call: &Depthwise, output: &mut [f32]) {
    // SAFETY: `check` has compared the lengths with the positions that are read and written here; rows outside of the map are left out.
    unsafe {
        let filter = Filter::<S> {
            weights: std::array::from_fn(|y| {
                std::array::from_fn(|x| S::load(call.weights.as_ptr().add((y * 3 + x) * S::LANES)))
            }),
            bias: S::load(call.bias.as_ptr()),
        };
        let columns = call.columns / STRIDE;
        for (index, row) in call.outputs.clone().enumerate() {
            let rows: [Option<*const f32>; 3] = std::array::from_fn(|y| {
                let row = (row * STRIDE + y).wrapping_sub(before(STRIDE));
                (row < call.height).then(|| call.input.as_ptr().add(row % call.slots * call.input_row))
            });
            for column in (0..columns).step_by(SEVEN) {
                let to = output.as_mut_ptr().add(index * call.output_row + column * S::LANES);
                match (STRIDE == 1 && column == 0, column + SEVEN == columns) {
                    (false, false) => seven::<S, STRIDE, false, false>(&filter, rows, column, to),
                    (true, false) => seven::<S, STRIDE, true, false>(&filter, rows, column, to),
                    (false, true) => seven::<S, STRIDE, false, true>(&filter, rows, column, to),
                    (true, true) => seven::<S, STRIDE, true, true>(&filter, rows, column, to),
                }
            }
        }
    }
}

struct Filter<S: Simd> {
    weights: [[S::Vector; 3]; 3],
    bias: S::Vector,
}

/// Seven columns of output; at the map's `LEFT` or `RIGHT` border, the column outside is left out.
#[inline(always)]
unsafe fn seven<S: Simd, const STRIDE: usize, const LEFT: bool, const RIGHT: bool>(
    filter: &Filter<S>,
    rows: [Option<*const f32>; 3],
    column: usize,
    output: *mut f32,
) {
    // SAFETY: the caller's.
    unsafe {
        let mut sums = [filter.bias; SEVEN];
        for (row, weights) in rows.iter().zip(&filter.weights) {
            let Some(row) = row else { continue };
            let first = row
                .wrapping_add(column * STRIDE * S::LANES)
                .wrapping_sub(before(STRIDE) * S::LANES);
            for (x, &weight) in weights.iter().enumerate() {
                for (c, sum) in sums.iter_mut().enumerate() {
                    let is_outside = LEFT && x == 0 && c == 0 || RIGHT && x == 2 && c == SEVEN - 1;
                    if !is_outside {
                        *sum = S::mul_add(S::load(first.wrapping_add((c * STRIDE + x) * S::LANES)), weight, *sum);
                    }
                }
            }
        }
        for (c, sum) in sums.into_iter().enumerate() {
            S::store(output.add(c * S::LANES), S::relu6(sum));
        }
    }
}

/// The mean over all positions of each channel of a block.
///
/// # Safety
/// As [`Simd`]; the lengths are those that [`Mean::check`] asks for.
#[inline(always)]
pub(super) unsafe fn mean<S: Simd>(call: &Mean, output: &mut [f32]) {
    // SAFETY: `check` has compared the lengths.
    unsafe {
        let mut sums = [S::splat(0.0); SEVEN];
        for row in 0..call.rows {
            for (column, sum) in sums.iter_mut().enumerate() {
                let from = call.input.as_ptr().add(row * call.input_row + column * S::LANES);
                *sum = S::add(*sum, S::load(from));
            }
        }
        let mut sum = sums[0];
        for column in &sums[1..] {
            sum = S::add(sum, *column);
        }
        let share = S::splat(1.0 / (call.rows * SEVEN) as f32);
        S::store(output.as_mut_ptr(), S::mul_add(sum, share, S::splat(0.0)));
    }
}
