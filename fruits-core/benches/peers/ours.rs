//! This crate's side of `peers.py`: answers each line of standard input with seconds, or with the limit of the processor.
//!
//!     peer f32|bf16 PIXELS      PIXELS: bytes of photos of 224x224 RGB
//!
//! `stream`: all photos. `one`: the first. `limit`: fused multiply-adds a second. The number of threads is RAYON_NUM_THREADS.

use std::io::BufRead;
use std::time::Instant;

use fruits_core::MobileNetV2;
use fruits_core::mobilenet::Precision;
use fruits_core::pixels::{RgbImage, SIDE};

#[path = "../limit.rs"]
mod limit;

fn main() {
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| argument != "--bench")
        .collect();
    let [precision, pixels] = arguments.as_slice() else {
        panic!("usage: peer f32|bf16 PIXELS");
    };
    let precision = if precision == "bf16" {
        Precision::Bf16
    } else {
        Precision::F32
    };
    let model = MobileNetV2::imagenet()
        .and_then(|model| model.with_precision(precision))
        .expect("the network loads");
    let pixels = std::fs::read(pixels).expect("there are pixels");
    let photos: Vec<RgbImage> = pixels
        .chunks_exact((SIDE * SIDE * 3) as usize)
        .map(|pixels| RgbImage::from_raw(SIDE, SIDE, pixels.to_vec()).expect("it has the right length"))
        .collect();
    for line in std::io::stdin().lock().lines() {
        let line = line.expect("standard input can be read");
        if line == "limit" {
            println!("{}", limit::multiply_adds(rayon::current_num_threads()));
            continue;
        }
        let photos = if line == "one" { &photos[..1] } else { &photos[..] };
        let start = Instant::now();
        std::hint::black_box(model.features(photos).expect("the photos have the right size"));
        println!("{}", start.elapsed().as_secs_f64());
    }
}
