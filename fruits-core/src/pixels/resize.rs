//! Pillow's bicubic filter for 8-bit images.
//!
//! Pillow resamples in two passes, rows first and columns then. Each output pixel is a weighted sum of input pixels; when an image
//! shrinks, the filter widens so that every input pixel counts. Weights are rounded to integers of 22 fractional bits, and each pass
//! rounds and clips to 8 bits. Doing the same sums in integers gives the same bytes. (`src/libImaging/Resample.c` of Pillow.)

use std::borrow::Cow;
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
    assert!(width > 0 && height > 0 && image.width() > 0 && image.height() > 0);
    let (source_width, source_height) = (image.width() as usize, image.height() as usize);
    let mut pixels = Cow::Borrowed(image.as_raw().as_slice());
    if image.width() != width {
        let weights = Weights::new(source_width, width as usize);
        pixels = shrink_rows(&pixels, source_width, &weights).into();
    }
    if image.height() != height {
        let weights = Weights::new(source_height, height as usize);
        pixels = shrink_columns(&pixels, width as usize * CHANNELS, &weights).into();
    }
    RgbImage::from_raw(width, height, pixels.into_owned()).expect("both passes fill the whole image")
}

/// For each output pixel along one axis: which input pixels count, and how much.
struct Weights {
    spans: Vec<Range<usize>>,
    values: Vec<Vec<i32>>,
}

impl Weights {
    /// `precompute_coeffs` and `normalize_coeffs_8bpc` of Pillow; the order of operations decides the last bit.
    fn new(input: usize, output: usize) -> Self {
        let scale = input as f64 / output as f64;
        let filter_scale = scale.max(1.0);
        let support = SUPPORT * filter_scale;
        let inverse = 1.0 / filter_scale;
        let (mut spans, mut values) = (Vec::with_capacity(output), Vec::with_capacity(output));
        for x in 0..output {
            let centre = (x as f64 + 0.5) * scale;
            let first = (centre - support + 0.5).max(0.0) as usize;
            let last = ((centre + support + 0.5) as usize).min(input);
            let exact: Vec<f64> = (first..last)
                .map(|i| cubic((i as f64 - centre + 0.5) * inverse))
                .collect();
            let sum: f64 = exact.iter().sum();
            let sum = if sum == 0.0 { 1.0 } else { sum };
            values.push(exact.iter().map(|weight| to_fixed(weight / sum)).collect());
            spans.push(first..last);
        }
        Weights { spans, values }
    }

    fn iter(&self) -> impl Iterator<Item = (&Range<usize>, &[i32])> {
        self.spans.iter().zip(self.values.iter().map(Vec::as_slice))
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

fn clip(sum: i32) -> u8 {
    (sum >> PRECISION_BITS).clamp(0, 255) as u8
}

fn shrink_rows(pixels: &[u8], source_width: usize, weights: &Weights) -> Vec<u8> {
    let rows = pixels.chunks_exact(source_width * CHANNELS);
    let mut output = Vec::with_capacity(rows.len() * weights.spans.len() * CHANNELS);
    for row in rows {
        for (span, values) in weights.iter() {
            let mut sums = [HALF; CHANNELS];
            let inputs = row[span.start * CHANNELS..span.end * CHANNELS].chunks_exact(CHANNELS);
            for (pixel, weight) in inputs.zip(values) {
                for (sum, &level) in sums.iter_mut().zip(pixel) {
                    *sum += i32::from(level) * weight;
                }
            }
            output.extend(sums.map(clip));
        }
    }
    output
}

fn shrink_columns(pixels: &[u8], stride: usize, weights: &Weights) -> Vec<u8> {
    let mut output = Vec::with_capacity(weights.spans.len() * stride);
    let mut sums = vec![HALF; stride];
    for (span, values) in weights.iter() {
        sums.fill(HALF);
        let rows = pixels[span.start * stride..span.end * stride].chunks_exact(stride);
        for (row, weight) in rows.zip(values) {
            for (sum, &level) in sums.iter_mut().zip(row) {
                *sum += i32::from(level) * weight;
            }
        }
        output.extend(sums.iter().map(|&sum| clip(sum)));
    }
    output
}
