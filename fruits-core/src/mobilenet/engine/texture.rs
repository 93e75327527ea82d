//! What a layer in the middle of the network says of the fruit, wherever on it.

use super::kernels::{Operand, Pointwise};
use super::plan::Plan;
use crate::pixels::SIDE;

/// The block whose hidden map is taken, `block_6_expand` of Keras: 192 channels at 28x28 positions. Of those before it and behind it, and of several
/// at once, none told fruit91's videos that were left out better.
pub(in super::super) const BLOCK: usize = 6;
/// By what means and deviations are multiplied. So their variances among the photos of fruits91 are twice those of the network's last features.
const SCALES: [f64; 2] = [8.0, 16.0];
/// A pixel whose red, green and blue are all at least that is paper.
const PAPER: u8 = 250;
/// So much darker, it is all fruit.
const FRUIT: u8 = 15;

/// The texture of a photo of 224x224 pixels: the mean and the standard deviation over the fruit of each channel. `map` is what the block reads, `hidden`
/// memory for a row of its hidden map.
pub(super) fn texture<E: Operand>(
    plan: &Plan<E>,
    map: &[E],
    pixels: &[u8],
    hidden: &mut [f32],
    (means, deviations): (&mut [f32], &mut [f32]),
) {
    let (block, kernels) = (&plan.bottlenecks[BLOCK], plan.kernels);
    let (side, lanes) = (block.side, kernels.lanes);
    let input_row = side * plan.whole_blocks(block.channels_in);
    let fruit = fruit(pixels, side);
    let mut sums = vec![[0.0_f64; 2]; block.hidden];
    for (row, fruit) in fruit.chunks_exact(side).enumerate() {
        let mut at = 0;
        for panel in &block.expand {
            let call = Pointwise {
                input: &map[row * input_row..],
                input_row,
                input_block: side * kernels.block,
                rows: 1,
                columns: side,
                output_row: side * block.hidden,
                relu6: true,
                ..plan.call(panel)
            };
            kernels.expand(&call, &mut hidden[at..]);
            at += panel.vectors * side * lanes;
        }
        for (sums, vector) in sums.chunks_exact_mut(lanes).zip(hidden.chunks_exact(side * lanes)) {
            for (fruit, numbers) in fruit.iter().zip(vector.chunks_exact(lanes)) {
                for ([sum, squares], number) in sums.iter_mut().zip(numbers) {
                    let number = f64::from(*number);
                    *sum += f64::from(*fruit) * number;
                    *squares += f64::from(*fruit) * (number * number);
                }
            }
        }
    }
    let all = f64::from(fruit.iter().sum::<u32>());
    for ([sum, squares], (mean, deviation)) in sums.into_iter().zip(means.iter_mut().zip(deviations)) {
        let (own, square) = (sum / all, squares / all);
        *mean = (SCALES[0] * own) as f32;
        *deviation = (SCALES[1] * (square - own * own).max(0.0).sqrt()) as f32;
    }
}

/// How much fruit there is at each position of a map of `side x side`: white paper counts for nothing, unless there is nothing else.
fn fruit(pixels: &[u8], side: usize) -> Vec<u32> {
    let cell = SIDE as usize / side;
    let mut fruit = vec![0; side * side];
    for (at, pixel) in pixels.chunks_exact(3).enumerate() {
        let (row, column) = (at / SIDE as usize / cell, at % SIDE as usize / cell);
        let darkest = pixel.iter().copied().min().unwrap_or(0);
        fruit[row * side + column] += u32::from(PAPER.saturating_sub(darkest).min(FRUIT));
    }
    if fruit.iter().all(|cell| *cell == 0) {
        fruit.fill(1);
    }
    fruit
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paper_does_not_count() {
        let mut pixels = vec![255; 224 * 224 * 3];
        assert_eq!(fruit(&pixels, 28), vec![1; 784], "there is nothing else");
        // One pixel of fruit in the second cell of the third row, and one that is nearly paper in the last cell.
        pixels[(16 * 224 + 8) * 3 + 1] = 0;
        *pixels.last_mut().unwrap() = 245;
        let found = fruit(&pixels, 28);
        assert_eq!((found[2 * 28 + 1], found[783], found.iter().sum::<u32>()), (15, 5, 20));
    }
}
