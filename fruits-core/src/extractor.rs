//! What turns photos into features.

use std::sync::Arc;

use image::RgbImage;
use ndarray::Array2;
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::pixels::{Decoding, Views};

/// What a network is. It is written beside its features; a run takes over the features of another run only if all of it is the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Model {
    /// Its name, for people.
    pub name: String,
    /// SHA-256 of its weights, in hexadecimal.
    pub weights_sha256: String,
    /// What happens to a photo before the network sees it, for people.
    pub preprocessing: String,
    /// How photos are decoded for it.
    #[serde(default)]
    pub decoding: Decoding,
    /// The views of a photo whose features are averaged.
    #[serde(default)]
    pub views: Views,
    /// Whether the [texture](crate::MobileNetV2::with_texture) of the photo lies behind the network's features.
    #[serde(default)]
    pub texture: bool,
    /// Width and height of the pixels that it takes.
    pub side: u32,
    /// Features of a photo.
    pub features: usize,
}

impl Model {
    /// How photos are seen, for people.
    pub fn sight(&self) -> String {
        match self.texture {
            true => format!("{}, with texture", self.views),
            false => self.views.to_string(),
        }
    }

    /// What tells its features from those of another model, for people; nothing if they are of one kind.
    pub(crate) fn difference(&self, other: &Model) -> Option<String> {
        let what = if self.name != other.name {
            format!("of {}, not of {},", self.name, other.name)
        } else if self.weights_sha256 != other.weights_sha256 {
            let short = |sha256: &str| sha256.chars().take(12).collect::<String>();
            let (ours, theirs) = (short(&self.weights_sha256), short(&other.weights_sha256));
            format!("by other weights (SHA-256 {ours}…, not {theirs}…)")
        } else if self.decoding != other.decoding {
            format!("of photos {}, not {},", self.decoding, other.decoding)
        } else if self.views != other.views {
            format!("of photos {}, not {},", self.views, other.views)
        } else if self.texture != other.texture {
            match self.texture {
                true => "with texture, not without,".to_owned(),
                false => "without texture, not with it,".to_owned(),
            }
        } else if self != other {
            format!("of pixels by {}, not by {},", self.preprocessing, other.preprocessing)
        } else {
            return None;
        };
        Some(what)
    }
}

/// A network that turns photos into features: [`MobileNetV2`](crate::MobileNetV2), or one of yours.
///
/// ```
/// use std::sync::Arc;
///
/// use fruits_core::extractor::{FeatureExtractor, Model};
/// use fruits_core::pixels::{Decoding, RgbImage, Views};
/// use fruits_core::{ImageFolder, Result, ndarray::Array2};
///
/// /// The mean of red, green and blue.
/// struct MeanColour(Model);
///
/// impl FeatureExtractor for MeanColour {
///     fn model(&self) -> &Model {
///         &self.0
///     }
///
///     fn extract(&self, photos: &[RgbImage]) -> Result<Array2<f32>> {
///         let pixels = (self.0.side * self.0.side) as f32;
///         let sum = |photo: &RgbImage, channel| photo.pixels().map(|pixel| f32::from(pixel[channel])).sum::<f32>();
///         Ok(Array2::from_shape_fn((photos.len(), 3), |(row, channel)| sum(&photos[row], channel) / pixels))
///     }
/// }
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let colour = Arc::new(MeanColour(Model {
///     name: "mean colour".to_owned(),
///     weights_sha256: String::new(),
///     preprocessing: "RGB, Pillow bicubic to 32x32".to_owned(),
///     decoding: Decoding::default(),
///     views: Views::One,
///     texture: false,
///     side: 32,
///     features: 3,
/// }));
/// let features = ImageFolder::open("../data-sample").await?.features(&colour).await?;
/// assert_eq!(features.matrix().dim(), (96, 3));
/// # Ok::<(), fruits_core::Error>(())
/// # }).unwrap();
/// ```
pub trait FeatureExtractor: Send + Sync {
    /// What it is.
    fn model(&self) -> &Model;

    /// The features of `n` photos of [`side`](Model::side) x `side` pixels, `n x` [`features`](Model::features).
    ///
    /// It is called by as many threads as there are cores, each with a few photos, so it need not start more.
    ///
    /// # Errors
    /// Those of the network as a whole: they end the run.
    fn extract(&self, photos: &[RgbImage]) -> Result<Array2<f32>>;
}

impl<T: FeatureExtractor + ?Sized> FeatureExtractor for Arc<T> {
    fn model(&self) -> &Model {
        (**self).model()
    }

    fn extract(&self, photos: &[RgbImage]) -> Result<Array2<f32>> {
        (**self).extract(photos)
    }
}
