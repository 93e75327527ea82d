//! Features by another network, which comes as ONNX: a backbone of yours in three commands.
//!
//! ```text
//! cargo install burn-onnx --version 0.22.0            # once: it turns ONNX into a burn module
//! onnx2burn backbone.onnx generated --no-development  # generated/backbone.rs and generated/backbone.bpk
//! FRUITS_ONNX=$PWD/generated/backbone cargo run --release --example onnx --features onnx -- PHOTOS OUT
//! ```
//!
//! What is true of the network and ONNX does not say, stands here: the pixels that it takes, and the features that it gives.
//! `export_onnx.py` beside this file writes the network of this crate as ONNX; the tests send it through this door.

use std::sync::Arc;

use burn::tensor::{Device, Tensor, TensorData};
use fruits_core::extractor::{FeatureExtractor, Model};
use fruits_core::ndarray::Array2;
use fruits_core::pixels::{Decoding, RgbImage, Views};
use fruits_core::{Extraction, IfExists, Result};
use sha2::{Digest, Sha256};

#[allow(clippy::all)]
mod generated {
    include!(concat!(env!("FRUITS_ONNX"), ".rs"));
}

const WEIGHTS: &str = concat!(env!("FRUITS_ONNX"), ".bpk");
const SIDE: usize = 224;
const FEATURES: usize = 1280;

struct Backbone {
    network: generated::Model,
    device: Device,
    model: Model,
}

impl Backbone {
    fn load() -> std::io::Result<Self> {
        let device = Device::flex();
        let hash = Sha256::digest(std::fs::read(WEIGHTS)?);
        Ok(Backbone {
            network: generated::Model::from_file(WEIGHTS, &device),
            device,
            model: Model {
                name: "a network that came as ONNX".to_owned(),
                weights_sha256: hash.iter().map(|byte| format!("{byte:02x}")).collect(),
                preprocessing: "RGB, Pillow bicubic to 224x224, x / 127.5 - 1".to_owned(),
                decoding: Decoding::default(),
                views: Views::One,
                texture: false,
                side: SIDE as u32,
                features: FEATURES,
            },
        })
    }
}

impl FeatureExtractor for Backbone {
    fn model(&self) -> &Model {
        &self.model
    }

    fn extract(&self, photos: &[RgbImage]) -> Result<Array2<f32>> {
        // A plane a channel, as ONNX's convolutions take them.
        let plane = |photo: &RgbImage, channel: usize| {
            let levels = photo.as_raw().iter().skip(channel).step_by(3);
            levels
                .map(|&level| f32::from(level) / 127.5 - 1.0)
                .collect::<Vec<f32>>()
        };
        let planes: Vec<f32> = photos
            .iter()
            .flat_map(|photo| (0..3).flat_map(|channel| plane(photo, channel)))
            .collect();
        let input = TensorData::new(planes, [photos.len(), 3, SIDE, SIDE]);
        let output = self.network.forward(Tensor::from_data(input, &self.device));
        let features = output.into_data().iter::<f32>().collect();
        Ok(Array2::from_shape_vec((photos.len(), FEATURES), features).expect("ONNX says n x 1280"))
    }
}

#[tokio::main]
async fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [photos, out] = arguments.as_slice() else {
        return Err("usage: onnx PHOTOS OUT".into());
    };
    let backbone = Arc::new(Backbone::load()?);
    let manifest = Extraction::open(photos, &backbone)?
        .run_to(out, IfExists::Refuse)
        .await?;
    println!("{} photos, {} failures", manifest.photos, manifest.failures);
    Ok(())
}
