//! How close the network comes to what the processor can do: `cargo bench --bench engine`.
//!
//! The limit is the rate of fused multiply-adds that stay in registers, measured in the same run, in turn with the rest. All numbers are
//! medians; the share of the limit is that of the network's multiply-adds alone. A table shows where the rest is.

use std::hint::black_box;
use std::time::Instant;

use fruits_core::MobileNetV2;
use fruits_core::mobilenet::Precision;
use fruits_core::pixels::{RgbImage, SIDE};

mod layers;
#[path = "../limit.rs"]
mod limit;

const ROUNDS: usize = 15;
const PHOTOS: usize = 48;

fn main() {
    let f32 = MobileNetV2::imagenet().expect("bootstrap/weights.sh has fetched the weights");
    let models = [Some(f32.clone()), f32.clone().with_precision(Precision::Bf16).ok()];
    let mut random = fastrand::Rng::with_seed(1);
    let photo = |_| {
        RgbImage::from_fn(SIDE, SIDE, |_, _| {
            image::Rgb([random.u8(..), random.u8(..), random.u8(..)])
        })
    };
    let photos: Vec<RgbImage> = (0..PHOTOS).map(photo).collect();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let one = rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .build()
        .expect("a thread can be started");

    let mut limits = [Vec::new(), Vec::new()];
    let mut times = vec![[Vec::new(), Vec::new(), Vec::new()]; models.len()];
    for _ in 0..ROUNDS {
        limits[0].push(limit::multiply_adds(1));
        limits[1].push(limit::multiply_adds(cores));
        for (times, model) in times.iter_mut().zip(&models) {
            let Some(model) = model else { continue };
            let run = |photos: &[RgbImage]| model.features(photos).expect("the photos have the right size");
            times[0].push(seconds(|| one.install(|| run(&photos))));
            times[1].push(seconds(|| run(&photos)));
            times[2].push(seconds(|| run(&photos[..1])));
        }
    }
    println!("{cores} cores, medians of {ROUNDS} rounds");
    let work: usize = f32.layers(&photos[0]).iter().map(|layer| layer.multiply_adds).sum();
    let limits = limits.map(|rates| median(rates) / work as f64);
    println!("limit of f32: one core {:.1} photos/s, all {:.1}", limits[0], limits[1]);
    for (times, model) in times.into_iter().zip(&models) {
        let Some(model) = model else { continue };
        let [one, all, latency] = times.map(median);
        let rates = [one, all].map(|seconds| PHOTOS as f64 / seconds);
        let share = |i: usize| 100.0 * rates[i] / limits[i];
        println!("{model:?}");
        println!(
            "  one thread  {:7.1} photos/s, {:5.1} % of the limit of f32",
            rates[0],
            share(0)
        );
        println!("  all threads {:7.1} photos/s, {:5.1} %", rates[1], share(1));
        println!("  one photo, all threads {:.2} ms", 1e3 * latency);
    }
    for model in models.iter().flatten() {
        layers::print(model, &photos[0], &one);
    }
}

fn seconds<T>(work: impl FnOnce() -> T) -> f64 {
    let start = Instant::now();
    black_box(work());
    start.elapsed().as_secs_f64()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
