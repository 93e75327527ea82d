//! Every kernel of every instruction set against sums written down plainly, bit for bit; the whole against the burn module.

use burn::module::Param;
use burn::tensor::{Device, Distribution, Tensor, TensorData};
use half::bf16;
use ndarray::{Array3, ArrayView1, Axis, s};
use proptest::prelude::*;

use super::kernels::{Depthwise, Mean, Pointwise, SEVEN};
use super::texture::BLOCK;
use super::*;
use crate::mobilenet::FEATURES;
use crate::mobilenet::network::ConvNorm;
use crate::pixels::SIDE;

fn numbers(random: &mut fastrand::Rng, count: usize) -> Vec<f32> {
    (0..count).map(|_| random.f32() * 4.0 - 2.0).collect()
}

fn relu6(sum: f32) -> f32 {
    sum.clamp(0.0, 6.0)
}

/// Where a channel of a position lies in `[rows][blocks][columns][lanes]`.
fn at(lanes: usize, channels: usize, columns: usize, [row, channel, column]: [usize; 3]) -> usize {
    ((row * channels.div_ceil(lanes) + channel / lanes) * columns + column) * lanes + channel % lanes
}

proptest! {
    #[test]
    fn pointwise_is_the_plain_sum(
        seed: u64, rows in 1..6_usize, sevens in 1..5_usize, depth in 1..70_usize, blocks in 1..4_usize, relu6: bool, add: bool,
    ) {
        for kernels in f32::kernels() {
            let (random, lanes, columns) = (&mut fastrand::Rng::with_seed(seed), kernels.lanes, sevens * SEVEN);
            let blocks = blocks.min(kernels.widest);
            let out = blocks * lanes;
            let input = numbers(random, rows * depth.next_multiple_of(lanes) * columns);
            let (weights, bias) = (numbers(random, depth * out), numbers(random, out));
            let residual = numbers(random, rows * out * columns);
            let call = Pointwise {
                input: &input,
                input_row: depth.next_multiple_of(lanes) * columns,
                input_block: columns * lanes,
                depth,
                weights: &weights,
                bias: &bias,
                rows,
                columns,
                output_row: out * columns,
                residual: add.then_some(&residual),
                relu6,
            };
            let mut output = vec![f32::NAN; residual.len()];
            kernels.expand(&call, &mut output);
            let mut again = vec![f32::NAN; residual.len()];
            kernels.project(&call, &mut again);
            prop_assert_eq!(&again, &output);
            for row in 0..rows {
                for column in 0..columns {
                    for channel in 0..out {
                        let mut sum = bias[channel];
                        for k in 0..depth {
                            sum = input[at(lanes, depth, columns, [row, k, column])].mul_add(weights[k * out + channel], sum);
                        }
                        let place = at(lanes, out, columns, [row, channel, column]);
                        if add {
                            sum += residual[place];
                        }
                        if relu6 {
                            sum = self::relu6(sum);
                        }
                        prop_assert_eq!(output[place], sum, "{} {} {} {}", kernels.name, row, column, channel);
                    }
                }
            }
        }
    }

    #[test]
    fn pointwise_of_bf16_is_the_plain_sum(
        seed: u64, rows in 1..6_usize, sevens in 1..5_usize, depth in 1..4_usize, vectors in 1..3_usize, relu6: bool, add: bool,
    ) {
        for kernels in bf16::kernels() {
            let (random, lanes, columns) = (&mut fastrand::Rng::with_seed(seed), kernels.lanes, sevens * SEVEN);
            let (depth, out) = (depth * 32, vectors * lanes);
            let operands = |numbers: Vec<f32>| numbers.into_iter().map(bf16::from_f32).collect::<Vec<_>>();
            let input = operands(numbers(random, rows * depth * columns));
            let weights = operands(numbers(random, depth * out));
            let (bias, residual) = (numbers(random, out), operands(numbers(random, rows * 32 * columns)));
            let mut sums = vec![0.0_f64; rows * columns * out];
            for (position, sums) in sums.chunks_exact_mut(out).enumerate() {
                for (channel, sum) in sums.iter_mut().enumerate() {
                    *sum = f64::from(bias[channel]);
                    for k in 0..depth {
                        let x = input[at(32, depth, columns, [position / columns, k, position % columns])];
                        *sum += x.to_f64() * weights[(k / 2 * out + channel) * 2 + k % 2].to_f64();
                    }
                }
            }
            fn call<'a, O>(input: &'a [bf16], weights: &'a [bf16], bias: &'a [f32], [rows, columns, depth, row]: [usize; 4]) -> Pointwise<'a, bf16, O> {
                Pointwise {
                    input, input_row: depth * columns, input_block: columns * 32, depth, weights, bias, rows, columns, output_row: row,
                    residual: None, relu6: false,
                }
            }
            let mut output = vec![f32::NAN; rows * out * columns];
            kernels.expand(&Pointwise { relu6, ..call(&input, &weights, &bias, [rows, columns, depth, out * columns]) }, &mut output);
            for (index, &sum) in sums.iter().enumerate() {
                let (position, channel) = (index / out, index % out);
                let sum = if relu6 { sum.clamp(0.0, 6.0) } else { sum };
                let got = output[at(lanes, out, columns, [position / columns, channel, position % columns])];
                prop_assert!((f64::from(got) - sum).abs() < 1e-4, "{} {index}: {got} {sum}", kernels.name);
            }
            let mut output = vec![bf16::NAN; rows * 32 * columns];
            let call = call(&input, &weights, &bias, [rows, columns, depth, 32 * columns]);
            kernels.project(&Pointwise { relu6, residual: add.then_some(&residual), ..call }, &mut output);
            for (index, &sum) in sums.iter().enumerate() {
                let (position, channel) = (index / out, index % out);
                let place = at(32, 32, columns, [position / columns, channel, position % columns]);
                let sum = if add { sum + residual[place].to_f64() } else { sum };
                let sum = if relu6 { sum.clamp(0.0, 6.0) } else { sum };
                let got = output[place].to_f64();
                prop_assert!((got - sum).abs() <= 1e-4 + sum.abs() / 256.0, "{} {index}: {got} {sum}", kernels.name);
            }
        }
    }

    #[test]
    fn stem_is_the_plain_sum(seed: u64, rows in 1..4_usize, sevens in 1..5_usize, blocks in 1..3_usize) {
        for kernels in f32::kernels() {
            let (random, lanes, columns) = (&mut fastrand::Rng::with_seed(seed), kernels.lanes, sevens * SEVEN);
            let (line, out) = ((2 * columns + 1) * 3, blocks * lanes);
            let input = numbers(random, (2 * rows + 1) * line);
            let (weights, bias) = (numbers(random, 27 * out), numbers(random, out));
            let call = Pointwise {
                input: &input,
                input_row: 2 * line,
                input_block: line,
                depth: 27,
                weights: &weights,
                bias: &bias,
                rows,
                columns,
                output_row: out * columns,
                residual: None,
                relu6: true,
            };
            let mut output = vec![f32::NAN; rows * out * columns];
            kernels.stem(&call, &mut output);
            for row in 0..rows {
                for column in 0..columns {
                    for channel in 0..out {
                        let mut sum = bias[channel];
                        for k in 0..27 {
                            let level = input[(2 * row + k / 9) * line + 6 * column + k % 9];
                            sum = level.mul_add(weights[k * out + channel], sum);
                        }
                        prop_assert_eq!(output[at(lanes, out, columns, [row, channel, column])], relu6(sum), "{}", kernels.name);
                    }
                }
            }
        }
    }

    #[test]
    fn depthwise_is_the_plain_sum(
        seed: u64, half_height in 1..6_usize, sevens in 1..4_usize, stride in 1..3_usize, from in 0..6_usize, count in 1..6_usize,
    ) {
        for kernels in f32::kernels() {
            let (random, lanes) = (&mut fastrand::Rng::with_seed(seed), kernels.lanes);
            let (height, columns) = (2 * half_height, stride * sevens * SEVEN);
            let from = from.min(height / stride - 1);
            let outputs = from..(from + count).min(height / stride);
            let slots = stride * outputs.len() + 2;
            let input = numbers(random, slots.min(height) * columns * lanes);
            let (weights, bias) = (numbers(random, 9 * lanes), numbers(random, lanes));
            let call = Depthwise {
                input: &input,
                slots,
                input_row: columns * lanes,
                height,
                columns,
                stride,
                weights: &weights,
                bias: &bias,
                outputs: outputs.clone(),
                output_row: columns / stride * lanes,
            };
            let mut output = vec![f32::NAN; outputs.len() * columns / stride * lanes];
            kernels.depthwise(&call, &mut output);
            for (index, row) in outputs.enumerate() {
                for column in 0..columns / stride {
                    for lane in 0..lanes {
                        let mut sum = bias[lane];
                        for tap in 0..9 {
                            let (y, x) = (row * stride + tap / 3, column * stride + tap % 3);
                            let (y, x) = (y.wrapping_sub(2 - stride), x.wrapping_sub(2 - stride));
                            if y < height && x < columns {
                                sum = input[(y % slots * columns + x) * lanes + lane].mul_add(weights[tap * lanes + lane], sum);
                            }
                        }
                        let place = (index * columns / stride + column) * lanes + lane;
                        prop_assert_eq!(output[place], relu6(sum), "{} {} {}", kernels.name, row, column);
                    }
                }
            }
        }
    }

    #[test]
    fn mean_is_the_mean(seed: u64, rows in 1..9_usize) {
        for kernels in f32::kernels() {
            let lanes = kernels.lanes;
            let input = numbers(&mut fastrand::Rng::with_seed(seed), rows * SEVEN * lanes);
            let mut output = vec![f32::NAN; lanes];
            kernels.mean(&Mean { input: &input, input_row: SEVEN * lanes, rows }, &mut output);
            for (lane, mean) in output.iter().enumerate() {
                let sum: f64 = input.iter().skip(lane).step_by(lanes).map(|&x| f64::from(x)).sum();
                prop_assert!((f64::from(*mean) - sum / (rows * SEVEN) as f64).abs() < 1e-6);
            }
        }
    }
}

#[test]
fn levels_are_scaled_as_keras_does() {
    let levels: Vec<u8> = (0..=255).collect();
    for kernels in f32::kernels() {
        let mut output = vec![f32::NAN; 256];
        kernels.scale(&levels, &mut output);
        assert!(
            output
                .iter()
                .zip(&levels)
                .all(|(number, &level)| *number == f32::from(level) / 127.5 - 1.0)
        );
    }
}

#[test]
#[should_panic(expected = "assertion failed")]
fn a_slice_that_is_too_short_is_refused() {
    let kernels = f32::kernels()[0];
    let numbers = vec![0.0; 1000];
    let call = Pointwise {
        input: &numbers[..100],
        input_row: 7 * kernels.lanes,
        input_block: 7 * kernels.lanes,
        depth: kernels.lanes,
        weights: &numbers[..kernels.lanes * kernels.lanes],
        bias: &numbers[..kernels.lanes],
        rows: 2,
        columns: 7,
        output_row: 7 * kernels.lanes,
        residual: None,
        relu6: false,
    };
    kernels.expand(&call, &mut [0.0; 1000]);
}

/// A network whose weights and statistics are random, and neither vanish nor grow from layer to layer.
fn network(device: &Device) -> Network {
    let mut network = Network::new(device);
    let shake = |convolution: &mut ConvNorm| {
        let [channels, inputs, height, width] = convolution.conv.weight.dims();
        let spread = (2.0 / (inputs * height * width) as f64).sqrt();
        let random = |shape, spread| Tensor::random(shape, Distribution::Normal(0.0, spread), device);
        convolution.conv.weight = Param::from_tensor(random([channels, inputs, height, width], spread));
        let between = |low, high| {
            Param::from_tensor(Tensor::<1>::random(
                [channels],
                Distribution::Uniform(low, high),
                device,
            ))
        };
        (convolution.norm.gamma, convolution.norm.beta) = (between(0.8, 1.2), between(-0.5, 1.0));
    };
    shake(&mut network.stem);
    shake(&mut network.head);
    for block in &mut network.blocks {
        block.expand.iter_mut().for_each(shake);
        shake(&mut block.depthwise);
        shake(&mut block.project);
    }
    network
}

fn photos(count: usize) -> Vec<RgbImage> {
    let mut random = fastrand::Rng::with_seed(7);
    let mut photo = || {
        RgbImage::from_fn(SIDE, SIDE, |_, _| {
            // No pixel is as light as paper.
            image::Rgb([random.u8(..235), random.u8(..235), random.u8(..235)])
        })
    };
    (0..count).map(|_| photo()).collect()
}

/// What the burn module gives.
fn by_burn(network: &Network, device: &Device, photos: &[RgbImage]) -> Array2<f32> {
    let side = SIDE as usize;
    let level = |photo: &RgbImage, channel: usize, at: usize| f32::from(photo.as_raw()[at * 3 + channel]) / 127.5 - 1.0;
    let planes = photos
        .iter()
        .flat_map(|photo| (0..3).flat_map(move |channel| (0..side * side).map(move |at| level(photo, channel, at))));
    let input = TensorData::new(planes.collect::<Vec<f32>>(), [photos.len(), 3, side, side]);
    let input: Tensor<4> = Tensor::from_data(input, device);
    let output = network.forward(input.clone()).into_data();
    let features = Array2::from_shape_vec((photos.len(), FEATURES), output.try_into_vec().unwrap()).unwrap();
    let texture = texture_by_burn(network, input);
    ndarray::concatenate![Axis(1), features, texture]
}

/// Texture where there is no paper.
fn texture_by_burn(network: &Network, photos: Tensor<4>) -> Array2<f32> {
    let mut map = network.stem.forward(photos).clamp(0.0, 6.0);
    for block in &network.blocks[..BLOCK] {
        map = block.forward(map);
    }
    let hidden = network.blocks[BLOCK]
        .expand
        .as_ref()
        .unwrap()
        .forward(map)
        .clamp(0.0, 6.0);
    let [photos, channels, height, width] = hidden.dims();
    let numbers: Vec<f32> = hidden.into_data().try_into_vec().unwrap();
    let maps = Array3::from_shape_vec((photos, channels, height * width), numbers)
        .unwrap()
        .mapv(f64::from);
    let (means, deviations) = (
        maps.mean_axis(Axis(2)).unwrap() * 8.0,
        maps.std_axis(Axis(2), 0.0) * 16.0,
    );
    ndarray::concatenate![Axis(1), means, deviations].mapv(|number| number as f32)
}

#[test]
fn features_are_those_of_the_burn_module() {
    let device = Device::flex();
    let (network, photos) = (network(&device), photos(2));
    let expected = by_burn(&network, &device, &photos);
    assert_eq!(expected.dim(), (2, FEATURES + TEXTURE));
    assert!(
        expected.iter().filter(|&&x| x > 0.1).count() > FEATURES / 2,
        "the test is about something"
    );
    for kernels in f32::kernels() {
        let mut difference = Compiled::new(&network, kernels).features(&photos, true) - &expected;
        // What texture is multiplied by, its rounding is, too.
        difference.slice_mut(s![.., FEATURES..]).mapv_inplace(|x| x / 16.0);
        let largest = difference.iter().fold(0.0_f32, |largest, x| largest.max(x.abs()));
        assert!(largest < 2e-4, "{}: {largest:e}", kernels.name);
    }
}

/// Of the same direction, nearly.
fn cosine(a: ArrayView1<f32>, b: ArrayView1<f32>) -> f32 {
    a.dot(&b) / (a.dot(&a) * b.dot(&b)).sqrt()
}

#[test]
fn features_of_bf16_are_nearly_the_same() {
    let (network, photos) = (network(&Device::flex()), photos(3));
    let expected = Compiled::new(&network, f32::kernels()[0]).features(&photos, true);
    for kernels in bf16::kernels() {
        let engine = Compiled::new(&network, kernels);
        let features = engine.features(&photos, true);
        for (a, b) in features.rows().into_iter().zip(expected.rows()) {
            assert!(cosine(a, b) > 0.995, "{}: {}", kernels.name, cosine(a, b));
        }
        for threads in [1, 2, 5] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            assert_eq!(
                pool.install(|| engine.features_by_all(&photos, true)),
                features,
                "{} {threads}",
                kernels.name
            );
        }
    }
}

#[test]
fn features_depend_neither_on_the_instruction_set_nor_on_the_threads() {
    let (network, photos) = (network(&Device::flex()), photos(3));
    let engines: Vec<Compiled<f32>> = f32::kernels()
        .into_iter()
        .map(|kernels| Compiled::new(&network, kernels))
        .collect();
    let expected = engines[0].features(&photos, true);
    for engine in &engines {
        assert_eq!(engine.features(&photos, true), expected, "{}", engine.name());
        for threads in [1, 2, 3, 8] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            assert_eq!(
                pool.install(|| engine.features_by_all(&photos, true)),
                expected,
                "{} {threads}",
                engine.name()
            );
        }
    }
}
