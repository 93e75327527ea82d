//! Vectors of `f32` in the registers of two instruction sets.

use std::arch::x86_64::*;

/// Vectors of `f32`.
///
/// # Safety
/// Every function needs a processor with the instruction set, and has to be inlined into a function that is compiled for it. Pointers are
/// to [`LANES`](Self::LANES) numbers.
pub(super) trait Simd {
    /// Numbers in a vector.
    const LANES: usize;
    type Vector: Copy;

    /// The same number in all lanes.
    unsafe fn splat(number: f32) -> Self::Vector;
    unsafe fn load(from: *const f32) -> Self::Vector;
    unsafe fn store(to: *mut f32, vector: Self::Vector);
    unsafe fn add(a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// `a b + c`, rounded once.
    unsafe fn mul_add(a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector;
    /// Between 0 and 6; what is not a number becomes 0.
    unsafe fn relu6(vector: Self::Vector) -> Self::Vector;
}

/// 16 numbers.
pub(super) struct Avx512;
/// 8 numbers, with the fused multiply-add that came beside AVX2.
pub(super) struct Avx2;

macro_rules! simd {
    ($name:ty, $lanes:literal, $vector:ty, $splat:ident, $load:ident, $store:ident, $add:ident, $mul_add:ident, $max:ident, $min:ident) => {
        // SAFETY of all calls: the trait asks the caller for the instruction set and for pointers to as many numbers.
        impl Simd for $name {
            const LANES: usize = $lanes;
            type Vector = $vector;

            #[inline(always)]
            unsafe fn splat(number: f32) -> $vector {
                unsafe { $splat(number) }
            }

            #[inline(always)]
            unsafe fn load(from: *const f32) -> $vector {
                unsafe { $load(from) }
            }

            #[inline(always)]
            unsafe fn store(to: *mut f32, vector: $vector) {
                unsafe { $store(to, vector) }
            }

            #[inline(always)]
            unsafe fn add(a: $vector, b: $vector) -> $vector {
                unsafe { $add(a, b) }
            }

            #[inline(always)]
            unsafe fn mul_add(a: $vector, b: $vector, c: $vector) -> $vector {
                unsafe { $mul_add(a, b, c) }
            }

            #[inline(always)]
            unsafe fn relu6(vector: $vector) -> $vector {
                unsafe { $min($max(vector, $splat(0.0)), $splat(6.0)) }
            }
        }
    };
}

simd!(
    Avx512,
    16,
    __m512,
    _mm512_set1_ps,
    _mm512_loadu_ps,
    _mm512_storeu_ps,
    _mm512_add_ps,
    _mm512_fmadd_ps,
    _mm512_max_ps,
    _mm512_min_ps
);
simd!(
    Avx2,
    8,
    __m256,
    _mm256_set1_ps,
    _mm256_loadu_ps,
    _mm256_storeu_ps,
    _mm256_add_ps,
    _mm256_fmadd_ps,
    _mm256_max_ps,
    _mm256_min_ps
);
