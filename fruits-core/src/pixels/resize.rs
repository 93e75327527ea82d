//! Pillow's bicubic filter for 8-bit images.
//!
//! Pillow resamples in two passes, one along rows and one along columns. Each output pixel is a weighted sum of input pixels; when an image
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
    let mut image = Cow::Borrowed(image);
    // Since version 13, Pillow begins with the columns where that saves work; each pass rounds, so the order shows.
    let columns_first = {
        let (less_width, less_height) = (
            i64::from(image.width()) - i64::from(width),
            i64::from(image.height()) - i64::from(height),
        );
        less_height > 0 && less_height > 2 * less_width
    };
    if columns_first {
        image = Cow::Owned(resize_columns(&image, height));
    }
    if image.width() != width {
        image = Cow::Owned(resize_rows(&image, width));
    }
    if image.height() != height {
        image = Cow::Owned(resize_columns(&image, height));
    }
    image.into_owned()
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

/// Gives every row a new width.
fn resize_rows(image: &RgbImage, width: u32) -> RgbImage {
    let weights = Weights::new(image.width() as usize, width as usize);
    let mut output = RgbImage::new(width, image.height());
    let rows = image.as_raw().chunks_exact(image.width() as usize * CHANNELS);
    let targets = output.chunks_exact_mut(width as usize * CHANNELS);
    for (row, target) in rows.zip(targets) {
        for ((span, values), pixel) in weights.iter().zip(target.chunks_exact_mut(CHANNELS)) {
            let mut sums = [HALF; CHANNELS];
            let inputs = row[span.start * CHANNELS..span.end * CHANNELS].chunks_exact(CHANNELS);
            for (input, weight) in inputs.zip(values) {
                for (sum, &level) in sums.iter_mut().zip(input) {
                    *sum += i32::from(level) * weight;
                }
            }
            pixel.copy_from_slice(&sums.map(clip));
        }
    }
    output
}

/// Gives every column a new height.
fn resize_columns(image: &RgbImage, height: u32) -> RgbImage {
    let weights = Weights::new(image.height() as usize, height as usize);
    let stride = image.width() as usize * CHANNELS;
    let mut output = RgbImage::new(image.width(), height);
    let mut sums = vec![HALF; stride];
    for ((span, values), target) in weights.iter().zip(output.chunks_exact_mut(stride)) {
        sums.fill(HALF);
        let rows = image.as_raw()[span.start * stride..span.end * stride].chunks_exact(stride);
        for (row, weight) in rows.zip(values) {
            for (sum, &level) in sums.iter_mut().zip(row) {
                *sum += i32::from(level) * weight;
            }
        }
        for (level, &sum) in target.iter_mut().zip(&sums) {
            *level = clip(sum);
        }
    }
    output
}
