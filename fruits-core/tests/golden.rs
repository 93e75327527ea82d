//! The same numbers as Pillow and Keras gave for photos of data-sample: see `tests/golden/make.py`.

mod support;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use fruits_core::MobileNetV2;
use fruits_core::pixels::{Limits, decode, network_input};
use safetensors::SafeTensors;
use support::{Need, trials};

const ROOT: &str = "..";

fn main() -> ExitCode {
    support::run(trials![
        Need::Nothing => pixels_are_pillows;
        Need::Weights => features_are_keras_from_jpeg_on;
    ])
}

/// Keys of the golden photos, such as `Lemon/view-00.jpg`, and Keras' features of each.
fn golden_features() -> Vec<(String, Vec<f32>)> {
    let file = std::fs::read(Path::new(ROOT).join("tests/golden/features.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&file).unwrap();
    let floats = |bytes: &[u8]| {
        bytes
            .chunks_exact(4)
            .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
            .collect()
    };
    let mut golden: Vec<_> = tensors
        .iter()
        .map(|(key, view)| (key.to_owned(), floats(view.data())))
        .collect();
    golden.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(golden.len(), 12);
    golden
}

fn photo(key: &str) -> PathBuf {
    Path::new(ROOT).join("data-sample").join(key)
}

async fn pixels_are_pillows() {
    for (key, _) in golden_features() {
        let ours = network_input(&std::fs::read(photo(&key)).unwrap(), &Limits::default()).unwrap();
        let png = format!(
            "tests/golden/pixels/{}.png",
            key.replace('/', "-").trim_end_matches(".jpg")
        );
        let pillows = decode(&std::fs::read(Path::new(ROOT).join(png)).unwrap(), &Limits::default()).unwrap();
        let differing = ours
            .as_raw()
            .iter()
            .zip(pillows.as_raw())
            .filter(|(a, b)| a != b)
            .count();
        assert_eq!((ours.dimensions(), differing), (pillows.dimensions(), 0), "{key}");
    }
}

async fn features_are_keras_from_jpeg_on() {
    let model = MobileNetV2::imagenet().unwrap();
    let golden = golden_features();
    let pixels: Vec<_> = golden
        .iter()
        .map(|(key, _)| network_input(&std::fs::read(photo(key)).unwrap(), &Limits::default()).unwrap())
        .collect();
    let ours = model.features(&pixels).unwrap();
    let mut largest = 0.0_f32;
    for ((key, keras), ours) in golden.iter().zip(ours.rows()) {
        assert_eq!(keras.len(), 1280, "{key}");
        for (a, b) in keras.iter().zip(ours) {
            largest = largest.max((a - b).abs());
        }
    }
    println!("largest difference from Keras: {largest:.1e}");
    assert!(largest <= 2e-4, "largest difference from Keras: {largest:e}");
}
