//! The registers of AVX-512 and AVX2.

use std::arch::asm;
use std::arch::x86_64::*;

use half::bf16;

use super::{Of, Simd, Walk, multiply};

/// 16 numbers.
pub struct Avx512;
/// 8 numbers, with the fused multiply-add that came beside AVX2.
pub struct Avx2;

macro_rules! simd {
    (
        $name:ty, $lanes:literal, $vector:ty,
        $splat:ident, $load:ident, $store:ident, $add:ident, $mul_add:ident, $max:ident, $min:ident,
        $($multiply:item)?
    ) => {
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

        impl Of<f32> for $name {
            const VECTORS: usize = 1;
            const STEP: usize = 1;
            type Factor = $vector;

            #[inline(always)]
            unsafe fn load_from(from: *const f32) -> $vector {
                unsafe { Self::load(from) }
            }

            #[inline(always)]
            unsafe fn store_to(to: *mut f32, vector: $vector) {
                unsafe { Self::store(to, vector) }
            }

            #[inline(always)]
            unsafe fn splat_factor(from: *const f32) -> $vector {
                unsafe { Self::splat(*from) }
            }

            #[inline(always)]
            unsafe fn load_factor(from: *const f32) -> $vector {
                unsafe { Self::load(from) }
            }

            #[inline(always)]
            unsafe fn accumulate(a: $vector, b: $vector, sum: $vector) -> $vector {
                unsafe { Self::mul_add(a, b, sum) }
            }

            $($multiply)?
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
    _mm512_min_ps,
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
    _mm256_min_ps,
    #[inline(always)]
    unsafe fn multiply<const R: usize, const C: usize, const N: usize>(
        sums: &mut [[[__m256; N]; C]; R],
        input: *const f32,
        weights: *const f32,
        walk: Walk,
    ) {
        unsafe {
            let is_by_fours = walk.depth.is_multiple_of(4) && walk.segment.is_multiple_of(4);
            if R == 1 && C == 4 && N == 3 && is_by_fours {
                four_by_three(&mut *(&raw mut *sums).cast(), input, weights, walk);
            } else {
                multiply::<Self, f32, R, C, N>(sums, input, weights, walk);
            }
        }
    }
);

/// One number of four columns by three vectors of weights.
macro_rules! step {
    ($at:literal, $w0:literal, $w1:literal, $w2:literal) => {
        concat!(
            "vmovups {w0}, [{weights} + ",
            $w0,
            "]\n",
            "vmovups {w1}, [{weights} + ",
            $w1,
            "]\n",
            "vmovups {w2}, [{weights} + ",
            $w2,
            "]\n",
            step!("{input}", $at, "{a0}", "{a1}", "{a2}"),
            step!("{input} + {column}", $at, "{b0}", "{b1}", "{b2}"),
            step!("{input} + {column} * 2", $at, "{c0}", "{c1}", "{c2}"),
            step!("{input} + {third}", $at, "{d0}", "{d1}", "{d2}"),
        )
    };
    ($column:literal, $at:literal, $s0:literal, $s1:literal, $s2:literal) => {
        concat!(
            "vbroadcastss {x}, [",
            $column,
            " + ",
            $at,
            "]\n",
            "vfmadd231ps ",
            $s0,
            ", {x}, {w0}\n",
            "vfmadd231ps ",
            $s1,
            ", {x}, {w1}\n",
            "vfmadd231ps ",
            $s2,
            ", {x}, {w2}\n",
        )
    };
}

/// Products of four columns by three vectors, four numbers at a time. They take all 16 registers: twelve for sums, three for weights, one
/// for a number. The compiler's order of instructions needs one more, and moves sums to memory and back in every step.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn four_by_three(sums: &mut [[__m256; 3]; 4], input: *const f32, weights: *const f32, walk: Walk) {
    let column = walk.column * size_of::<f32>();
    let next = (walk.block as isize - walk.segment as isize) * size_of::<f32>() as isize;
    let [[a0, a1, a2], [b0, b1, b2], [c0, c1, c2], [d0, d1, d2]] = sums;
    // SAFETY: it reads what the caller has said, and changes the sums.
    unsafe {
        asm!(
            "3:", // a segment
            "mov {count}, {segment}",
            "cmp {count}, {left}",
            "cmova {count}, {left}",
            "sub {left}, {count}",
            "2:", // four numbers of it
            step!("0", "0", "32", "64"),
            step!("4", "96", "128", "160"),
            step!("8", "192", "224", "256"),
            step!("12", "288", "320", "352"),
            "add {weights}, 384",
            "add {input}, 16",
            "sub {count}, 4",
            "jnz 2b",
            "add {input}, {next}",
            "test {left}, {left}",
            "jnz 3b",
            input = inout(reg) input => _,
            weights = inout(reg) weights => _,
            left = inout(reg) walk.depth => _,
            count = out(reg) _,
            segment = in(reg) walk.segment,
            next = in(reg) next,
            column = in(reg) column,
            third = in(reg) 3 * column,
            x = out(ymm_reg) _,
            w0 = out(ymm_reg) _,
            w1 = out(ymm_reg) _,
            w2 = out(ymm_reg) _,
            a0 = inout(ymm_reg) *a0,
            a1 = inout(ymm_reg) *a1,
            a2 = inout(ymm_reg) *a2,
            b0 = inout(ymm_reg) *b0,
            b1 = inout(ymm_reg) *b1,
            b2 = inout(ymm_reg) *b2,
            c0 = inout(ymm_reg) *c0,
            c1 = inout(ymm_reg) *c1,
            c2 = inout(ymm_reg) *c2,
            d0 = inout(ymm_reg) *d0,
            d1 = inout(ymm_reg) *d1,
            d2 = inout(ymm_reg) *d2,
            options(nostack, readonly),
        );
    }
}

// SAFETY of all calls: as above; the instruction set includes AVX512_BF16.
impl Of<bf16> for Avx512 {
    const VECTORS: usize = 2;
    const STEP: usize = 2;
    type Factor = __m512bh;

    #[inline(always)]
    unsafe fn load_from(from: *const bf16) -> __m512 {
        unsafe {
            _mm512_cvtpbh_ps(std::mem::transmute::<__m256i, __m256bh>(_mm256_loadu_si256(
                from.cast(),
            )))
        }
    }

    #[inline(always)]
    unsafe fn store_to(to: *mut bf16, vector: __m512) {
        unsafe {
            _mm256_storeu_si256(
                to.cast(),
                std::mem::transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(vector)),
            )
        }
    }

    #[inline(always)]
    unsafe fn splat_factor(from: *const bf16) -> __m512bh {
        unsafe { std::mem::transmute::<__m512i, __m512bh>(_mm512_set1_epi32(from.cast::<i32>().read_unaligned())) }
    }

    #[inline(always)]
    unsafe fn load_factor(from: *const bf16) -> __m512bh {
        unsafe { std::mem::transmute::<__m512i, __m512bh>(_mm512_loadu_si512(from.cast())) }
    }

    #[inline(always)]
    unsafe fn accumulate(a: __m512bh, b: __m512bh, sum: __m512) -> __m512 {
        unsafe { _mm512_dpbf16_ps(sum, a, b) }
    }
}
