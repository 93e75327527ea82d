//! A photo through the plan.

use std::ops::Range;

use super::buffer::{Buffer, CACHE_LINE};
use super::kernels::{Mean, Operand, Pointwise};
use super::plan::{Bottleneck, Plan};
use super::strips::{Input, LINE, Strips};
use super::texture;

/// The memory that a photo takes on its way, kept from one photo to the next.
pub(super) struct Workspace<E: Operand> {
    /// Two maps, input and output in turn.
    maps: [Buffer<E>; 2],
    /// The map of the head.
    head: Buffer<f32>,
    /// The strips of each thread.
    strips: Vec<Memory<E>>,
    sizes: Sizes,
}

/// The memory of a thread: pixels and hidden rows, and what they become.
struct Memory<E: Operand> {
    numbers: Buffer<f32>,
    filtered: Buffer<E>,
}

#[derive(Clone, Copy)]
struct Sizes {
    lines: usize,
    hidden: usize,
    filtered: usize,
}

impl<E: Operand> Workspace<E> {
    pub fn new(plan: &Plan<E>) -> Self {
        let most = |size: &dyn Fn(&Bottleneck) -> usize| plan.bottlenecks.iter().map(size).max().unwrap_or(0);
        let map = most(&|b| b.side_out().pow(2) * plan.whole_blocks(b.channels_out));
        Workspace {
            maps: [Buffer::zeros(map), Buffer::zeros(map)],
            head: Buffer::zeros(plan.last.1.pow(2) * plan.features),
            strips: Vec::new(),
            sizes: Sizes {
                lines: (most(&|b| (2 * b.strip + 1) * LINE)).next_multiple_of(CACHE_LINE),
                hidden: most(&|b| b.slots() * b.side * b.hidden),
                filtered: most(&|b| b.strip_out() * b.side_out() * plan.whole_blocks(b.hidden)),
            },
        }
    }

    /// The features of a photo of 224x224 pixels, by so many threads; behind them its texture, if there is room. After each layer, `done` is
    /// called.
    pub fn features(
        &mut self,
        plan: &Plan<E>,
        pixels: &[u8],
        threads: usize,
        features: &mut [f32],
        mut done: impl FnMut(),
    ) {
        while self.strips.len() < threads {
            self.strips.push(Memory {
                numbers: Buffer::zeros(self.sizes.lines + self.sizes.hidden),
                filtered: Buffer::zeros(self.sizes.filtered),
            });
        }
        let [first, second] = &mut self.maps;
        let (mut input, mut output): (&mut [E], &mut [E]) = (first, second);
        let strips = &mut self.strips[..threads];
        let (features, of_texture) = features.split_at_mut(plan.features);

        for (index, block) in plan.bottlenecks.iter().enumerate() {
            if index == texture::BLOCK && !of_texture.is_empty() {
                let (hidden, half) = (&mut strips[0].numbers[self.sizes.lines..], of_texture.len() / 2);
                texture::texture(plan, input, pixels, hidden, of_texture.split_at_mut(half));
            }
            let from = if index == 0 {
                Input::Pixels(pixels)
            } else {
                Input::Map(input)
            };
            let row = block.side_out() * plan.whole_blocks(block.channels_out);
            let lines = self.sizes.lines;
            in_parts(block.side_out(), row, output, strips, |rows, output, memory| {
                let (lines, hidden) = memory.numbers.split_at_mut(lines);
                let filtered = &mut memory.filtered;
                let input = from;
                let mut strips = Strips {
                    plan,
                    block,
                    input,
                    lines,
                    hidden,
                    filtered,
                };
                strips.run(rows, output);
            });
            std::mem::swap(&mut input, &mut output);
            done();
        }

        let ((channels, side), kernels) = (plan.last, plan.kernels);
        let (input_row, row) = (side * plan.whole_blocks(channels), side * plan.features);
        in_parts(side, row, &mut self.head, strips, |rows, output, _| {
            let mut at = 0;
            for panel in &plan.head {
                let call = Pointwise {
                    input: &input[rows.start * input_row..],
                    input_row,
                    input_block: side * kernels.block,
                    rows: rows.len(),
                    columns: side,
                    output_row: row,
                    relu6: true,
                    ..plan.call(panel)
                };
                kernels.expand(&call, &mut output[at..]);
                at += panel.vectors * side * kernels.lanes;
            }
        });
        for (vector, features) in features.chunks_exact_mut(kernels.lanes).enumerate() {
            let call = Mean {
                input: &self.head[vector * side * kernels.lanes..],
                input_row: row,
                rows: side,
            };
            kernels.mean(&call, features);
        }
        done();
    }
}

/// Gives each thread some of the rows of the output.
fn in_parts<T: Send, M: Send>(
    rows: usize,
    row: usize,
    output: &mut [T],
    memory: &mut [M],
    work: impl Fn(Range<usize>, &mut [T], &mut M) + Sync,
) {
    let parts = memory.len().min(rows);
    if parts == 1 {
        return work(0..rows, output, &mut memory[0]);
    }
    let (work, mut rest) = (&work, output);
    rayon::scope(|scope| {
        for (part, memory) in memory[..parts].iter_mut().enumerate() {
            let rows = part * rows / parts..(part + 1) * rows / parts;
            let output;
            (output, rest) = std::mem::take(&mut rest).split_at_mut(rows.len() * row);
            scope.spawn(move |_| work(rows, output, memory));
        }
    });
}
