//! What the engine asks of an instruction set, with its lengths checked.
//!
//! A map of channels lies as `[rows][blocks][columns][channels of a block]`: a block holds as many channels as fit into a cache line (with
//! AVX2, into half of one), so that everything is read and written as whole vectors that lie side by side, and rows can be given to
//! different threads.
//!
//! The 1x1 convolutions multiply operands of type `E`, which is what maps between blocks hold; sums, and the hidden maps, are `f32`.

use std::ops::Range;

use half::bf16;

#[cfg(target_arch = "x86_64")]
use super::amx;
use super::buffer::Number;
use super::tile::{self, Layout};
#[cfg(target_arch = "x86_64")]
use crate::simd::{Avx2, Avx512};
use crate::simd::{Of, Plain, Simd};

/// Every map has a multiple of so many columns.
pub(super) const SEVEN: usize = 7;

/// Rows and columns of zeros before the first of a map; Keras pads maps of even size, which stride 2 halves, behind their end only.
#[inline(always)]
pub(super) const fn before(stride: usize) -> usize {
    if stride == 1 { 1 } else { 0 }
}

/// A convolution of 1x1 for some output channels; or, in the stem, one of 3x3 whose input lies in lines of 3 x 3 numbers.
pub(super) struct Pointwise<'a, I, O> {
    pub input: &'a [I],
    /// Numbers from one row to the next.
    pub input_row: usize,
    /// Numbers from one block, or line, to the next.
    pub input_block: usize,
    /// Channels of the input.
    pub depth: usize,
    /// `[depth / step][channels][step]`, where `step` numbers are multiplied at once.
    pub weights: &'a [I],
    /// `[channels]`.
    pub bias: &'a [f32],
    pub rows: usize,
    pub columns: usize,
    /// Numbers from one row of the output to the next.
    pub output_row: usize,
    /// What is added to the sums; it lies as the output does.
    pub residual: Option<&'a [O]>,
    /// Whether sums are cut to the range from 0 to 6.
    pub relu6: bool,
}

impl<I, O> Clone for Pointwise<'_, I, O> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<I, O> Copy for Pointwise<'_, I, O> {}

/// A convolution of 3x3 of each channel by itself, for one vector of channels, cut to the range from 0 to 6.
pub(super) struct Depthwise<'a> {
    /// Rows of the channels; row `y` lies in slot `y % slots`.
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

/// The mean over the positions of each channel of one vector, in a map of seven columns.
pub(super) struct Mean<'a> {
    pub input: &'a [f32],
    pub input_row: usize,
    pub rows: usize,
}

/// Numbers from the first row of a map to the end of its last.
fn extent(rows: usize, row: usize, last: usize) -> usize {
    if rows == 0 { 0 } else { (rows - 1) * row + last }
}

impl<I, O> Pointwise<'_, I, O> {
    /// The vectors of output channels.
    pub fn vectors(&self, lanes: usize) -> usize {
        self.bias.len() / lanes
    }

    /// Panics if a slice is shorter than what is read from or written to it. A block of the output holds `block` channels.
    fn check(&self, lanes: usize, step: usize, (segment, column): (usize, usize), block: usize, output: &[O]) {
        let channels = self.vectors(lanes) * lanes;
        assert!(self.columns > 0 && self.columns.is_multiple_of(SEVEN));
        assert!(self.depth > 0 && self.depth.is_multiple_of(step));
        assert!(self.bias.len() == channels && self.weights.len() == self.depth * channels);
        let last_segment = (self.depth - 1) / segment * self.input_block + (self.depth - 1) % segment;
        let last = last_segment + (self.columns - 1) * column + 1;
        assert!(self.input.len() >= extent(self.rows, self.input_row, last));
        let (whole, rest) = (channels / block * block * self.columns, channels % block);
        let last = if rest == 0 {
            whole
        } else {
            whole + (self.columns - 1) * block + rest
        };
        let end = extent(self.rows, self.output_row, last);
        assert!(output.len() >= end && self.residual.is_none_or(|residual| residual.len() >= end));
    }
}

impl Depthwise<'_> {
    /// Panics if a slice is shorter than what is read from or written to it. A block of the output holds `block` channels.
    fn check<O>(&self, lanes: usize, block: usize, output: &[O]) {
        assert!(matches!(self.stride, 1 | 2) && self.slots > 0);
        assert!(self.columns.is_multiple_of(SEVEN * self.stride) && self.outputs.end <= self.height / self.stride);
        assert!(self.weights.len() == 9 * lanes && self.bias.len() == lanes);
        let slots = self.slots.min(self.height);
        assert!(self.input.len() >= extent(slots, self.input_row, self.columns * lanes));
        let last = (self.columns / self.stride - 1) * block + lanes;
        assert!(output.len() >= extent(self.outputs.len(), self.output_row, last));
    }
}

impl Mean<'_> {
    /// Panics if a slice is shorter than what is read from or written to it.
    fn check(&self, lanes: usize, output: &[f32]) {
        assert!(self.rows > 0 && self.input.len() >= extent(self.rows, self.input_row, SEVEN * lanes));
        assert!(output.len() == lanes);
    }
}

/// The kernels of an instruction set that this processor has, for operands of type `E`.
pub(super) struct Kernels<E: 'static> {
    pub name: &'static str,
    /// Numbers of a vector of `f32`; a block of a hidden map holds as many channels.
    pub lanes: usize,
    /// Channels of a block of operands.
    pub block: usize,
    /// Operands that are multiplied at once.
    pub step: usize,
    /// Depths are filled up with zeros to a multiple of this.
    pub depth: usize,
    /// The most vectors of output channels that a pointwise convolution makes at once.
    pub widest: usize,
    expand: unsafe fn(&Pointwise<E, f32>, &mut [f32]),
    project: unsafe fn(&Pointwise<E, E>, &mut [E]),
    stem: unsafe fn(&Pointwise<f32, f32>, &mut [f32]),
    depthwise: unsafe fn(&Depthwise, &mut [E]),
    mean: unsafe fn(&Mean, &mut [f32]),
    scale: unsafe fn(&[u8], &mut [f32]),
}

/// Where the stem's input lies: from one output column to the next six numbers (stride 2, three channels), and of each line nine.
const STEM: (usize, usize) = (9, 6);

/// A type of operands.
pub(super) trait Operand: Number + Default {
    /// All kernels for it that this processor can run, the fastest first; for `f32` there are some on every processor.
    fn kernels() -> Vec<&'static Kernels<Self>>;
    fn from_f32(number: f32) -> Self;
}

impl Operand for f32 {
    fn kernels() -> Vec<&'static Kernels<f32>> {
        let mut kernels: Vec<&Kernels<f32>> = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            if std::is_x86_feature_detected!("avx512f") {
                kernels.push(&sets::avx512::KERNELS);
            }
            if std::is_x86_feature_detected!("avx2") && std::is_x86_feature_detected!("fma") {
                kernels.push(&sets::avx2::KERNELS);
            }
        }
        kernels.push(&sets::plain::KERNELS);
        kernels
    }

    fn from_f32(number: f32) -> f32 {
        number
    }
}

impl Operand for bf16 {
    fn kernels() -> Vec<&'static Kernels<bf16>> {
        let mut kernels: Vec<&Kernels<bf16>> = Vec::new();
        #[cfg(target_arch = "x86_64")]
        if std::is_x86_feature_detected!("avx512bf16") {
            if amx::is_available() {
                kernels.push(&sets::avx512_amx::KERNELS);
            }
            kernels.push(&sets::avx512_bf16::KERNELS);
        }
        kernels
    }

    fn from_f32(number: f32) -> bf16 {
        bf16::from_f32(number)
    }
}

// SAFETY of all calls: the processor has the instructions, else `Operand::kernels` would not have given these out, and the lengths that
// the kernels rely on are checked.
impl<E> Kernels<E> {
    /// A convolution of 1x1 to a hidden map.
    pub fn expand(&self, call: &Pointwise<E, f32>, output: &mut [f32]) {
        call.check(self.lanes, self.depth, (self.block, self.block), self.lanes, output);
        unsafe { (self.expand)(call, output) }
    }

    /// A convolution of 1x1 to a map.
    pub fn project(&self, call: &Pointwise<E, E>, output: &mut [E]) {
        call.check(self.lanes, self.depth, (self.block, self.block), self.block, output);
        unsafe { (self.project)(call, output) }
    }

    /// A convolution of 3x3 with stride 2 on lines of pixels.
    pub fn stem(&self, call: &Pointwise<f32, f32>, output: &mut [f32]) {
        call.check(self.lanes, 1, STEM, self.lanes, output);
        unsafe { (self.stem)(call, output) }
    }

    /// A convolution of 3x3 of each channel by itself.
    pub fn depthwise(&self, call: &Depthwise, output: &mut [E]) {
        call.check(self.lanes, self.block, output);
        unsafe { (self.depthwise)(call, output) }
    }

    /// The mean of each channel.
    pub fn mean(&self, call: &Mean, output: &mut [f32]) {
        call.check(self.lanes, output);
        unsafe { (self.mean)(call, output) }
    }

    /// Levels of pixels as numbers in [-1, 1]: Keras' `preprocess_input`, whose division and subtraction are in `f32`.
    pub fn scale(&self, levels: &[u8], output: &mut [f32]) {
        unsafe { (self.scale)(levels, output) }
    }
}

macro_rules! kernels {
    ($(#[$features:meta])? $module:ident, $simd:ty, $operand:ty, depth: $depth:expr, widest: $widest:expr, $pointwise:path, $stem:path) => {
        pub mod $module {
            use super::*;

            pub static KERNELS: Kernels<$operand> = Kernels {
                name: stringify!($module),
                lanes: <$simd>::LANES,
                block: <$simd>::LANES * <$simd as Of<$operand>>::VECTORS,
                step: <$simd as Of<$operand>>::STEP,
                depth: $depth,
                widest: $widest,
                expand,
                project,
                stem,
                depthwise,
                mean,
                scale,
            };

            // SAFETY of all calls: the features are those that the vectors need.

            $(#[$features])?
            fn expand(call: &Pointwise<$operand, f32>, output: &mut [f32]) {
                unsafe { $pointwise(call, Layout::of_map::<$simd, $operand>(), output) }
            }

            $(#[$features])?
            fn project(call: &Pointwise<$operand, $operand>, output: &mut [$operand]) {
                unsafe { $pointwise(call, Layout::of_map::<$simd, $operand>(), output) }
            }

            $(#[$features])?
            fn stem(call: &Pointwise<f32, f32>, output: &mut [f32]) {
                let (segment, column) = STEM;
                unsafe { $stem(call, Layout { segment, column }, output) }
            }

            $(#[$features])?
            fn depthwise(call: &Depthwise, output: &mut [$operand]) {
                match call.stride {
                    1 => unsafe { tile::depthwise::<$simd, $operand, 1>(call, output) },
                    _ => unsafe { tile::depthwise::<$simd, $operand, 2>(call, output) },
                }
            }

            $(#[$features])?
            fn mean(call: &Mean, output: &mut [f32]) {
                unsafe { tile::mean::<$simd>(call, output) }
            }

            $(#[$features])?
            fn scale(levels: &[u8], output: &mut [f32]) {
                for (number, &level) in output.iter_mut().zip(levels) {
                    *number = f32::from(level) / 127.5 - 1.0;
                }
            }
        }
    };
}

#[rustfmt::skip]
mod sets {
    use super::*;
    kernels!(plain, Plain, f32, depth: 1, widest: 3, tile::pointwise_16::<Plain, _, _>, tile::pointwise_16::<Plain, _, _>);
    #[cfg(target_arch = "x86_64")]
    pub use x86::*;
    #[cfg(target_arch = "x86_64")]
    mod x86 {
        use super::*;
        kernels!(#[target_feature(enable = "avx512f")] avx512, Avx512, f32, depth: 1, widest: 2, tile::pointwise_32::<Avx512, _, _>, tile::pointwise_32::<Avx512, _, _>);
        kernels!(#[target_feature(enable = "avx2,fma")] avx2, Avx2, f32, depth: 1, widest: 3, tile::pointwise_16::<Avx2, _, _>, tile::pointwise_16::<Avx2, _, _>);
        kernels!(#[target_feature(enable = "avx512f,avx512bf16")] avx512_bf16, Avx512, bf16, depth: 2, widest: 2, tile::pointwise_32::<Avx512, _, _>, tile::pointwise_32::<Avx512, _, _>);
        kernels!(#[target_feature(enable = "avx512f,avx512bf16")] avx512_amx, Avx512, bf16, depth: 32, widest: 2, amx::pointwise, tile::pointwise_32::<Avx512, _, _>);
    }
}
