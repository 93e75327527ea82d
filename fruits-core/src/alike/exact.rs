//! Sums in `f64` that are the same on every processor, to the last bit.

#![allow(unsafe_code)]

/// `x · y`. Products of `f32` are exact in `f64`.
pub(super) fn dot(x: &[f32], y: &[f32]) -> f64 {
    #[inline(always)]
    fn dot(x: &[f32], y: &[f32]) -> f64 {
        sum_of(x, y, |x, y| x * y)
    }
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    fn of_avx2(x: &[f32], y: &[f32]) -> f64 {
        dot(x, y)
    }
    #[cfg(target_arch = "x86_64")]
    if std::is_x86_feature_detected!("avx2") {
        // SAFETY: this processor has the instructions.
        return unsafe { of_avx2(x, y) };
    }
    dot(x, y)
}

/// The squared Euclidean distance.
pub(super) fn distance(x: &[f32], y: &[f32]) -> f64 {
    sum_of(x, y, |x, y| (x - y) * (x - y))
}

/// In one order: sums of every 32nd number, which do not wait for each other, then of halves.
#[inline(always)]
fn sum_of(x: &[f32], y: &[f32], term: impl Fn(f64, f64) -> f64) -> f64 {
    let mut sums = [0.0; 32];
    let (x_chunks, y_chunks) = (x.as_chunks::<32>(), y.as_chunks::<32>());
    for (x, y) in x_chunks.0.iter().zip(y_chunks.0) {
        for lane in 0..32 {
            sums[lane] += term(f64::from(x[lane]), f64::from(y[lane]));
        }
    }
    for (lane, (x, y)) in x_chunks.1.iter().zip(y_chunks.1).enumerate() {
        sums[lane] += term(f64::from(*x), f64::from(*y));
    }
    for half in [16, 8, 4, 2, 1] {
        for lane in 0..half {
            sums[lane] += sums[lane + half];
        }
    }
    sums[0]
}
