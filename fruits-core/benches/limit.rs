//! What the machine could do at most: fused multiply-adds that never leave the registers, and bytes from caches and memory.

use std::time::{Duration, Instant};

/// Multiply-adds a second by so many threads.
pub fn multiply_adds(threads: usize) -> f64 {
    let rates = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|_| scope.spawn(|| by_this_thread(Duration::from_millis(50))))
            .collect();
        workers
            .into_iter()
            .map(|worker| worker.join().expect("it does not panic"))
            .collect::<Vec<f64>>()
    });
    rates.into_iter().sum()
}

/// Bytes a second that all threads together read of numbers that no cache holds.
#[allow(dead_code)] // Not every benchmark asks.
pub fn bandwidth(numbers: &[f32]) -> f64 {
    use rayon::prelude::*;
    let start = Instant::now();
    let sum: u32 = numbers.par_chunks(1 << 18).map(sum).reduce(|| 0, u32::wrapping_add);
    std::hint::black_box(sum);
    size_of_val(numbers) as f64 / start.elapsed().as_secs_f64()
}

/// Bytes a second that this thread reads of numbers that a cache holds.
#[allow(dead_code)] // Not every benchmark asks.
pub fn from_cache(numbers: &[f32]) -> f64 {
    #[cfg(target_arch = "x86_64")]
    let sum: unsafe fn(&[f32]) -> u32 = match std::is_x86_feature_detected!("avx2") {
        true => x86::sum,
        false => sum,
    };
    let times = 1 + (1 << 20) / numbers.len();
    // SAFETY: the processor has the instructions.
    let read = || std::hint::black_box(unsafe { sum(std::hint::black_box(numbers)) });
    read();
    let start = Instant::now();
    for _ in 0..times {
        read();
    }
    (times * size_of_val(numbers)) as f64 / start.elapsed().as_secs_f64()
}

#[inline(always)]
fn sum(numbers: &[f32]) -> u32 {
    numbers.iter().fold(0, |sum, number| sum.wrapping_add(number.to_bits()))
}

/// Multiply-adds a second of this thread, with the widest vectors that the processor has.
pub fn by_this_thread(time: Duration) -> f64 {
    #[cfg(target_arch = "x86_64")]
    let (count, work): (usize, unsafe fn(usize)) = match std::is_x86_feature_detected!("avx512f") {
        true => (24 * 16, x86::avx512),
        false => (12 * 8, x86::avx2),
    };
    #[cfg(not(target_arch = "x86_64"))]
    compile_error!("there is no limit for this processor yet");
    let (start, mut steps) = (Instant::now(), 0);
    while start.elapsed() < time {
        // SAFETY: the processor has the instructions.
        unsafe { work(100_000) };
        steps += 100_000;
    }
    (steps * count) as f64 / start.elapsed().as_secs_f64()
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;
    use std::hint::black_box;

    /// As the function of that name outside, in loads of 32 bytes.
    #[target_feature(enable = "avx2")]
    pub fn sum(numbers: &[f32]) -> u32 {
        super::sum(numbers)
    }

    /// 24 sums: more than latency and ports together need.
    #[target_feature(enable = "avx512f")]
    pub fn avx512(steps: usize) {
        let (x, y) = (_mm512_set1_ps(black_box(0.999)), _mm512_set1_ps(black_box(0.5)));
        let mut sums = [_mm512_set1_ps(1.0); 24];
        for _ in 0..steps {
            for sum in &mut sums {
                *sum = _mm512_fmadd_ps(*sum, x, y);
            }
        }
        black_box(sums);
    }

    /// 12 sums, which with both factors fill the 16 registers.
    #[target_feature(enable = "avx2,fma")]
    pub fn avx2(steps: usize) {
        let (x, y) = (_mm256_set1_ps(black_box(0.999)), _mm256_set1_ps(black_box(0.5)));
        let mut sums = [_mm256_set1_ps(1.0); 12];
        for _ in 0..steps {
            for sum in &mut sums {
                *sum = _mm256_fmadd_ps(*sum, x, y);
            }
        }
        black_box(sums);
    }
}
