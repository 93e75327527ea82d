//! The weights of Pillow's bicubic filter, and its arithmetic.

use std::ops::Range;

/// Fractional bits of a weight: 32 bits less 8 for the pixel and 2 for the filter's overshoot.
pub(super) const PRECISION_BITS: u32 = 32 - 8 - 2;
/// Half the width of the cubic filter, in pixels of the larger of both images.
const SUPPORT: f64 = 2.0;
/// The parameter of the cubic filter.
const A: f64 = -0.5;

/// For each output pixel along one axis: which input pixels count, and how much.
#[derive(Default)]
pub(super) struct Weights {
    input: usize,
    output: usize,
    /// The first input pixel, and where the weights lie of it and those behind it.
    spans: Vec<(usize, Range<usize>)>,
    values: Vec<i32>,
}

impl Weights {
    /// Those of `precompute_coeffs` and `normalize_coeffs_8bpc` of Pillow; the order of operations decides the last bit.
    /// Says whether they are others than before.
    pub fn set(&mut self, input: usize, output: usize) -> bool {
        if (self.input, self.output) == (input, output) {
            return false;
        }
        (self.input, self.output) = (input, output);
        self.spans.clear();
        self.values.clear();
        let scale = input as f64 / output as f64;
        let filter_scale = scale.max(1.0);
        let support = SUPPORT * filter_scale;
        let inverse = 1.0 / filter_scale;
        let mut exact = Vec::new();
        for x in 0..output {
            let centre = (x as f64 + 0.5) * scale;
            let first = (centre - support + 0.5).max(0.0) as usize;
            let last = ((centre + support + 0.5) as usize).min(input);
            exact.clear();
            exact.extend((first..last).map(|i| cubic((i as f64 - centre + 0.5) * inverse)));
            let sum: f64 = exact.iter().sum();
            let sum = if sum == 0.0 { 1.0 } else { sum };
            let start = self.values.len();
            self.values.extend(exact.iter().map(|weight| to_fixed(weight / sum)));
            self.spans.push((first, start..self.values.len()));
        }
        true
    }

    /// For each output pixel, the first input pixel that counts, and the weights of it and those behind it.
    pub fn spans(&self) -> impl ExactSizeIterator<Item = (usize, &[i32])> {
        let span = |(first, values): &(usize, Range<usize>)| (*first, &self.values[values.clone()]);
        self.spans.iter().map(span)
    }
}

/// Keys' cubic convolution kernel (1981) with a = -1/2.
fn cubic(x: f64) -> f64 {
    let x = x.abs();
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * A
    } else {
        0.0
    }
}

/// Rounds half away from zero.
fn to_fixed(weight: f64) -> i32 {
    let scaled = weight * f64::from(1u32 << PRECISION_BITS);
    (scaled + 0.5_f64.copysign(scaled)) as i32
}

/// Sums start at one half, so that the shift rounds.
pub(super) const HALF: i32 = 1 << (PRECISION_BITS - 1);

#[inline(always)]
pub(super) fn clip(sum: i32) -> u8 {
    (sum >> PRECISION_BITS).clamp(0, 255) as u8
}
