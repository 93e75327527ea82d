//! Four numbers, in whatever registers the compiler finds for them: for every processor that has no vectors of its own here.

use super::{Of, Simd};

/// 4 numbers.
pub struct Plain;

type Four = [f32; 4];

// SAFETY of all calls: the trait asks the caller for pointers to as many numbers.
impl Simd for Plain {
    const LANES: usize = 4;
    type Vector = Four;

    #[inline(always)]
    unsafe fn splat(number: f32) -> Four {
        [number; 4]
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Four {
        unsafe { from.cast::<Four>().read() }
    }

    #[inline(always)]
    unsafe fn store(to: *mut f32, vector: Four) {
        unsafe { to.cast::<Four>().write(vector) }
    }

    #[inline(always)]
    unsafe fn add(mut a: Four, b: Four) -> Four {
        for lane in 0..4 {
            a[lane] += b[lane];
        }
        a
    }

    #[inline(always)]
    unsafe fn mul_add(mut a: Four, b: Four, c: Four) -> Four {
        for lane in 0..4 {
            a[lane] = fused(a[lane], b[lane], c[lane]);
        }
        a
    }

    #[inline(always)]
    unsafe fn relu6(mut vector: Four) -> Four {
        for lane in 0..4 {
            vector[lane] = if vector[lane] > 0.0 { vector[lane].min(6.0) } else { 0.0 };
        }
        vector
    }
}

impl Of<f32> for Plain {
    const VECTORS: usize = 1;
    const STEP: usize = 1;
    type Factor = Four;

    #[inline(always)]
    unsafe fn load_from(from: *const f32) -> Four {
        unsafe { Self::load(from) }
    }

    #[inline(always)]
    unsafe fn store_to(to: *mut f32, vector: Four) {
        unsafe { Self::store(to, vector) }
    }

    #[inline(always)]
    unsafe fn splat_factor(from: *const f32) -> Four {
        unsafe { Self::splat(*from) }
    }

    #[inline(always)]
    unsafe fn load_factor(from: *const f32) -> Four {
        unsafe { Self::load(from) }
    }

    #[inline(always)]
    unsafe fn accumulate(a: Four, b: Four, sum: Four) -> Four {
        unsafe { Self::mul_add(a, b, sum) }
    }
}

/// `a b + c`, rounded once.
///
/// Where no instruction does it, the product is exact in `f64`, the sum is rounded to odd, and then to `f32`, which gives the same as one
/// rounding. (Boldo and Melquiond, Emulation of a FMA and correctly rounded sums: proved algorithms using rounding to odd, 2008.)
#[inline(always)]
fn fused(a: f32, b: f32, c: f32) -> f32 {
    if cfg!(any(target_feature = "fma", target_arch = "aarch64")) {
        return a.mul_add(b, c);
    }
    let (product, c) = (f64::from(a) * f64::from(b), f64::from(c));
    let sum = product + c;
    // What rounding took from the sum. (Knuth, The Art of Computer Programming, volume 2, 4.2.2, theorem B.)
    let added = sum - product;
    let rest = (product - (sum - added)) + (c - added);
    let is_inexact = rest != 0.0 && !rest.is_nan();
    let is_away = (rest > 0.0) == (sum > 0.0);
    let bits = sum.to_bits();
    let odd = match (is_inexact && bits & 1 == 0, is_away) {
        (false, _) => bits,
        (true, true) => bits + 1,
        (true, false) => bits - 1,
    };
    f64::from_bits(odd) as f32
}

#[cfg(test)]
mod tests {
    use super::fused;

    #[test]
    fn fused_is_rounded_once() {
        let mut random = fastrand::Rng::with_seed(1);
        for _ in 0..2_000_000 {
            // All kinds of numbers, and such whose product and sum are of one size.
            let near = |random: &mut fastrand::Rng| (random.f32() - 0.5) * f32::from(random.u8(1..));
            let any = |random: &mut fastrand::Rng| f32::from_bits(random.u32(..));
            for number in [near, any] {
                let (a, b, c) = (number(&mut random), number(&mut random), number(&mut random));
                let (ours, right) = (fused(a, b, c), a.mul_add(b, c));
                assert!(
                    ours == right || ours.is_nan() && right.is_nan(),
                    "{a:e} {b:e} {c:e}: {ours:e} {right:e}"
                );
            }
            let (a, b) = (near(&mut random), near(&mut random));
            assert_eq!(fused(a, b, -(a * b)), a.mul_add(b, -(a * b)), "{a:e} {b:e}");
        }
    }
}
