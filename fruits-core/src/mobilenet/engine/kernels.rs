//! What the engine asks of an instruction set, with its lengths checked.
//!
//! Maps are kept as `[rows][blocks][columns][lanes]`: the channels of a position in blocks of as many as a vector holds, so that everything
//! is read and written as whole vectors that lie side by side, and rows can be given to different threads.

use std::ops::Range;

#[cfg(target_arch = "x86_64")]
use super::{
    simd::{Avx2, Avx512},
    tile::{self, Layout},
};

/// Every map has a multiple of so many columns.
pub(super) const SEVEN: usize = 7;

/// Rows and columns of zeros before the first of a map; Keras pads maps of even size, which stride 2 halves, behind their end only.
pub(super) const fn before(stride: usize) -> usize {
    if stride == 1 { 1 } else { 0 }
}

/// A convolution of 1x1 for some blocks of output channels; or, in the stem, one of 3x3 whose input lies in lines of 3 x 3 numbers.
#[derive(Clone, Copy)]
pub(super) struct Pointwise<'a> {
    pub input: &'a [f32],
    /// Numbers from one row to the next.
    pub input_row: usize,
    /// Numbers from one block, or line, to the next.
    pub input_block: usize,
    /// Channels of the input.
    pub depth: usize,
    /// `[depth][blocks * lanes]`.
    pub weights: &'a [f32],
    /// `[blocks * lanes]`.
    pub bias: &'a [f32],
    pub rows: usize,
    pub columns: usize,
    /// Numbers from one row of the output to the next.
    pub output_row: usize,
    /// What is added to the sums; it lies as the output does.
    pub residual: Option<&'a [f32]>,
    /// Whether sums are cut to the range from 0 to 6.
    pub relu6: bool,
}

/// A convolution of 3x3 of each channel by itself, for one block of channels, cut to the range from 0 to 6.
pub(super) struct Depthwise<'a> {
    /// Rows of the block; row `y` lies in slot `y % slots`.
    pub input: &'a [f32],
    pub slots: usize,
    /// Numbers from one slot to the next.
    pub input_row: usize,
    /// Rows and columns of the whole map.
    pub height: usize,
    pub columns: usize,
    /// 1 or 2.
    pub stride: usize,
    /// `[9][lanes]`.
    pub weights: &'a [f32],
    /// `[lanes]`.
    pub bias: &'a [f32],
    /// Rows of the output to make.
    pub outputs: Range<usize>,
    /// Numbers from one row of the output to the next.
    pub output_row: usize,
}

/// The mean over the positions of each channel of one block, in a map of seven columns.
pub(super) struct Mean<'a> {
    pub input: &'a [f32],
    pub input_row: usize,
    pub rows: usize,
}

/// Numbers from the first row of a map to the end of its last.
fn extent(rows: usize, row: usize, last: usize) -> usize {
    if rows == 0 { 0 } else { (rows - 1) * row + last }
}

impl Pointwise<'_> {
    /// The blocks of output channels.
    pub fn blocks(&self, lanes: usize) -> usize {
        self.bias.len() / lanes
    }

    /// Panics if a slice is shorter than what is read from or written to it.
    fn check(&self, lanes: usize, layout: [usize; 2], output: &[f32]) {
        let [segment, column] = layout;
        let blocks = self.blocks(lanes);
        assert!(self.depth > 0 && self.columns > 0 && self.columns.is_multiple_of(SEVEN));
        assert!(self.bias.len() == blocks * lanes && self.weights.len() == self.depth * blocks * lanes);
        let last_block = (self.depth - 1) / segment * self.input_block + (self.depth - 1) % segment;
        let last = last_block + (self.columns - 1) * column + 1;
        assert!(self.input.len() >= extent(self.rows, self.input_row, last));
        let end = extent(self.rows, self.output_row, blocks * self.columns * lanes);
        assert!(output.len() >= end && self.residual.is_none_or(|residual| residual.len() >= end));
    }
}

impl Depthwise<'_> {
    /// Panics if a slice is shorter than what is read from or written to it.
    fn check(&self, lanes: usize, output: &[f32]) {
        assert!(matches!(self.stride, 1 | 2) && self.slots > 0);
        assert!(self.columns.is_multiple_of(SEVEN * self.stride) && self.outputs.end <= self.height / self.stride);
        assert!(self.weights.len() == 9 * lanes && self.bias.len() == lanes);
        let slots = self.slots.min(self.height);
        assert!(self.input.len() >= extent(slots, self.input_row, self.columns * lanes));
        let columns = self.columns / self.stride;
        assert!(output.len() >= extent(self.outputs.len(), self.output_row, columns * lanes));
    }
}

impl Mean<'_> {
    /// Panics if a slice is shorter than what is read from or written to it.
    fn check(&self, lanes: usize, output: &[f32]) {
        assert!(self.rows > 0 && self.input.len() >= extent(self.rows, self.input_row, SEVEN * lanes));
        assert!(output.len() == lanes);
    }
}

/// The kernels of an instruction set that this processor has.
pub(super) struct Kernels {
    pub name: &'static str,
    /// Channels of a block.
    pub lanes: usize,
    /// The most blocks of output channels that a pointwise convolution makes at once.
    pub widest: usize,
    pointwise: unsafe fn(&Pointwise, &mut [f32]),
    stem: unsafe fn(&Pointwise, &mut [f32]),
    depthwise: unsafe fn(&Depthwise, &mut [f32]),
    mean: unsafe fn(&Mean, &mut [f32]),
    scale: unsafe fn(&[u8], &mut [f32]),
}

/// Numbers from one output column to the next in a line of pixels: stride 2, three channels.
const STEM_COLUMN: usize = 6;
/// Numbers of a line that an output column takes: three pixels of three channels.
const STEM_SEGMENT: usize = 9;

impl Kernels {
    /// All that this processor can run, the fastest first.
    pub fn all() -> impl Iterator<Item = &'static Kernels> {
        #[cfg(target_arch = "x86_64")]
        let all = [
            std::is_x86_feature_detected!("avx512f").then_some(&avx512::KERNELS),
            (std::is_x86_feature_detected!("avx2") && std::is_x86_feature_detected!("fma")).then_some(&avx2::KERNELS),
        ];
        #[cfg(not(target_arch = "x86_64"))]
        let all: [Option<&'static Kernels>; 0] = [];
        all.into_iter().flatten()
    }

    /// A convolution of 1x1.
    pub fn pointwise(&self, call: &Pointwise, output: &mut [f32]) {
        call.check(self.lanes, [self.lanes, self.lanes], output);
        // SAFETY: the processor has the instructions, else `all` would not have given this out, and the lengths are checked.
        unsafe { (self.pointwise)(call, output) }
    }

    /// A convolution of 3x3 with stride 2 on lines of pixels.
    pub fn stem(&self, call: &Pointwise, output: &mut [f32]) {
        call.check(self.lanes, [STEM_SEGMENT, STEM_COLUMN], output);
        // SAFETY: as above.
        unsafe { (self.stem)(call, output) }
    }

    /// A convolution of 3x3 of each channel by itself.
    pub fn depthwise(&self, call: &Depthwise, output: &mut [f32]) {
        call.check(self.lanes, output);
        // SAFETY: as above.
        unsafe { (self.depthwise)(call, output) }
    }

    /// The mean of each channel.
    pub fn mean(&self, call: &Mean, output: &mut [f32]) {
        call.check(self.lanes, output);
        // SAFETY: as above.
        unsafe { (self.mean)(call, output) }
    }

    /// Levels of pixels as numbers in [-1, 1]: Keras' `preprocess_input`, whose division and subtraction are in `f32`.
    pub fn scale(&self, levels: &[u8], output: &mut [f32]) {
        // SAFETY: as above; it reads and writes as many as both have.
        unsafe { (self.scale)(levels, output) }
    }
}

#[cfg(target_arch = "x86_64")]
macro_rules! kernels {
    ($module:ident, $simd:ty, $features:literal, $pointwise:ident, $widest:literal) => {
        mod $module {
            use super::*;
            use crate::mobilenet::engine::simd::Simd;

            pub static KERNELS: Kernels = Kernels {
                name: $features,
                lanes: LANES,
                widest: $widest,
                pointwise,
                stem,
                depthwise,
                mean,
                scale,
            };
            const LANES: usize = <$simd>::LANES;

            #[target_feature(enable = $features)]
            fn pointwise(call: &Pointwise, output: &mut [f32]) {
                let layout = Layout {
                    segment: LANES,
                    column: LANES,
                };
                // SAFETY: the features are those that the vectors need.
                unsafe { tile::$pointwise::<$simd>(call, layout, output) }
            }

            #[target_feature(enable = $features)]
            fn stem(call: &Pointwise, output: &mut [f32]) {
                let layout = Layout {
                    segment: STEM_SEGMENT,
                    column: STEM_COLUMN,
                };
                // SAFETY: the features are those that the vectors need.
                unsafe { tile::$pointwise::<$simd>(call, layout, output) }
            }

            #[target_feature(enable = $features)]
            fn depthwise(call: &Depthwise, output: &mut [f32]) {
                // SAFETY: the features are those that the vectors need.
                match call.stride {
                    1 => unsafe { tile::depthwise::<$simd, 1>(call, output) },
                    _ => unsafe { tile::depthwise::<$simd, 2>(call, output) },
                }
            }

            #[target_feature(enable = $features)]
            fn mean(call: &Mean, output: &mut [f32]) {
                // SAFETY: the features are those that the vectors need.
                unsafe { tile::mean::<$simd>(call, output) }
            }

            #[target_feature(enable = $features)]
            fn scale(levels: &[u8], output: &mut [f32]) {
                for (number, &level) in output.iter_mut().zip(levels) {
                    *number = f32::from(level) / 127.5 - 1.0;
                }
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
kernels!(avx512, Avx512, "avx512f", pointwise_32, 2);
#[cfg(target_arch = "x86_64")]
kernels!(avx2, Avx2, "avx2,fma", pointwise_16, 3);
