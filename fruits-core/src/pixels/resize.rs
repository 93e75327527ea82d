//! Pillow's bicubic filter for 8-bit images.
//!
//! Pillow resamples in two passes, one along rows and one along columns. Each output pixel is a weighted sum of input pixels; when an image
//! shrinks, the filter widens so that every input pixel counts. Weights are rounded to integers of 22 fractional bits, and each pass
//! rounds and clips to 8 bits. Doing the same sums in integers gives the same bytes. (`src/libImaging/Resample.c` of Pillow.)

use std::ops::Range;

use super::RgbImage;

const CHANNELS: usize = 3;
/// Fractional bits of a weight: 32 bits less 8 for the pixel and 2 for the filter's overshoot.
const PRECISION_BITS: u32 = 32 - 8 - 2;
/// Half the width of the cubic filter, in pixels of the larger of both images.
const SUPPORT: f64 = 2.0;
/// The parameter of the cubic filter.
const A: f64 = -0.5;

/// Resizes to `width` x `height` with Pillow's default filter. The result equals `image.resize((width, height))` byte for byte.
///
/// # Panics
/// If a side of either image is zero.
pub fn resize(image: &RgbImage, width: u32, height: u32) -> RgbImage {
    Resizer::new(width, height).resize(image, RgbImage::default())
}

/// Resizes one image after the other to the same size.
pub(super) struct Resizer {
    width: u32,
    height: u32,
    /// Those used last, along rows and along columns.
    rows: Weights,
    columns: Weights,
    /// The image between the passes.
    between: RgbImage,
}

impl Resizer {
    pub fn new(width: u32, height: u32) -> Self {
        assert!(width > 0 && height > 0);
        Resizer {
            width,
            height,
            rows: Weights::new(width as usize, width as usize),
            columns: Weights::new(height as usize, height as usize),
            between: RgbImage::default(),
        }
    }

    /// As [`resize`], into the memory of `output`.
    pub fn resize(&mut self, image: &RgbImage, output: RgbImage) -> RgbImage {
        assert!(image.width() > 0 && image.height() > 0);
        self.rows.set_input(image.width() as usize);
        self.columns.set_input(image.height() as usize);
        // Since version 13, Pillow begins with the columns where that saves work; each pass rounds, so the order shows.
        let less = |from: u32, to: u32| i64::from(from) - i64::from(to);
        let (less_width, less_height) = (less(image.width(), self.width), less(image.height(), self.height));
        let columns_first = less_height > 0 && less_height > 2 * less_width;

        let (size, between) = ((self.width, self.height), std::mem::take(&mut self.between));
        let (output, between) = match (less_width != 0, less_height != 0) {
            (false, false) => (image.clone(), between),
            (true, false) => (along_rows(image, &self.rows, sized(output, size)), between),
            (false, true) => (along_columns(image, &self.columns, sized(output, size)), between),
            (true, true) if columns_first => {
                let between = along_columns(image, &self.columns, sized(between, (image.width(), self.height)));
                (along_rows(&between, &self.rows, sized(output, size)), between)
            }
            (true, true) => {
                let between = along_rows(image, &self.rows, sized(between, (self.width, image.height())));
                (along_columns(&between, &self.columns, sized(output, size)), between)
            }
        };
        self.between = between;
        output
    }
}

/// An image of this size in the memory of another; what it shows is undefined.
fn sized(image: RgbImage, (width, height): (u32, u32)) -> RgbImage {
    let mut levels = image.into_raw();
    levels.resize(width as usize * height as usize * CHANNELS, 0);
    RgbImage::from_raw(width, height, levels).expect("it has as many levels")
}

/// For each output pixel along one axis: which input pixels count, and how much.
struct Weights {
    input: usize,
    output: usize,
    /// The first input pixel, and where the weights lie of it and those behind it.
    spans: Vec<(usize, Range<usize>)>,
    values: Vec<i32>,
}

impl Weights {
    fn new(input: usize, output: usize) -> Self {
        let mut weights = Weights {
            input: 0,
            output,
            spans: Vec::new(),
            values: Vec::new(),
        };
        weights.set_input(input);
        weights
    }

    /// `precompute_coeffs` and `normalize_coeffs_8bpc` of Pillow; the order of operations decides the last bit.
    fn set_input(&mut self, input: usize) {
        if self.input == input {
            return;
        }
        self.input = input;
        self.spans.clear();
        self.values.clear();
        let scale = input as f64 / self.output as f64;
        let filter_scale = scale.max(1.0);
        let support = SUPPORT * filter_scale;
        let inverse = 1.0 / filter_scale;
        let mut exact = Vec::new();
        for x in 0..self.output {
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
const HALF: i32 = 1 << (PRECISION_BITS - 1);

#[inline(always)]
fn clip(sum: i32) -> u8 {
    (sum >> PRECISION_BITS).clamp(0, 255) as u8
}

/// Gives every row a new width, with the vectors that this processor has.
fn along_rows(image: &RgbImage, weights: &Weights, mut output: RgbImage) -> RgbImage {
    let (stride, target_stride) = (image.width() as usize * CHANNELS, output.width() as usize * CHANNELS);
    let target = &mut *output;
    pulp::Arch::new().dispatch(Rows {
        levels: image.as_raw(),
        stride,
        weights,
        target,
        target_stride,
    });
    output
}

/// Gives every column a new height, with the vectors that this processor has.
fn along_columns(image: &RgbImage, weights: &Weights, mut output: RgbImage) -> RgbImage {
    let stride = image.width() as usize * CHANNELS;
    let target = &mut *output;
    pulp::Arch::new().dispatch(Columns {
        levels: image.as_raw(),
        stride,
        weights,
        target,
    });
    output
}

struct Rows<'a> {
    levels: &'a [u8],
    stride: usize,
    weights: &'a Weights,
    target: &'a mut [u8],
    target_stride: usize,
}

impl pulp::NullaryFnOnce for Rows<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        // Four levels are read and written at once, so a row has one more.
        let mut line = vec![0; self.stride + 1];
        let mut made = vec![0; self.target_stride + 1];
        let rows = self.levels.chunks_exact(self.stride);
        for (row, target) in rows.zip(self.target.chunks_exact_mut(self.target_stride)) {
            line[..self.stride].copy_from_slice(row);
            for (x, &(first, ref values)) in self.weights.spans.iter().enumerate() {
                let mut sums = [HALF; CHANNELS + 1];
                let levels = line[first * CHANNELS..].windows(CHANNELS + 1).step_by(CHANNELS);
                for (levels, &weight) in levels.zip(&self.weights.values[values.clone()]) {
                    for i in 0..CHANNELS + 1 {
                        sums[i] += i32::from(levels[i]) * weight;
                    }
                }
                let made = &mut made[x * CHANNELS..][..CHANNELS + 1];
                for i in 0..CHANNELS + 1 {
                    made[i] = clip(sums[i]);
                }
            }
            target.copy_from_slice(&made[..self.target_stride]);
        }
    }
}

/// Rows that are added at once, so that their sums need not be read and written for each.
const TAPS: usize = 4;

struct Columns<'a> {
    levels: &'a [u8],
    stride: usize,
    weights: &'a Weights,
    target: &'a mut [u8],
}

impl pulp::NullaryFnOnce for Columns<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let mut sums = vec![0; self.stride];
        for (&(first, ref values), target) in self.weights.spans.iter().zip(self.target.chunks_exact_mut(self.stride)) {
            sums.fill(HALF);
            let values = &self.weights.values[values.clone()];
            for (group, values) in values.chunks(TAPS).enumerate() {
                // Of fewer rows than four, the first stands for the others, with the weight 0.
                let row = |k: usize| {
                    let row = first + group * TAPS + if k < values.len() { k } else { 0 };
                    &self.levels[row * self.stride..][..self.stride]
                };
                let weight = |k: usize| values.get(k).copied().unwrap_or(0);
                let rows = [row(0), row(1), row(2), row(3)];
                let weights = [weight(0), weight(1), weight(2), weight(3)];
                for (x, sum) in sums.iter_mut().enumerate() {
                    let product = |k: usize| i32::from(rows[k][x]) * weights[k];
                    *sum += product(0) + product(1) + product(2) + product(3);
                }
            }
            for (level, &sum) in target.iter_mut().zip(&sums) {
                *level = clip(sum);
            }
        }
    }
}
