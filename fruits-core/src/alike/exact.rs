//! Sums in `f64` that are the same on every processor, to the last bit.

#![allow(unsafe_code)]

/// Numbers of which each is added to a sum of its own, so that sums do not wait for each other.
const SUMS: usize = 32;

/// `x · y`, of slices of one length.
pub(crate) fn dot(x: &[f32], y: &[f32]) -> f64 {
    assert_eq!(x.len(), y.len());
    #[cfg(target_arch = "x86_64")]
    if std::is_x86_feature_detected!("avx2") && std::is_x86_feature_detected!("fma") {
        // SAFETY: this processor has the instructions, and the slices are of one length.
        return unsafe { fused::<false>(x, y) };
    }
    sum_of(x, y, |x, y| x * y)
}

/// `x · x`, the same as [`dot`] says.
pub(super) fn square(x: &[f32]) -> f64 {
    #[cfg(target_arch = "x86_64")]
    if std::is_x86_feature_detected!("avx2") && std::is_x86_feature_detected!("fma") {
        // SAFETY: this processor has the instructions.
        return unsafe { fused::<true>(x, x) };
    }
    sum_of(x, x, |x, y| x * y)
}

/// As the sum in [`dot`]. Products of `f32` are exact in `f64`: whether they are rounded before they are added makes no difference.
///
/// # Safety
/// The slices are of one length, and the same if it says so.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn fused<const IS_SAME: bool>(x: &[f32], y: &[f32]) -> f64 {
    use std::arch::x86_64::*;
    let mut sums = [_mm256_setzero_pd(); SUMS / 4];
    let whole = x.len() / SUMS * SUMS;
    let mut all = [0.0; SUMS];
    // SAFETY: all is read below the slices' length, and written to as many numbers.
    unsafe {
        for k in (0..whole).step_by(SUMS) {
            for (i, sum) in sums.iter_mut().enumerate() {
                let load = |from: &[f32]| _mm256_cvtps_pd(_mm_loadu_ps(from.as_ptr().add(k + 4 * i)));
                let x = load(x);
                *sum = _mm256_fmadd_pd(x, if IS_SAME { x } else { load(y) }, *sum);
            }
        }
        for (i, sum) in sums.into_iter().enumerate() {
            _mm256_storeu_pd(all.as_mut_ptr().add(4 * i), sum);
        }
    }
    finish(all, &x[whole..], &y[whole..], |x, y| x * y)
}

/// The squared Euclidean distance.
pub(super) fn distance(x: &[f32], y: &[f32]) -> f64 {
    sum_of(x, y, |x, y| (x - y) * (x - y))
}

fn sum_of(x: &[f32], y: &[f32], term: impl Fn(f64, f64) -> f64) -> f64 {
    let mut sums = [0.0; SUMS];
    let (x, y) = (x.as_chunks::<SUMS>(), y.as_chunks::<SUMS>());
    for (x, y) in x.0.iter().zip(y.0) {
        for (sum, (x, y)) in sums.iter_mut().zip(x.iter().zip(y)) {
            *sum += term(f64::from(*x), f64::from(*y));
        }
    }
    finish(sums, x.1, y.1, term)
}

/// Adds what is left, and then the sums, half to half.
fn finish(mut sums: [f64; SUMS], x: &[f32], y: &[f32], term: impl Fn(f64, f64) -> f64) -> f64 {
    for (sum, (x, y)) in sums.iter_mut().zip(x.iter().zip(y)) {
        *sum += term(f64::from(*x), f64::from(*y));
    }
    let mut half = SUMS / 2;
    while half > 0 {
        for at in 0..half {
            sums[at] += sums[at + half];
        }
        half /= 2;
    }
    sums[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_the_same_with_other_instructions() {
        let mut random = fastrand::Rng::with_seed(1);
        for depth in [0, 1, 31, 32, 100, 1280] {
            let [x, y] = [0, 1].map(|_| (0..depth).map(|_| random.f32() - 0.3).collect::<Vec<_>>());
            assert_eq!(dot(&x, &y), sum_of(&x, &y, |x, y| x * y));
            assert_eq!(square(&x), sum_of(&x, &x, |x, y| x * y));
        }
    }
}
