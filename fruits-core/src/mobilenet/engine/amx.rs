//! Products of bf16 on the tile registers of Intel's AMX: 16 positions x 16 channels x 32 operands in one instruction.
//!
//! Rust's intrinsics for it are not stable, so this is assembly. (Intel's Software Developer's Manual, volume 1, chapter 18.)

use std::arch::asm;
use std::arch::x86_64::__cpuid_count;
use std::sync::LazyLock;

use half::bf16;

use super::kernels::{Pointwise, SEVEN};
use super::tile::{Layout, finish};
use crate::simd::{Avx512, Of, Simd};

/// Operands of a row of a tile: 64 bytes.
const OPERANDS: usize = 32;
/// Rows of a tile of weights, each with two operands of every channel.
const PAIRS: usize = OPERANDS / 2;
const LANES: usize = Avx512::LANES;

/// Whether the processor has tiles for bf16, and the system lets this process use them.
pub(super) fn is_available() -> bool {
    static IS_AVAILABLE: LazyLock<bool> = LazyLock::new(|| {
        const BF16_AND_TILES: u32 = 1 << 22 | 1 << 24;
        let is_there = __cpuid_count(7, 0).edx & BF16_AND_TILES == BF16_AND_TILES;
        is_there && is_permitted()
    });
    *IS_AVAILABLE
}

/// Asks Linux for the right to use the tiles' registers, which it does not save for everybody.
#[cfg(target_os = "linux")]
fn is_permitted() -> bool {
    const ARCH_REQ_XCOMP_PERM: libc::c_int = 0x1023;
    const XFEATURE_XTILEDATA: libc::c_ulong = 18;
    // SAFETY: it only changes what is saved when threads are switched.
    unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0 }
}

#[cfg(not(target_os = "linux"))]
fn is_permitted() -> bool {
    false
}

/// Sizes of the eight tiles, as `ldtilecfg` reads them.
#[repr(C, align(64))]
struct Config {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    bytes_a_row: [u16; 16],
    rows: [u8; 16],
}

/// Sums of two tiles of positions by two vectors of channels.
#[repr(C, align(64))]
struct Sums([[[[f32; LANES]; 16]; 2]; 2]);

/// A convolution of 1x1.
///
/// # Safety
/// As [`Simd`], with AMX; the lengths are those that [`Pointwise::check`] asks for.
#[inline(always)]
pub(super) unsafe fn pointwise<O>(call: &Pointwise<bf16, O>, _: Layout, output: &mut [O])
where
    Avx512: Of<O>,
{
    // SAFETY: the caller's.
    unsafe {
        match (call.columns.is_multiple_of(2 * SEVEN), call.vectors(LANES)) {
            (true, 1) => rows::<O, { 2 * SEVEN }, 1>(call, output),
            (true, 2) => rows::<O, { 2 * SEVEN }, 2>(call, output),
            (false, 1) => rows::<O, SEVEN, 1>(call, output),
            (false, 2) => rows::<O, SEVEN, 2>(call, output),
            _ => unreachable!("panels have two vectors at most"),
        }
    }
}

/// Tiles of `C` columns, two at once: of two rows or, at the end, one.
#[inline(always)]
unsafe fn rows<O, const C: usize, const N: usize>(call: &Pointwise<bf16, O>, output: &mut [O])
where
    Avx512: Of<O>,
{
    let positions = [C as u8; 2];
    let mut config = Config {
        palette: 1,
        start_row: 0,
        reserved: [0; 14],
        bytes_a_row: [0; 16],
        rows: [0; 16],
    };
    config.bytes_a_row[..8].fill(64);
    config.rows[0..2].copy_from_slice(&positions);
    config.rows[2..4].fill(PAIRS as u8);
    config.rows[4..6].copy_from_slice(&positions);
    config.rows[6..8].copy_from_slice(&positions);
    let mut sums = Sums([[[[0.0; LANES]; 16]; 2]; 2]);
    // SAFETY: every tile lies within the rows and columns of the call.
    unsafe {
        asm!("ldtilecfg [{}]", in(reg) &raw const config, options(nostack, readonly));
        for row in (0..call.rows).step_by(2) {
            let tiles = (call.rows - row).min(2);
            for column in (0..call.columns).step_by(C) {
                let first = call.input.as_ptr().add(row * call.input_row + column * OPERANDS);
                match tiles {
                    1 => multiply_one::<N>(call, first, &mut sums),
                    _ => multiply_two::<N>(call, [first, first.add(call.input_row)], &mut sums),
                }
                for tile in 0..tiles {
                    let mut vectors = [[[Avx512::splat(0.0); N]; C]; 1];
                    for c in 0..C {
                        for n in 0..N {
                            vectors[0][c][n] = Avx512::load(sums.0[tile][n][c].as_ptr());
                        }
                    }
                    finish::<Avx512, bf16, O, 1, C, N>(call, (row + tile, column), vectors, output);
                }
            }
        }
        asm!("tilerelease", options(nostack, nomem));
    }
}

/// Instructions for one tile of positions or two (`tmm0`, `tmm1`) by one vector of channels or two (`tmm2`, `tmm3`); the sums are in
/// `tmm4` to `tmm7` and begin with the bias, in every row the same.
macro_rules! multiply {
    ($call:expr, $inputs:expr, $sums:expr, begin: $($begin:literal)*, step: $($step:literal)*, end: $($end:literal)*) => {
        asm!(
            $($begin,)*
            "2:",
            $($step,)*
            "add {a}, {block}",
            "add {b}, {block}",
            "add {w}, {panel}",
            "dec {steps}",
            "jnz 2b",
            $($end,)*
            a = inout(reg) $inputs[0] => _,
            b = inout(reg) $inputs[1] => _,
            w = inout(reg) $call.weights.as_ptr() => _,
            bias = in(reg) $call.bias.as_ptr(),
            sums = in(reg) $sums,
            steps = inout(reg) $call.depth / OPERANDS => _,
            block = in(reg) $call.input_block * size_of::<bf16>(),
            panel = in(reg) PAIRS * $call.bias.len() * 2 * size_of::<bf16>(),
            row = in(reg) $call.bias.len() * 2 * size_of::<bf16>(),
            line = in(reg) 64_usize,
            zero = in(reg) 0_usize,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        )
    };
}

#[inline(always)]
unsafe fn multiply_one<const N: usize>(call: &Pointwise<bf16, impl Sized>, input: *const bf16, sums: &mut Sums) {
    let (inputs, sums) = ([input, input], sums.0.as_mut_ptr());
    // SAFETY: it reads the operands, weights and biases of the call, and writes the sums.
    unsafe {
        if N == 1 {
            multiply!(call, inputs, sums,
                begin: "tileloadd tmm4, [{bias} + {zero}*1]",
                step: "tileloadd tmm0, [{a} + {line}*1]" "tileloadd tmm2, [{w} + {row}*1]" "tdpbf16ps tmm4, tmm0, tmm2",
                end: "tilestored [{sums} + {line}*1], tmm4");
        } else {
            multiply!(call, inputs, sums,
                begin: "tileloadd tmm4, [{bias} + {zero}*1]" "tileloadd tmm5, [{bias} + {zero}*1 + 64]",
                step: "tileloadd tmm0, [{a} + {line}*1]" "tileloadd tmm2, [{w} + {row}*1]" "tdpbf16ps tmm4, tmm0, tmm2"
                    "tileloadd tmm3, [{w} + {row}*1 + 64]" "tdpbf16ps tmm5, tmm0, tmm3",
                end: "tilestored [{sums} + {line}*1], tmm4" "tilestored [{sums} + {line}*1 + 1024], tmm5");
        }
    }
}

#[inline(always)]
unsafe fn multiply_two<const N: usize>(call: &Pointwise<bf16, impl Sized>, inputs: [*const bf16; 2], sums: &mut Sums) {
    let sums = sums.0.as_mut_ptr();
    // SAFETY: as above.
    unsafe {
        if N == 1 {
            multiply!(call, inputs, sums,
                begin: "tileloadd tmm4, [{bias} + {zero}*1]" "tileloadd tmm6, [{bias} + {zero}*1]",
                step: "tileloadd tmm0, [{a} + {line}*1]" "tileloadd tmm2, [{w} + {row}*1]" "tdpbf16ps tmm4, tmm0, tmm2"
                    "tileloadd tmm1, [{b} + {line}*1]" "tdpbf16ps tmm6, tmm1, tmm2",
                end: "tilestored [{sums} + {line}*1], tmm4" "tilestored [{sums} + {line}*1 + 2048], tmm6");
        } else {
            multiply!(call, inputs, sums,
                begin: "tileloadd tmm4, [{bias} + {zero}*1]" "tileloadd tmm5, [{bias} + {zero}*1 + 64]"
                    "tileloadd tmm6, [{bias} + {zero}*1]" "tileloadd tmm7, [{bias} + {zero}*1 + 64]",
                step: "tileloadd tmm0, [{a} + {line}*1]" "tileloadd tmm2, [{w} + {row}*1]" "tdpbf16ps tmm4, tmm0, tmm2"
                    "tileloadd tmm3, [{w} + {row}*1 + 64]" "tdpbf16ps tmm5, tmm0, tmm3"
                    "tileloadd tmm1, [{b} + {line}*1]" "tdpbf16ps tmm6, tmm1, tmm2" "tdpbf16ps tmm7, tmm1, tmm3",
                end: "tilestored [{sums} + {line}*1], tmm4" "tilestored [{sums} + {line}*1 + 1024], tmm5"
                    "tilestored [{sums} + {line}*1 + 2048], tmm6" "tilestored [{sums} + {line}*1 + 3072], tmm7");
        }
    }
}
