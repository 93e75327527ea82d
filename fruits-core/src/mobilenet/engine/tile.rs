//! The inner loops, for vectors of any kind: sums that stay in registers while they grow.
//!
//! Every sum begins with the bias and takes its products in one order, so results do not depend on the instruction set or on how the
//! work was cut.
//!
//! All is inlined into the kernels, which are compiled for an instruction set. So there are plain loops here: what iterators and closures
//! are made of, the compiler may leave elsewhere, and compile for any processor.

use super::kernels::{Depthwise, Mean, Pointwise, SEVEN, before};
use crate::simd::{Of, Simd, Walk};

/// Where the numbers lie that a 1x1 convolution multiplies: those of a position in segments, and positions side by side.
#[derive(Clone, Copy)]
pub(super) struct Layout {
    /// Numbers of a segment; the last may be shorter.
    pub segment: usize,
    /// Numbers from one column to the next.
    pub column: usize,
}

impl Layout {
    /// That of maps, whose segments are blocks of channels.
    #[inline(always)]
    pub fn of_map<S: Of<I>, I>() -> Self {
        let block = S::LANES * <S as Of<I>>::VECTORS;
        Layout {
            segment: block,
            column: block,
        }
    }
}

/// A convolution of 1x1 with 32 registers, which hold 28 sums.
///
/// # Safety
/// As [`Simd`]; the lengths are those that [`Pointwise::check`] asks for.
#[inline(always)]
pub(super) unsafe fn pointwise_32<S: Of<I> + Of<O>, I, O>(call: &Pointwise<I, O>, layout: Layout, output: &mut [O]) {
    // SAFETY: the caller's.
    unsafe {
        match call.vectors(S::LANES) {
            1 => fourteen::<S, I, O, 1>(call, layout, output),
            2 => fourteen::<S, I, O, 2>(call, layout, output),
            _ => unreachable!("panels have two vectors at most"),
        }
    }
}

/// A convolution of 1x1 with 16 registers, which hold 12 sums.
///
/// # Safety
/// As [`pointwise_32`].
#[inline(always)]
pub(super) unsafe fn pointwise_16<S: Of<I> + Of<O>, I, O>(call: &Pointwise<I, O>, layout: Layout, output: &mut [O]) {
    // SAFETY: the caller's.
    unsafe {
        match call.vectors(S::LANES) {
            1 => four::<S, I, O, 1>(call, layout, output),
            2 => four::<S, I, O, 2>(call, layout, output),
            3 => four::<S, I, O, 3>(call, layout, output),
            _ => unreachable!("panels have three vectors at most"),
        }
    }
}

/// Tiles of 14 columns, or of two rows of seven.
#[inline(always)]
unsafe fn fourteen<S: Of<I> + Of<O>, I, O, const N: usize>(call: &Pointwise<I, O>, layout: Layout, output: &mut [O]) {
    // SAFETY: every tile lies within the rows and columns of the call.
    unsafe {
        if call.columns.is_multiple_of(2 * SEVEN) {
            for row in 0..call.rows {
                for column in (0..call.columns).step_by(2 * SEVEN) {
                    tile::<S, I, O, 1, { 2 * SEVEN }, N>(call, layout, (row, column), output);
                }
            }
        } else {
            for column in (0..call.columns).step_by(SEVEN) {
                for row in (0..call.rows - call.rows % 2).step_by(2) {
                    tile::<S, I, O, 2, SEVEN, N>(call, layout, (row, column), output);
                }
                if call.rows % 2 == 1 {
                    tile::<S, I, O, 1, SEVEN, N>(call, layout, (call.rows - 1, column), output);
                }
            }
        }
    }
}

/// Tiles of four columns, and of three where rows have no multiple of four.
#[inline(always)]
unsafe fn four<S: Of<I> + Of<O>, I, O, const N: usize>(call: &Pointwise<I, O>, layout: Layout, output: &mut [O]) {
    // SAFETY: every tile lies within the rows and columns of the call.
    unsafe {
        for row in 0..call.rows {
            let mut column = 0;
            while column < call.columns {
                tile::<S, I, O, 1, 4, N>(call, layout, (row, column), output);
                column += 4;
                if !call.columns.is_multiple_of(4) {
                    tile::<S, I, O, 1, 3, N>(call, layout, (row, column), output);
                    column += 3;
                }
            }
        }
    }
}

/// `R` rows of `C` columns, and `N` vectors of output channels.
#[inline(always)]
unsafe fn tile<S: Of<I> + Of<O>, I, O, const R: usize, const C: usize, const N: usize>(
    call: &Pointwise<I, O>,
    layout: Layout,
    (row, column): (usize, usize),
    output: &mut [O],
) {
    // SAFETY: `check` has compared the lengths of all slices with the positions and channels that are read and written here.
    unsafe {
        let mut sums = [[[S::splat(0.0); N]; C]; R];
        for n in 0..N {
            let bias = S::load(call.bias.as_ptr().add(n * S::LANES));
            for r in 0..R {
                for c in 0..C {
                    sums[r][c][n] = bias;
                }
            }
        }
        let input = call.input.as_ptr().add(row * call.input_row + column * layout.column);
        let walk = Walk {
            row: call.input_row,
            column: layout.column,
            block: call.input_block,
            segment: layout.segment,
            depth: call.depth,
        };
        S::multiply(&mut sums, input, call.weights.as_ptr(), walk);
        finish::<S, I, O, R, C, N>(call, (row, column), sums, output);
    }
}

/// Does what follows on the sums, and stores them.
///
/// # Safety
/// As [`pointwise_32`]; the positions lie within those of the call.
#[inline(always)]
pub(super) unsafe fn finish<S: Of<O>, I, O, const R: usize, const C: usize, const N: usize>(
    call: &Pointwise<I, O>,
    (row, column): (usize, usize),
    mut sums: [[[S::Vector; N]; C]; R],
    output: &mut [O],
) {
    let vectors = <S as Of<O>>::VECTORS;
    let place = |r: usize, c: usize, n: usize| {
        let position = n / vectors * call.columns + column + c;
        (row + r) * call.output_row + (position * vectors + n % vectors) * S::LANES
    };
    // SAFETY: the caller's. Loops this simple are unrolled, and the sums stay in registers.
    unsafe {
        if let Some(residual) = call.residual {
            for r in 0..R {
                for c in 0..C {
                    for n in 0..N {
                        let before = <S as Of<O>>::load_from(residual.as_ptr().add(place(r, c, n)));
                        sums[r][c][n] = S::add(sums[r][c][n], before);
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
                    <S as Of<O>>::store_to(output.as_mut_ptr().add(place(r, c, n)), sums[r][c][n]);
                }
            }
        }
    }
}

/// A vector of channels, each filtered by itself.
///
/// # Safety
/// As [`Simd`]; the lengths are those that [`Depthwise::check`] asks for.
#[inline(always)]
pub(super) unsafe fn depthwise<S: Of<O>, O, const STRIDE: usize>(call: &Depthwise, output: &mut [O]) {
    let step = S::LANES * <S as Of<O>>::VECTORS;
    // SAFETY: `check` has compared the lengths with the positions that are read and written here; rows outside of the map are left out.
    unsafe {
        let mut filter = Filter::<S> {
            weights: [[S::splat(0.0); 3]; 3],
            bias: S::load(call.bias.as_ptr()),
        };
        for y in 0..3 {
            for x in 0..3 {
                filter.weights[y][x] = S::load(call.weights.as_ptr().add((y * 3 + x) * S::LANES));
            }
        }
        let columns = call.columns / STRIDE;
        for (index, row) in call.outputs.clone().enumerate() {
            let mut rows = [None; 3];
            for y in 0..3 {
                let row = (row * STRIDE + y).wrapping_sub(before(STRIDE));
                if row < call.height {
                    rows[y] = Some(call.input.as_ptr().add(row % call.slots * call.input_row));
                }
            }
            for column in (0..columns).step_by(SEVEN) {
                let to = output.as_mut_ptr().add(index * call.output_row + column * step);
                match (STRIDE == 1 && column == 0, column + SEVEN == columns) {
                    (false, false) => seven::<S, O, STRIDE, false, false>(&filter, rows, column, to),
                    (true, false) => seven::<S, O, STRIDE, true, false>(&filter, rows, column, to),
                    (false, true) => seven::<S, O, STRIDE, false, true>(&filter, rows, column, to),
                    (true, true) => seven::<S, O, STRIDE, true, true>(&filter, rows, column, to),
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
unsafe fn seven<S: Of<O>, O, const STRIDE: usize, const LEFT: bool, const RIGHT: bool>(
    filter: &Filter<S>,
    rows: [Option<*const f32>; 3],
    column: usize,
    output: *mut O,
) {
    let step = S::LANES * <S as Of<O>>::VECTORS;
    // SAFETY: the caller's.
    unsafe {
        let mut sums = [filter.bias; SEVEN];
        for y in 0..3 {
            let Some(row) = rows[y] else { continue };
            let first = row
                .wrapping_add(column * STRIDE * S::LANES)
                .wrapping_sub(before(STRIDE) * S::LANES);
            for x in 0..3 {
                for c in 0..SEVEN {
                    let is_outside = LEFT && x == 0 && c == 0 || RIGHT && x == 2 && c == SEVEN - 1;
                    if !is_outside {
                        let input = S::load(first.wrapping_add((c * STRIDE + x) * S::LANES));
                        sums[c] = S::mul_add(input, filter.weights[y][x], sums[c]);
                    }
                }
            }
        }
        for c in 0..SEVEN {
            <S as Of<O>>::store_to(output.add(c * step), S::relu6(sums[c]));
        }
    }
}

/// The mean over all positions of each channel of a vector.
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
