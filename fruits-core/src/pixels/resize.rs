//! Pillow's bicubic filter for 8-bit images.
//!
//! Pillow resamples in two passes, one along rows and one along columns. Each output pixel is a weighted sum of input pixels; when an image
//! shrinks, the filter widens so that every input pixel counts. Weights are rounded to integers of 22 fractional bits, and each pass
//! rounds and clips to 8 bits. Doing the same sums in integers gives the same bytes. (`src/libImaging/Resample.c` of Pillow.)

use super::RgbImage;
use super::along_rows::RowFilter;
use super::rows::{CHANNELS, Rows, give};
use super::weights::{HALF, Weights, clip};

/// Resizes to `width` x `height` with Pillow's default filter. The result equals `image.resize((width, height))` byte for byte.
///
/// # Panics
/// If a side of either image is zero.
pub fn resize(image: &RgbImage, width: u32, height: u32) -> RgbImage {
    assert!(image.width() > 0 && image.height() > 0);
    let mut resizer = Resizer::new(Target::Exactly(width, height));
    give(image, &mut resizer);
    resizer.finish(RgbImage::default())
}

/// The size that a photo gets.
#[derive(Debug, Clone, Copy)]
pub(super) enum Target {
    Exactly(u32, u32),
    /// The larger side gets this length, the other one what keeps the shape.
    Within(u32),
}

impl Target {
    fn of(self, width: u32, height: u32) -> (u32, u32) {
        match self {
            Target::Exactly(width, height) => (width, height),
            Target::Within(side) => {
                let scale = f64::from(side) / f64::from(width.max(height));
                let scaled = |length: u32| ((f64::from(length) * scale).round() as u32).max(1);
                (scaled(width), scaled(height))
            }
        }
    }
}

/// Resizes one photo after the other while its rows come. Unless it is very high, it never is in memory as a whole.
pub(super) struct Resizer {
    target: Target,
    /// Those used last, along rows and along columns.
    along_rows: Weights,
    along_columns: Weights,
    row_filter: RowFilter,
    input: (u32, u32),
    output: (u32, u32),
    /// Whether rows get their new width as they come.
    is_rows_first: bool,
    /// The rows that came, in their new width or not.
    rows: Vec<u8>,
}

/// Bytes that a resizer keeps between photos: those of 20 million pixels.
const MAX_KEPT: usize = 60_000_000;
/// Weights that it keeps: those of the longest JPEG.
const MAX_KEPT_SIDE: u32 = 65_535;

impl Resizer {
    pub fn new(target: Target) -> Self {
        Resizer {
            target,
            along_rows: Weights::default(),
            along_columns: Weights::default(),
            row_filter: RowFilter::default(),
            input: (0, 0),
            output: (0, 0),
            is_rows_first: false,
            rows: Vec::new(),
        }
    }

    /// The photo whose rows have all come, in the memory of another.
    pub fn finish(&mut self, memory: RgbImage) -> RgbImage {
        let (width, height) = self.output;
        let mut levels = memory.into_raw();
        levels.clear();
        self.row_filter.finish(&self.along_rows, &mut self.rows);
        if self.input.1 == height {
            levels.extend_from_slice(&self.rows);
        } else {
            let stride = self.rows.len() / self.input.1 as usize;
            levels.resize(stride * height as usize, 0);
            along_columns(&self.rows, stride, &self.along_columns, &mut levels);
        }
        if !self.is_rows_first && self.input.0 != width {
            let wide = std::mem::take(&mut levels);
            for row in wide.chunks_exact(self.input.0 as usize * CHANNELS) {
                self.row_filter.row(row, &self.along_rows, &mut levels);
            }
            self.row_filter.finish(&self.along_rows, &mut levels);
        }
        if self.rows.capacity() > MAX_KEPT || self.input.0.max(self.input.1) > MAX_KEPT_SIDE {
            *self = Resizer::new(self.target);
        }
        RgbImage::from_raw(width, height, levels).expect("it has as many levels")
    }
}

impl Rows for Resizer {
    fn begin(&mut self, width: u32, height: u32) {
        self.input = (width, height);
        self.output = self.target.of(width, height);
        if self.along_rows.set(width as usize, self.output.0 as usize) {
            self.row_filter.set(width as usize, &self.along_rows);
        }
        self.row_filter.begin();
        self.along_columns.set(height as usize, self.output.1 as usize);
        // Since version 13, Pillow begins with the columns where that saves work; each pass rounds, so the order shows.
        let less = |from: u32, to: u32| i64::from(from) - i64::from(to);
        let (less_width, less_height) = (less(width, self.output.0), less(height, self.output.1));
        self.is_rows_first = less_width != 0 && !(less_height > 0 && less_height > 2 * less_width);
        let stride = if self.is_rows_first { self.output.0 } else { width } as usize * CHANNELS;
        self.rows.clear();
        self.rows.reserve_exact(stride * height as usize);
    }

    fn row(&mut self, levels: &[u8]) {
        match self.is_rows_first {
            true => self.row_filter.row(levels, &self.along_rows, &mut self.rows),
            false => self.rows.extend_from_slice(levels),
        }
    }
}

/// Gives every column a new height, with the vectors that this processor has.
fn along_columns(levels: &[u8], stride: usize, weights: &Weights, target: &mut [u8]) {
    pulp::Arch::new().dispatch(Columns {
        levels,
        stride,
        weights,
        target,
    });
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
        for ((first, values), target) in self.weights.spans().zip(self.target.chunks_exact_mut(self.stride)) {
            sums.fill(HALF);
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
