//! The network as the kernels take it: batch normalisations folded into the weights, weights packed in the order in which they are read.

use std::ops::Range;
use std::time::Duration;

use burn::tensor::Tensor;

use super::buffer::{Buffer, CACHE_LINE};
use super::kernels::{Kernels, Operand, Pointwise, before};
use crate::mobilenet::network::{ConvNorm, Network};
use crate::pixels::SIDE;

/// Bytes that the hidden rows of a strip may take, of a cache of a megabyte that also holds what is read and written.
const STRIP_BYTES: usize = 256 << 10;

/// The layers in the order in which they run, and their weights.
pub(super) struct Plan<E: Operand> {
    pub kernels: &'static Kernels<E>,
    pub stem: Vec<Panel>,
    pub bottlenecks: Vec<Bottleneck>,
    pub head: Vec<Panel>,
    /// Channels and side of the map before the head.
    pub last: (usize, usize),
    pub features: usize,
    /// The weights of the 1x1 convolutions.
    pub operands: Buffer<E>,
    /// All other weights, and the biases.
    pub numbers: Buffer<f32>,
}

/// An inverted residual block: a wide hidden map is made, filtered and projected strip by strip, so that it never leaves the cache.
pub(super) struct Bottleneck {
    /// None in the first, whose hidden map is the stem's.
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

/// Weights and biases of some vectors of output channels.
pub(super) struct Panel {
    pub vectors: usize,
    pub depth: usize,
    /// Of the operands; of the numbers if it is the stem's.
    pub weights: Range<usize>,
    pub bias: Range<usize>,
}

/// Weights `[vectors][9][lanes]` and biases of all channels.
pub(super) struct Depthwise {
    pub stride: usize,
    pub weights: Range<usize>,
    pub bias: Range<usize>,
}

/// What there is to do for a photo in a block, the first of them with the stem, or in the head; and how long it took.
#[derive(Debug)]
pub struct Layer {
    /// Its place in the network.
    pub name: String,
    /// Of all its convolutions.
    pub multiply_adds: usize,
    /// Numbers that are cut to the range from 0 to 6.
    pub cut: usize,
    /// Bytes of weights and biases.
    pub weights: usize,
    /// How often they are read: once a strip.
    pub strips: usize,
    /// Bytes of the maps that come in, lie between, and go out.
    pub maps: [usize; 3],
    /// Zero before a photo went through.
    pub time: Duration,
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

impl<E: Operand> Plan<E> {
    /// Takes all widths, depths and strides from the module.
    pub fn new(network: &Network, kernels: &'static Kernels<E>) -> Self {
        let mut pack = Packer {
            kernels,
            operands: Vec::new(),
            numbers: Vec::new(),
        };
        let mut side = SIDE as usize / network.stem.conv.stride[0];
        let stem = pack.stem(&network.stem);
        let mut channels = network.stem.conv.weight.dims()[0];
        let mut bottlenecks = Vec::new();
        for block in &network.blocks {
            let channels_in = channels;
            let mut expand = Vec::new();
            if let Some(convolution) = &block.expand {
                expand = pack.pointwise(convolution, kernels.lanes);
                channels = convolution.conv.weight.dims()[0];
            }
            let hidden = channels;
            let depthwise = pack.depthwise(&block.depthwise);
            let project = pack.pointwise(&block.project, kernels.block);
            channels = block.project.conv.weight.dims()[0];
            let stride = depthwise.stride;
            bottlenecks.push(Bottleneck {
                expand,
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
        let head = pack.pointwise(&network.head, kernels.lanes);
        Plan {
            kernels,
            stem,
            bottlenecks,
            head,
            last: (channels, side),
            features: network.head.conv.weight.dims()[0],
            operands: Buffer::from(pack.operands.as_slice()),
            numbers: Buffer::from(pack.numbers.as_slice()),
        }
    }

    /// The layers as work, that a benchmark can hold against what the processor can do.
    pub fn layers(&self) -> Vec<Layer> {
        let bias = |panels: &[Panel]| panels.iter().map(|panel| panel.bias.len()).sum::<usize>();
        let operands = |panels: &[Panel]| panels.iter().map(|panel| panel.weights.len()).sum::<usize>();
        let map = |side: usize, channels| side.pow(2) * self.whole_blocks(channels) * size_of::<E>();
        let mut layers = Vec::new();
        for (index, block) in self.bottlenecks.iter().enumerate() {
            let (side, out) = (block.side.pow(2), block.side_out().pow(2));
            let (name, input, depth, numbers) = match index {
                0 => (
                    "stem, block 0".to_owned(),
                    SIDE.pow(2) as usize * 3,
                    self.stem[0].depth,
                    &self.stem[..],
                ),
                _ => (
                    format!("block {index}"),
                    map(block.side, block.channels_in),
                    block.channels_in,
                    &[][..],
                ),
            };
            let filters = block.depthwise.weights.len() + block.depthwise.bias.len();
            let numbers = operands(numbers) + bias(numbers) + bias(&block.expand) + bias(&block.project) + filters;
            let between = side * block.hidden * size_of::<f32>() + map(block.side_out(), block.hidden);
            layers.push(Layer {
                name,
                multiply_adds: block.hidden * (side * depth + out * (9 + block.channels_out)),
                cut: block.hidden * (side + out),
                weights: (operands(&block.expand) + operands(&block.project)) * size_of::<E>()
                    + numbers * size_of::<f32>(),
                strips: block.side.div_ceil(block.strip),
                maps: [input, between, map(block.side_out(), block.channels_out)],
                time: Duration::ZERO,
            });
        }
        let (channels, side) = self.last;
        layers.push(Layer {
            name: "head".to_owned(),
            multiply_adds: side.pow(2) * channels * self.features,
            cut: side.pow(2) * self.features,
            weights: operands(&self.head) * size_of::<E>() + bias(&self.head) * size_of::<f32>(),
            strips: 1,
            maps: [
                map(side, channels),
                side.pow(2) * self.features * size_of::<f32>(),
                self.features * size_of::<f32>(),
            ],
            time: Duration::ZERO,
        });
        layers
    }

    /// A call with the weights of a panel, and nothing to do yet.
    pub fn call<O>(&self, panel: &Panel) -> Pointwise<'_, E, O> {
        self.call_with(panel, &self.operands)
    }

    /// The same for a panel of the stem.
    pub fn stem_call(&self, panel: &Panel) -> Pointwise<'_, f32, f32> {
        self.call_with(panel, &self.numbers)
    }

    fn call_with<'a, I, O>(&'a self, panel: &Panel, weights: &'a [I]) -> Pointwise<'a, I, O> {
        Pointwise {
            input: &[],
            input_row: 0,
            input_block: 0,
            depth: panel.depth,
            weights: &weights[panel.weights.clone()],
            bias: &self.numbers[panel.bias.clone()],
            rows: 0,
            columns: 0,
            output_row: 0,
            residual: None,
            relu6: false,
        }
    }

    /// Channels of a map with those that fill up its last block.
    pub fn whole_blocks(&self, channels: usize) -> usize {
        channels.next_multiple_of(self.kernels.block)
    }
}

/// Hidden rows to make at once: all if they fit into the cache, else so many that two rows made before are a small part of them.
fn strip(side: usize, hidden: usize) -> usize {
    let row = side * hidden * size_of::<f32>();
    let rows = (STRIP_BYTES / row).max(2);
    let strips = side.div_ceil(rows);
    side.div_ceil(strips)
}

struct Packer<E: Operand> {
    kernels: &'static Kernels<E>,
    operands: Vec<E>,
    numbers: Vec<f32>,
}

impl<E: Operand> Packer<E> {
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
        let weights: Vec<f32> = by_line.collect();
        self.panels(bias, self.kernels.lanes, |pack, channels| {
            let packed = packed(&weights, depth, depth, 1, channels);
            (depth, push(&mut pack.numbers, packed))
        })
    }

    /// Panels of a 1x1 convolution whose output has blocks of so many channels.
    fn pointwise(&mut self, convolution: &ConvNorm, block: usize) -> Vec<Panel> {
        let (weights, bias) = folded(convolution);
        let depth = weights.len() / bias.len();
        self.panels(bias, block, |pack, channels| {
            let (whole, step) = (depth.next_multiple_of(pack.kernels.depth), pack.kernels.step);
            let packed = packed(&weights, depth, whole, step, channels).map(E::from_f32);
            (whole, push(&mut pack.operands, packed))
        })
    }

    /// Panels of as equal widths as can be. Channels that fill up a block are zero.
    fn panels(
        &mut self,
        mut bias: Vec<f32>,
        block: usize,
        mut push_weights: impl FnMut(&mut Self, Range<usize>) -> (usize, Range<usize>),
    ) -> Vec<Panel> {
        let lanes = self.kernels.lanes;
        bias.resize(bias.len().next_multiple_of(block), 0.0);
        let vectors = bias.len() / lanes;
        let count = vectors.div_ceil(self.kernels.widest);
        let cut = |panel: usize| panel * vectors / count;
        let panel = |panel: usize| {
            let channels = cut(panel) * lanes..cut(panel + 1) * lanes;
            let (depth, weights) = push_weights(self, channels.clone());
            Panel {
                vectors: cut(panel + 1) - cut(panel),
                depth,
                weights,
                bias: push(&mut self.numbers, bias[channels].iter().copied()),
            }
        };
        (0..count).map(panel).collect()
    }

    fn depthwise(&mut self, convolution: &ConvNorm) -> Depthwise {
        let (weights, bias) = folded(convolution);
        let lanes = self.kernels.lanes;
        assert!(
            bias.len().is_multiple_of(lanes),
            "hidden maps have whole vectors of channels"
        );
        let packed = (0..bias.len() / lanes).flat_map(|vector| {
            let weights = &weights;
            (0..9).flat_map(move |tap| (0..lanes).map(move |lane| weights[(vector * lanes + lane) * 9 + tap]))
        });
        Depthwise {
            stride: convolution.conv.stride[0],
            weights: push(&mut self.numbers, packed),
            bias: push(&mut self.numbers, bias.iter().copied()),
        }
    }
}

/// Weights `[channels][depth]` as `[whole / step][channels][step]`, with zeros where there are none.
fn packed(
    weights: &[f32],
    depth: usize,
    whole: usize,
    step: usize,
    channels: Range<usize>,
) -> impl Iterator<Item = f32> {
    let weight = move |channel: usize, k: usize| match k < depth {
        true => weights.get(channel * depth + k).copied().unwrap_or(0.0),
        false => 0.0,
    };
    (0..whole).step_by(step).flat_map(move |first| {
        let of_channel = move |channel| (first..first + step).map(move |k| weight(channel, k));
        channels.clone().flat_map(of_channel)
    })
}

/// Appends numbers from the next cache line on.
fn push<T: Copy + Default>(all: &mut Vec<T>, numbers: impl Iterator<Item = T>) -> Range<usize> {
    all.resize(all.len().next_multiple_of(CACHE_LINE / size_of::<T>()), T::default());
    let start = all.len();
    all.extend(numbers);
    start..all.len()
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
