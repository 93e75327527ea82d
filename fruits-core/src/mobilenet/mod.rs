//! MobileNetV2: from pixels to 1280 features.
//!
//! The network of [Sandler et al., 2018](https://arxiv.org/abs/1801.04381) at width 1.0 and 224x224, with the ImageNet weights of
//! Keras, without its classifier: the features are the global average of the last convolution.
//!
//! [`Network`] is an ordinary burn module: it loads the weights, and is the reference. What runs is an engine that is compiled from it,
//! by the vectors of AVX-512 or AVX2; on other processors, by those that the compiler finds. In `f32`, it gives the same bits on every
//! processor and with any number of threads.

mod engine;
mod network;
mod weights;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use burn::tensor::Device;
use image::RgbImage;
use ndarray::{Array2, ArrayView2, Axis};

use crate::error::{Error, ErrorKind, Result, Step};
use crate::extractor::{FeatureExtractor, Model};
use crate::pixels::{Decoding, SIDE, Views};
#[doc(hidden)]
pub use engine::Layer;
use engine::{Engine, engine};
pub use network::{ConvNorm, InvertedResidual, Network};
pub use weights::{IMAGENET_SHA256, WEIGHTS_FILE, WEIGHTS_VARIABLE};

/// Features of one photo.
pub const FEATURES: usize = 1280;

/// Numbers on the [texture](MobileNetV2::with_texture) of one photo.
pub const TEXTURE: usize = 384;

const NAME: &str = "MobileNetV2 1.0 224";

/// What the 1x1 convolutions multiply, nine tenths of the work. Sums are `f32` in any case.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Precision {
    /// 32 bits: features equal Keras' to 2e-4.
    #[default]
    F32,
    /// 16 bits, the upper half of an `f32`: more than twice as fast on processors with AMX (Intel's servers since Sapphire Rapids).
    ///
    /// Of 966 photos of Fruits-360, the cosine between both kinds of features is 0.998 on average and 0.991 at least; the nearest
    /// neighbour has the same label for 99.8 %, and the numbers of components for 90 % and 99 % of the variance differ by one at most.
    Bf16,
}

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
    engine: Arc<dyn Engine>,
    model: Model,
}

impl MobileNetV2 {
    /// The network with Keras' ImageNet weights, from the file named by the variable `FRUITS_WEIGHTS`, else from `mobilenet_v2.safetensors`
    /// beside the program, else from the user's data folder, where `bootstrap/weights.sh` puts it.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if there is no such file; [`ErrorKind::Invalid`] if its SHA-256 is not [`IMAGENET_SHA256`].
    pub fn imagenet() -> Result<Self> {
        let path = weights::find()?;
        let model = Self::from_file(&path)?;
        if model.weights_sha256() != IMAGENET_SHA256 {
            let message = format!(
                "SHA-256 is {}, not that of Keras' ImageNet weights; bootstrap/weights.sh makes the file anew",
                model.weights_sha256()
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

    /// The network that makes features of the same kind as those of a model, such as the one that a classifier was trained with.
    ///
    /// # Errors
    /// As [`imagenet`](Self::imagenet); [`ErrorKind::Unsupported`] if they were made otherwise, or the processor cannot make them.
    pub fn like(model: &Model) -> Result<Self> {
        Self::imagenet()?.made_like(model)
    }

    /// As [`like`](Self::like), with the weights of this one.
    pub(crate) fn made_like(self, model: &Model) -> Result<Self> {
        let network = self
            .with_decoding(model.decoding)
            .with_views(model.views)
            .with_texture(model.texture);
        let in_both = [Precision::F32, Precision::Bf16].map(|precision| network.clone().with_precision(precision));
        if let Some(network) = in_both.into_iter().flatten().find(|network| network.model() == model) {
            return Ok(network);
        }
        let message = match network.model().difference(model) {
            Some(difference) => format!("this network gives features {difference} or this processor cannot give them"),
            None => "this processor cannot give its features".to_owned(),
        };
        Err(Error::new(ErrorKind::Unsupported, Step::Weights, &model.name, message))
    }

    /// The network with other weights of the same shape, such as fine-tuned ones: a safetensors file with Keras' layer names, as
    /// `bootstrap/weights.py` writes it.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if there is no such file; [`ErrorKind::Invalid`] if a tensor is missing or has another shape.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self> {
        let (network, weights_sha256) = weights::load(path.as_ref(), &Device::flex())?;
        Ok(MobileNetV2 {
            engine: engine(&network, Precision::F32).expect("f32 runs on every processor"),
            network: Arc::new(network),
            model: Model {
                name: NAME.to_owned(),
                weights_sha256,
                preprocessing: "RGB, Pillow bicubic to 224x224, x / 127.5 - 1".to_owned(),
                decoding: Decoding::default(),
                views: Views::One,
                texture: false,
                side: SIDE,
                features: FEATURES,
            },
        })
    }

    /// The same network with another precision. The model's name says so, and features of both are not mixed by a resumed run.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] if the processor has no instructions for it: bf16 needs AVX512_BF16 (AMD since Zen 4, Intel's servers since
    /// Cooper Lake).
    pub fn with_precision(mut self, precision: Precision) -> Result<Self> {
        let Some(engine) = engine(&self.network, precision) else {
            let message = "this processor cannot multiply bf16: it has no AVX512_BF16";
            return Err(Error::new(ErrorKind::Unsupported, Step::Infer, "precision", message));
        };
        let name = match precision {
            Precision::F32 => NAME.to_owned(),
            Precision::Bf16 => format!("{NAME}, bf16"),
        };
        (self.engine, self.model.name) = (engine, name);
        Ok(self)
    }

    /// The same network for photos that are decoded otherwise. Features of both are not mixed by a resumed run.
    pub fn with_decoding(mut self, decoding: Decoding) -> Self {
        self.model.decoding = decoding;
        self
    }

    /// The same network for photos that are seen from several sides: their features are the mean over these views. Features of both are not mixed
    /// by a resumed run.
    ///
    /// ```no_run
    /// use fruits_core::MobileNetV2;
    /// use fruits_core::pixels::Views;
    ///
    /// let model = MobileNetV2::imagenet()?.with_views(Views::Turned);
    /// # Ok::<(), fruits_core::Error>(())
    /// ```
    pub fn with_views(mut self, views: Views) -> Self {
        self.model.views = views;
        self
    }

    /// The same network, whose features have the texture of the photo behind them, `n x 1664`. Features of both are not mixed by a resumed run.
    ///
    /// Texture is what the middle of the network says (`block_6_expand` of Keras), wherever on the fruit: the mean of each of its 192 channels times 8, and
    /// their standard deviations times 16. White paper does not count. The last features tell what a thing is, in whatever colour and pattern: of an
    /// apple, which apple it is, the middle tells better.
    ///
    /// ```no_run
    /// use fruits_core::MobileNetV2;
    ///
    /// let model = MobileNetV2::imagenet()?.with_texture(true);
    /// # Ok::<(), fruits_core::Error>(())
    /// ```
    pub fn with_texture(mut self, texture: bool) -> Self {
        self.model.texture = texture;
        self.model.features = FEATURES + if texture { TEXTURE } else { 0 };
        self
    }

    /// SHA-256 of the weights' file, in hexadecimal.
    pub fn weights_sha256(&self) -> &str {
        &self.model.weights_sha256
    }

    /// The network as a burn module.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// The features of `n` photos of 224x224 pixels, `n x 1280` ([with texture](Self::with_texture) `n x 1664`), by all cores: each takes photos
    /// of its own or, of fewer photos than there are cores, a part of each.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if a photo has another size: see [`network_input`](crate::pixels::network_input).
    pub fn features(&self, photos: &[RgbImage]) -> Result<Array2<f32>> {
        self.run(photos, |engine, photos, texture| {
            engine.features_by_all(photos, texture)
        })
    }

    /// What a photo of 224x224 pixels takes in each layer, by this thread alone: for the benchmark of the engine.
    #[doc(hidden)]
    pub fn layers(&self, photo: &RgbImage) -> Vec<Layer> {
        self.engine.layers(photo)
    }

    fn run(
        &self,
        photos: &[RgbImage],
        by_engine: fn(&dyn Engine, &[RgbImage], bool) -> Array2<f32>,
    ) -> Result<Array2<f32>> {
        if let Some(photo) = photos.iter().find(|photo| photo.dimensions() != (SIDE, SIDE)) {
            let (width, height) = photo.dimensions();
            let message = format!("the network takes {SIDE}x{SIDE} pixels, not {width}x{height}");
            return Err(Error::new(ErrorKind::Invalid, Step::Infer, "", message));
        }
        Ok(match self.model.views {
            Views::One => by_engine(&*self.engine, photos, self.model.texture),
            views => {
                let seen: Vec<RgbImage> = photos.iter().flat_map(|photo| views.of(photo)).collect();
                means(&by_engine(&*self.engine, &seen, self.model.texture), views.count())
            }
        })
    }
}

/// The means of so many rows, one after the other.
fn means(rows: &Array2<f32>, count: usize) -> Array2<f32> {
    let mean = |rows: ArrayView2<f32>| rows.mapv(f64::from).sum_axis(Axis(0)) / count as f64;
    let mut means = Array2::zeros((rows.nrows() / count, rows.ncols()));
    for (mut row, of_row) in means.rows_mut().into_iter().zip(rows.axis_chunks_iter(Axis(0), count)) {
        row.assign(&mean(of_row).mapv(|mean| mean as f32));
    }
    means
}

impl FeatureExtractor for MobileNetV2 {
    fn model(&self) -> &Model {
        &self.model
    }

    /// As [`features`](MobileNetV2::features), by this thread alone.
    fn extract(&self, photos: &[RgbImage]) -> Result<Array2<f32>> {
        self.run(photos, |engine, photos, texture| engine.features(photos, texture))
    }
}

impl fmt::Debug for MobileNetV2 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "MobileNetV2 (weights {}, {})",
            &self.weights_sha256()[..12],
            self.engine.name()
        )
    }
}
