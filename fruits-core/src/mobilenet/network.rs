//! The network as an ordinary burn module: the reference, and what a reader reads.

use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{BatchNorm, BatchNormConfig, PaddingConfig2d};
use burn::tensor::{Device, Tensor};

/// Epsilon of every batch normalisation in Keras' MobileNetV2; TensorFlow's default, not burn's.
const BATCH_NORM_EPSILON: f64 = 1e-3;

/// Stages of inverted residual blocks: expansion factor, channels out, blocks, stride of the first. Table 2 of the paper.
const STAGES: [(usize, usize, usize, usize); 7] = [
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
];
const STEM_CHANNELS: usize = 32;

/// MobileNetV2 1.0 without its classifier.
#[derive(Module, Debug)]
pub struct Network {
    /// 3x3 convolution of stride 2, 3 to 32 channels.
    pub stem: ConvNorm,
    /// The 17 inverted residual blocks, 32 to 320 channels and 112x112 to 7x7 positions.
    pub blocks: Vec<InvertedResidual>,
    /// 1x1 convolution, 320 to 1280 channels.
    pub head: ConvNorm,
}

impl Network {
    /// The network with random weights.
    pub fn new(device: &Device) -> Self {
        let mut channels = STEM_CHANNELS;
        let mut blocks = Vec::new();
        for (expansion, out, count, first_stride) in STAGES {
            for index in 0..count {
                let stride = if index == 0 { first_stride } else { 1 };
                blocks.push(InvertedResidual::new(channels, out, expansion, stride, device));
                channels = out;
            }
        }
        Network {
            stem: ConvNorm::new([3, STEM_CHANNELS], 3, 2, 1, device),
            blocks,
            head: ConvNorm::new([channels, super::FEATURES], 1, 1, 1, device),
        }
    }

    /// Features of a batch: `n x 3 x 224 x 224` with values in [-1, 1] to `n x 1280`.
    pub fn forward(&self, photos: Tensor<4>) -> Tensor<2> {
        let mut x = relu6(self.stem.forward(photos));
        for block in &self.blocks {
            x = block.forward(x);
        }
        let x = relu6(self.head.forward(x));
        x.flatten::<3>(2, 3).mean_dim(2).flatten(1, 2)
    }
}

/// Expand to more channels, filter each channel by itself, project to few channels; the input is added where shapes allow.
#[derive(Module, Debug)]
pub struct InvertedResidual {
    /// 1x1 convolution to `expansion` times as many channels; the first block has none.
    pub expand: Option<ConvNorm>,
    /// 3x3 convolution of each channel by itself.
    pub depthwise: ConvNorm,
    /// 1x1 convolution to the block's output, without an activation.
    pub project: ConvNorm,
    /// Whether the block's input is added to its output.
    pub residual: bool,
}

impl InvertedResidual {
    fn new(channels: usize, out: usize, expansion: usize, stride: usize, device: &Device) -> Self {
        let wide = channels * expansion;
        InvertedResidual {
            expand: (expansion > 1).then(|| ConvNorm::new([channels, wide], 1, 1, 1, device)),
            depthwise: ConvNorm::new([wide, wide], 3, stride, wide, device),
            project: ConvNorm::new([wide, out], 1, 1, 1, device),
            residual: stride == 1 && channels == out,
        }
    }

    pub(super) fn forward(&self, input: Tensor<4>) -> Tensor<4> {
        let mut x = input.clone();
        if let Some(expand) = &self.expand {
            x = relu6(expand.forward(x));
        }
        x = relu6(self.depthwise.forward(x));
        x = self.project.forward(x);
        if self.residual { input + x } else { x }
    }
}

/// A convolution without bias and the batch normalisation behind it.
#[derive(Module, Debug)]
pub struct ConvNorm {
    /// The convolution.
    pub conv: Conv2d,
    /// The normalisation, by the statistics of the training data.
    pub norm: BatchNorm,
}

impl ConvNorm {
    fn new(channels: [usize; 2], kernel: usize, stride: usize, groups: usize, device: &Device) -> Self {
        let padding = match (kernel, stride) {
            (1, _) => PaddingConfig2d::Valid,
            (_, 1) => PaddingConfig2d::Explicit(1, 1, 1, 1),
            // Keras pads an even size at the bottom and the right only.
            _ => PaddingConfig2d::Explicit(0, 0, 1, 1),
        };
        ConvNorm {
            conv: Conv2dConfig::new(channels, [kernel, kernel])
                .with_stride([stride, stride])
                .with_groups(groups)
                .with_padding(padding)
                .with_bias(false)
                .init(device),
            norm: BatchNormConfig::new(channels[1])
                .with_epsilon(BATCH_NORM_EPSILON)
                .init(device),
        }
    }

    pub(super) fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        self.norm.forward(self.conv.forward(x))
    }
}

fn relu6<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    x.clamp(0.0, 6.0)
}
