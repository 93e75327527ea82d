//! The network as the kernels take it: batch normalisations folded into the weights, weights packed in the order in which they are read.

use std::ops::Range;

use burn::tensor::Tensor;

use super::buffer::Buffer;
use super::kernels::{Kernels, Pointwise, before};
use crate::mobilenet::network::{ConvNorm, Network};
use crate::pixels::SIDE;

/// Numbers of a cache line; panels begin with one.
const LINE: usize = 16;
/// Bytes that the hidden rows of a strip may take, of a cache of a megabyte that also holds what is read and written.
const STRIP_BYTES: usize = 256 << 10;

/// The layers in the order in which they run, and where their weights lie.
pub(super) struct Plan {
    pub kernels: &'static Kernels,
    pub bottlenecks: Vec<Bottleneck>,
    pub head: Vec<Panel>,
    /// Channels and side of the map before the head.
    pub last: (usize, usize),
    pub features: usize,
    pub weights: Buffer,
}

/// An inverted residual block: a wide hidden map is made, filtered and projected strip by strip, so that it never leaves the cache.
pub(super) struct Bottleneck {
    /// From pixels in the first, which is the stem.
    pub expand: Vec<Panel>,
    pub depthwise: Depthwise,
    pub project: Vec<Panel>,
    pub channels_in: usize,
    pub hidden: usize,
    pub channels_out: usize,
    /// Rows and columns of the hidden map.
    pub side: usize,
    /// Hidden rows made at once.
    pub strip: usize,
    pub residual: bool,
}

/// Weights and biases of some blocks of output channels.
pub(super) struct Panel {
    pub blocks: usize,
    pub depth: usize,
    /// `[depth][blocks * lanes]`.
    pub weights: Range<usize>,
    pub bias: Range<usize>,
}

/// Weights `[blocks][9][lanes]` and biases of all channels.
pub(super) struct Depthwise {
    pub stride: usize,
    pub weights: Range<usize>,
    pub bias: Range<usize>,
}

impl Bottleneck {
    /// Rows and columns of the output.
    pub fn side_out(&self) -> usize {
        self.side / self.depthwise.stride
    }

    /// Hidden rows that are kept: a strip, and the two before it that its filters still reach.
    pub fn slots(&self) -> usize {
        if self.strip == self.side {
            self.side
        } else {
            self.strip + 2
        }
    }

    /// Rows of output that a strip gives at most.
    pub fn strip_out(&self) -> usize {
        self.side_out().min(self.strip / self.depthwise.stride + 1)
    }
}

impl Depthwise {
    /// Rows that a filter reaches above its own, and columns to the left: Keras pads maps of even size behind their end only.
    pub fn up(&self) -> usize {
        before(self.stride)
    }
}

impl Plan {
    /// Takes all widths, depths and strides from the module.
    pub fn new(network: &Network, kernels: &'static Kernels) -> Self {
        let mut pack = Packer {
            kernels,
            numbers: Vec::new(),
        };
        let mut side = SIDE as usize / network.stem.conv.stride[0];
        let mut expand = pack.stem(&network.stem);
        let mut channels = network.stem.conv.weight.dims()[0];
        let mut bottlenecks = Vec::new();
        for block in &network.blocks {
            let channels_in = channels;
            if let Some(convolution) = &block.expand {
                expand = pack.pointwise(convolution);
                channels = convolution.conv.weight.dims()[0];
            }
            let hidden = channels;
            let depthwise = pack.depthwise(&block.depthwise);
            let project = pack.pointwise(&block.project);
            channels = block.project.conv.weight.dims()[0];
            let stride = depthwise.stride;
            bottlenecks.push(Bottleneck {
                expand: std::mem::take(&mut expand),
                depthwise,
                project,
                channels_in,
                hidden,
                channels_out: channels,
                side,
                strip: strip(side, hidden),
                residual: block.residual,
            });
            side /= stride;
        }
        let head = pack.pointwise(&network.head);
        Plan {
            kernels,
            bottlenecks,
            head,
            last: (channels, side),
            features: network.head.conv.weight.dims()[0],
            weights: Buffer::from(pack.numbers.as_slice()),
        }
    }

    /// A call with the weights of a panel, and nothing to do yet.
    pub fn call(&self, panel: &Panel) -> Pointwise<'_> {
        Pointwise {
            input: &[],
            input_row: 0,
            input_block: 0,
            depth: panel.depth,
            weights: &self.weights[panel.weights.clone()],
            bias: &self.weights[panel.bias.clone()],
            rows: 0,
            columns: 0,
            output_row: 0,
            residual: None,
            relu6: false,
        }
    }

    /// Channels with those that fill up the last block.
    pub fn whole_blocks(&self, channels: usize) -> usize {
        channels.next_multiple_of(self.kernels.lanes)
    }
}

/// Hidden rows to make at once: all if they fit into the cache, else so many that two rows made before are a small part of them.
fn strip(side: usize, hidden: usize) -> usize {
    let row = side * hidden * size_of::<f32>();
    let rows = (STRIP_BYTES / row).max(2);
    let strips = side.div_ceil(rows);
    side.div_ceil(strips)
}

struct Packer {
    kernels: &'static Kernels,
    numbers: Vec<f32>,
}

impl Packer {
    /// `[3][9 = column, channel][channels]`: a line of pixels is one segment of the depth.
    fn stem(&mut self, convolution: &ConvNorm) -> Vec<Panel> {
        let (weights, bias) = folded(convolution);
        let [_, channels, height, width] = convolution.conv.weight.dims();
        let depth = channels * height * width;
        let by_line = weights.chunks_exact(depth).flat_map(|filter| {
            let of_line =
                move |y| (0..width * channels).map(move |i| filter[(i % channels * height + y) * width + i / channels]);
            (0..height).flat_map(of_line)
        });
        self.panels(&by_line.collect::<Vec<_>>(), &bias)
    }

    fn pointwise(&mut self, convolution: &ConvNorm) -> Vec<Panel> {
        let (weights, bias) = folded(convolution);
        self.panels(&weights, &bias)
    }

    /// Panels of as equal widths as can be, of weights `[channels][depth]`. Channels that fill up a block are zero.
    fn panels(&mut self, weights: &[f32], bias: &[f32]) -> Vec<Panel> {
        let lanes = self.kernels.lanes;
        let depth = weights.len() / bias.len();
        let blocks = bias.len().div_ceil(lanes);
        let count = blocks.div_ceil(self.kernels.widest);
        let cut = |panel: usize| panel * blocks / count;
        let panel = |panel: usize| {
            let channels = cut(panel) * lanes..cut(panel + 1) * lanes;
            let weight = |channel: usize, k: usize| weights.get(channel * depth + k).copied().unwrap_or(0.0);
            let packed = (0..depth).flat_map(|k| channels.clone().map(move |channel| weight(channel, k)));
            let bias = channels
                .clone()
                .map(|channel| bias.get(channel).copied().unwrap_or(0.0));
            Panel {
                blocks: cut(panel + 1) - cut(panel),
                depth,
                weights: self.push(packed),
                bias: self.push(bias),
            }
        };
        (0..count).map(panel).collect()
    }

    fn depthwise(&mut self, convolution: &ConvNorm) -> Depthwise {
        let (weights, bias) = folded(convolution);
        let lanes = self.kernels.lanes;
        assert!(
            bias.len().is_multiple_of(lanes),
            "hidden maps have whole blocks of channels"
        );
        let packed = (0..bias.len() / lanes).flat_map(|block| {
            let weights = &weights;
            (0..9).flat_map(move |tap| (0..lanes).map(move |lane| weights[(block * lanes + lane) * 9 + tap]))
        });
        Depthwise {
            stride: convolution.conv.stride[0],
            weights: self.push(packed),
            bias: self.push(bias.iter().copied()),
        }
    }

    fn push(&mut self, numbers: impl Iterator<Item = f32>) -> Range<usize> {
        self.numbers.resize(self.numbers.len().next_multiple_of(LINE), 0.0);
        let start = self.numbers.len();
        self.numbers.extend(numbers);
        start..self.numbers.len()
    }
}

/// Weights `[channels out][channels in / groups][3 x 3 or 1]` and biases that do what the convolution and its normalisation do.
fn folded(convolution: &ConvNorm) -> (Vec<f32>, Vec<f32>) {
    let norm = &convolution.norm;
    let weights = numbers(convolution.conv.weight.val());
    let (gamma, beta) = (numbers(norm.gamma.val()), numbers(norm.beta.val()));
    let (mean, variance) = (numbers(norm.running_mean.value()), numbers(norm.running_var.value()));
    let scale: Vec<f64> = gamma
        .iter()
        .zip(&variance)
        .map(|(g, v)| g / (v + norm.epsilon).sqrt())
        .collect();
    let bias = (0..beta.len()).map(|c| (beta[c] - mean[c] * scale[c]) as f32).collect();
    let of_channel = weights.len() / scale.len();
    let weights = weights
        .chunks_exact(of_channel)
        .zip(&scale)
        .flat_map(|(weights, scale)| weights.iter().map(move |w| (w * scale) as f32));
    (weights.collect(), bias)
}

fn numbers<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
    tensor.into_data().iter::<f64>().collect()
}
