//! MobileNetV2: from pixels to 1280 features.
//!
//! The network of [Sandler et al., 2018](https://arxiv.org/abs/1801.04381) at width 1.0 and 224x224, with the ImageNet weights of
//! Keras, without its classifier: the features are the global average of the last convolution.

mod network;
mod weights;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use burn::tensor::{Device, Tensor, TensorData};
use image::RgbImage;
use ndarray::Array2;

use crate::error::{Error, ErrorKind, Result, Step};
use crate::pixels::SIDE;
pub use network::{ConvNorm, InvertedResidual, Network};
pub use weights::{IMAGENET_SHA256, WEIGHTS_FILE, WEIGHTS_VARIABLE};

/// Features of one photo.
pub const FEATURES: usize = 1280;

/// What happens to pixels before the network sees them, as written to manifests.
pub const PREPROCESSING: &str = "RGB, Pillow bicubic to 224x224, x / 127.5 - 1";

/// MobileNetV2 with its weights, ready to run. Clones share the weights.
///
/// ```no_run
/// use fruits_core::MobileNetV2;
/// use fruits_core::pixels::{Limits, network_input};
///
/// let model = MobileNetV2::imagenet()?;
/// let photo = network_input(&std::fs::read("photo.jpg")?, &Limits::default())?;
/// let features = model.features(&[photo])?;
/// assert_eq!(features.dim(), (1, 1280));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct MobileNetV2 {
    network: Arc<Network>,
    device: Device,
    weights_sha256: String,
}

impl MobileNetV2 {
    /// The network with Keras' ImageNet weights, from the file named by the variable `FRUITS_WEIGHTS`, else from the user's data
    /// folder, where `bootstrap/weights.sh` puts it.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if there is no such file; [`ErrorKind::Invalid`] if its SHA-256 is not [`IMAGENET_SHA256`].
    pub fn imagenet() -> Result<Self> {
        let path = weights::find()?;
        let model = Self::from_file(&path)?;
        if model.weights_sha256 != IMAGENET_SHA256 {
            let message = format!(
                "SHA-256 is {}, not that of Keras' ImageNet weights; bootstrap/weights.sh makes the file anew",
                model.weights_sha256
            );
            return Err(Error::new(
                ErrorKind::Invalid,
                Step::Weights,
                path.display().to_string(),
                message,
            ));
        }
        Ok(model)
    }

    /// The network with other weights of the same shape, such as fine-tuned ones: a safetensors file with Keras' layer names, as
    /// `bootstrap/weights.py` writes it.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if there is no such file; [`ErrorKind::Invalid`] if a tensor is missing or has another shape.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self> {
        let device = Device::flex();
        let (network, weights_sha256) = weights::load(path.as_ref(), &device)?;
        Ok(MobileNetV2 {
            network: Arc::new(network),
            device,
            weights_sha256,
        })
    }

    /// SHA-256 of the weights' file, in hexadecimal.
    pub fn weights_sha256(&self) -> &str {
        &self.weights_sha256
    }

    /// The network as a burn module.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// The features of a batch of `n` photos of 224x224 pixels, `n x 1280`.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if a photo has another size: see [`network_input`](crate::pixels::network_input).
    pub fn features(&self, photos: &[RgbImage]) -> Result<Array2<f32>> {
        if let Some(photo) = photos.iter().find(|photo| photo.dimensions() != (SIDE, SIDE)) {
            let (width, height) = photo.dimensions();
            let message = format!("the network takes {SIDE}x{SIDE} pixels, not {width}x{height}");
            return Err(Error::new(ErrorKind::Invalid, Step::Infer, "", message));
        }
        if photos.is_empty() {
            return Ok(Array2::zeros((0, FEATURES)));
        }
        let input = TensorData::new(scaled_planes(photos), [photos.len(), 3, SIDE as usize, SIDE as usize]);
        let output = self.network.forward(Tensor::from_data(input, &self.device));
        let features = output.into_data().try_into_vec::<f32>().map_err(infer_error)?;
        Array2::from_shape_vec((photos.len(), FEATURES), features).map_err(infer_error)
    }
}

impl fmt::Debug for MobileNetV2 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MobileNetV2 (weights {})", &self.weights_sha256[..12])
    }
}

/// Pixels as floats in [-1, 1], one plane a channel: Keras' `preprocess_input`, whose division and subtraction are in f32.
fn scaled_planes(photos: &[RgbImage]) -> Vec<f32> {
    let mut planes = Vec::with_capacity(photos.len() * 3 * (SIDE * SIDE) as usize);
    for photo in photos {
        for channel in 0..3 {
            planes.extend(
                photo
                    .as_raw()
                    .iter()
                    .skip(channel)
                    .step_by(3)
                    .map(|&level| f32::from(level) / 127.5 - 1.0),
            );
        }
    }
    planes
}

fn infer_error(error: impl fmt::Display) -> Error {
    Error::new(ErrorKind::Invalid, Step::Infer, "", error.to_string())
}
