//! The pass along rows, in which almost all the work of a large photo is: several rows at once, by the processor's vectors.

#![cfg_attr(not(target_arch = "x86_64"), allow(dead_code))] // what the vectors need

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::{__m128i, __m256i};

#[cfg(target_arch = "x86_64")]
use pulp::cast;

use super::rows::CHANNELS;
#[cfg(target_arch = "x86_64")]
use super::weights::PRECISION_BITS;
use super::weights::{HALF, Weights, clip};

/// Rows that share the reads of a weight.
const ROWS: usize = 4;
/// Pixels whose levels are multiplied at once.
const TAPS: usize = 4;
/// Bytes that are read at once: those of four pixels, and as many again as a vector has left.
const READ: usize = 16;

/// Gives one row after the other a new width.
#[derive(Default)]
pub(super) struct RowFilter {
    /// Bytes of a row that waits, with zeros behind it.
    stride: usize,
    waiting: Vec<u8>,
    /// Groups of weights for each output pixel.
    groups: usize,
    halves: Vec<Halves>,
    /// The first pixel that counts for each.
    firsts: Vec<usize>,
    made: Vec<u8>,
}

/// Four weights in two parts, as often as vectors need them: of two pixels, three channels (and one that does not count), and of two more.
///
/// Processors multiply 16-bit numbers and add the products in pairs faster than any others. Levels fit into these, and weights in two
/// parts. What overflows on the way does no harm: the sums are right modulo 2^32, and whole ones fit.
#[derive(Clone, Copy)]
struct Halves {
    high: [i16; 16],
    low: [i16; 16],
}

const LOW_BITS: i32 = 12;

impl Halves {
    fn new(weights: &[i32]) -> Self {
        let weight = |lane: usize| weights.get(2 * (lane / 8) + lane % 2).copied().unwrap_or(0);
        Halves {
            high: std::array::from_fn(|lane| (weight(lane) >> LOW_BITS) as i16),
            low: std::array::from_fn(|lane| (weight(lane) & ((1 << LOW_BITS) - 1)) as i16),
        }
    }
}

impl RowFilter {
    /// For rows of `width` pixels.
    pub fn set(&mut self, width: usize, weights: &Weights) {
        let most = weights.spans().map(|(_, values)| values.len()).max().unwrap_or(0);
        self.groups = most.div_ceil(TAPS);
        self.stride = (width + self.groups * TAPS) * CHANNELS + READ;
        self.firsts.clear();
        self.halves.clear();
        for (first, values) in weights.spans() {
            self.firsts.push(first);
            let groups = (0..self.groups).map(|group| values.get(group * TAPS..).unwrap_or_default());
            self.halves.extend(groups.map(Halves::new));
        }
    }

    pub fn begin(&mut self) {
        self.waiting.clear();
    }

    /// Takes a row, and adds those that are done to `target`.
    pub fn row(&mut self, row: &[u8], weights: &Weights, target: &mut Vec<u8>) {
        let end = self.waiting.len() + self.stride;
        self.waiting.extend_from_slice(row);
        self.waiting.resize(end, 0);
        if end == ROWS * self.stride {
            self.run(weights, target);
        }
    }

    /// Adds all that still wait.
    pub fn finish(&mut self, weights: &Weights, target: &mut Vec<u8>) {
        if !self.waiting.is_empty() {
            self.run(weights, target);
        }
    }

    fn run(&mut self, weights: &Weights, target: &mut Vec<u8>) {
        // A pixel is written with a byte behind it.
        let width = weights.spans().len() * CHANNELS;
        self.made.resize(ROWS * (width + 1), 0);
        let rows = self.waiting.len() / self.stride;
        if !self.run_with_vectors() {
            let made = self.made.chunks_exact_mut(width + 1);
            for (row, made) in self.waiting.chunks_exact(self.stride).zip(made) {
                along_row(row, weights, made);
            }
        }
        for made in self.made.chunks_exact(width + 1).take(rows) {
            target.extend_from_slice(&made[..width]);
        }
        self.waiting.clear();
    }

    /// Says whether this processor has them.
    #[cfg(target_arch = "x86_64")]
    fn run_with_vectors(&mut self) -> bool {
        let Some(simd) = pulp::x86::V3::try_new() else {
            return false;
        };
        self.waiting.resize(ROWS * self.stride, 0);
        pulp::Arch::new().dispatch(Vectors { simd, filter: self });
        true
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn run_with_vectors(&mut self) -> bool {
        false
    }
}

/// As the vectors do it, for processors that have none of these.
fn along_row(row: &[u8], weights: &Weights, made: &mut [u8]) {
    for (x, (first, weights)) in weights.spans().enumerate() {
        let mut sums = [HALF; CHANNELS + 1];
        let levels = row[first * CHANNELS..].windows(CHANNELS + 1).step_by(CHANNELS);
        for (levels, &weight) in levels.zip(weights) {
            for i in 0..CHANNELS + 1 {
                sums[i] += i32::from(levels[i]) * weight;
            }
        }
        let made = &mut made[x * CHANNELS..][..CHANNELS + 1];
        for i in 0..CHANNELS + 1 {
            made[i] = clip(sums[i]);
        }
    }
}

/// Four rows with the vectors of AVX2.
#[cfg(target_arch = "x86_64")]
struct Vectors<'a> {
    simd: pulp::x86::V3,
    filter: &'a mut RowFilter,
}

#[cfg(target_arch = "x86_64")]
#[allow(clippy::needless_range_loop, clippy::manual_memcpy)]
impl pulp::NullaryFnOnce for Vectors<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Vectors { simd, filter } = self;
        let (sse2, avx2) = (simd.sse2, simd.avx2);
        // The levels of two pixels side by side, channel by channel, each with a zero behind it: 16-bit numbers.
        const NO: i8 = -1;
        const TWO: [i8; 16] = [0, NO, 3, NO, 1, NO, 4, NO, 2, NO, 5, NO, NO, NO, NO, NO];
        let order: [i8; 32] = std::array::from_fn(|i| match TWO[i % 16] {
            NO => NO,
            at if i < 16 => at,
            at => at + 6,
        });
        let order = cast(order);
        let half: __m128i = cast([HALF; 4]);
        let zero: __m256i = cast([0i32; 8]);
        let made_stride = filter.made.len() / ROWS;
        let reads = filter.groups * TAPS * CHANNELS;
        // Plain loops and indices: closures and adapters of iterators may stay functions of their own, which get vectors by way of memory.
        for x in 0..filter.firsts.len() {
            let mut sums = [[zero; 2]; ROWS];
            let first = filter.firsts[x] * CHANNELS;
            let halves = &filter.halves[x * filter.groups..][..filter.groups];
            let span = |n: usize| &filter.waiting[n * filter.stride + first..][..reads + READ];
            let spans = [span(0), span(1), span(2), span(3)];
            for group in 0..halves.len() {
                let (high, low) = (cast(halves[group].high), cast(halves[group].low));
                for n in 0..ROWS {
                    let Some(&levels) = spans[n][group * TAPS * CHANNELS..].first_chunk::<READ>() else {
                        return;
                    };
                    let levels = avx2._mm256_shuffle_epi8(avx2._mm256_broadcastsi128_si256(cast(levels)), order);
                    let [highs, lows] = sums[n];
                    sums[n] = [
                        avx2._mm256_add_epi32(highs, avx2._mm256_madd_epi16(levels, high)),
                        avx2._mm256_add_epi32(lows, avx2._mm256_madd_epi16(levels, low)),
                    ];
                }
            }
            for n in 0..ROWS {
                let [highs, lows] = sums[n];
                let both = avx2._mm256_add_epi32(avx2._mm256_slli_epi32::<LOW_BITS>(highs), lows);
                let [one, other]: [__m128i; 2] = cast(both);
                let sum = sse2._mm_add_epi32(half, sse2._mm_add_epi32(one, other));
                let levels = sse2._mm_srai_epi32::<{ PRECISION_BITS as i32 }>(sum);
                let levels = sse2._mm_packs_epi32(levels, levels);
                let levels: [u8; 16] = cast(sse2._mm_packus_epi16(levels, levels));
                let made = &mut filter.made[n * made_stride + x * CHANNELS..][..CHANNELS + 1];
                for i in 0..CHANNELS + 1 {
                    made[i] = levels[i];
                }
            }
        }
    }
}
