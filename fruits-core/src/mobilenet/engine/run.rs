//! A photo through the plan.

use std::ops::Range;

use super::buffer::Buffer;
use super::kernels::{Mean, Pointwise};
use super::plan::{Bottleneck, Plan};
use super::strips::{Input, LINE, Strips};

/// The memory that a photo takes on its way, kept from one photo to the next.
pub(super) struct Workspace {
    /// Two maps that are input and output in turn, the map of the head, and the strips of one thread.
    memory: Buffer,
    /// The strips of more threads.
    others: Vec<Buffer>,
    sizes: Sizes,
}

#[derive(Clone, Copy)]
struct Sizes {
    map: usize,
    head: usize,
    lines: usize,
    hidden: usize,
    filtered: usize,
}

impl Workspace {
    pub fn new(plan: &Plan) -> Self {
        let most = |size: &dyn Fn(&Bottleneck) -> usize| plan.bottlenecks.iter().map(size).max().unwrap_or(0);
        let aligned = |numbers: usize| numbers.next_multiple_of(16);
        let sizes = Sizes {
            map: aligned(most(&|b| b.side_out().pow(2) * plan.whole_blocks(b.channels_out))),
            head: aligned(plan.last.1.pow(2) * plan.features),
            lines: aligned(most(&|b| (2 * b.strip + 1) * LINE)),
            hidden: aligned(most(&|b| b.slots() * b.side * b.hidden)),
            filtered: aligned(most(&|b| b.strip_out() * b.side_out() * b.hidden)),
        };
        Workspace {
            memory: Buffer::zeros(2 * sizes.map + sizes.head + sizes.strips()),
            others: Vec::new(),
            sizes,
        }
    }

    /// The features of a photo of 224x224 pixels, by so many threads.
    pub fn features(&mut self, plan: &Plan, pixels: &[u8], threads: usize, features: &mut [f32]) {
        while self.others.len() + 1 < threads {
            self.others.push(Buffer::zeros(self.sizes.strips()));
        }
        let (mut output, rest) = self.memory.split_at_mut(self.sizes.map);
        let (mut input, rest) = rest.split_at_mut(self.sizes.map);
        let (head, strips) = rest.split_at_mut(self.sizes.head);
        let mut strips: Vec<&mut [f32]> = vec![strips];
        strips.extend(self.others.iter_mut().take(threads - 1).map(|buffer| &mut buffer[..]));

        for (index, block) in plan.bottlenecks.iter().enumerate() {
            let from = if index == 0 {
                Input::Pixels(pixels)
            } else {
                Input::Map(input)
            };
            let row = block.side_out() * plan.whole_blocks(block.channels_out);
            let sizes = self.sizes;
            in_parts(block.side_out(), row, output, &mut strips, |rows, output, strips| {
                let [lines, hidden, filtered] = sizes.split(strips);
                let mut strips = Strips {
                    plan,
                    block,
                    input: from,
                    lines,
                    hidden,
                    filtered,
                };
                strips.run(rows, output);
            });
            std::mem::swap(&mut input, &mut output);
        }
        let (channels, side) = plan.last;
        let (input_row, row) = (side * plan.whole_blocks(channels), side * plan.features);
        in_parts(side, row, head, &mut strips, |rows, output, _| {
            let mut at = 0;
            for panel in &plan.head {
                let call = Pointwise {
                    input: &input[rows.start * input_row..],
                    input_row,
                    input_block: side * plan.kernels.lanes,
                    rows: rows.len(),
                    columns: side,
                    output_row: row,
                    relu6: true,
                    ..plan.call(panel)
                };
                plan.kernels.pointwise(&call, &mut output[at..]);
                at += panel.blocks * side * plan.kernels.lanes;
            }
        });
        let lanes = plan.kernels.lanes;
        for (block, features) in features.chunks_exact_mut(lanes).enumerate() {
            let call = Mean {
                input: &head[block * side * lanes..],
                input_row: row,
                rows: side,
            };
            plan.kernels.mean(&call, features);
        }
    }
}

impl Sizes {
    fn strips(&self) -> usize {
        self.lines + self.hidden + self.filtered
    }

    fn split<'a>(&self, strips: &'a mut [f32]) -> [&'a mut [f32]; 3] {
        let (lines, rest) = strips.split_at_mut(self.lines);
        let (hidden, filtered) = rest.split_at_mut(self.hidden);
        [lines, hidden, filtered]
    }
}

/// Gives each thread some of the rows of the output.
fn in_parts(
    rows: usize,
    row: usize,
    output: &mut [f32],
    strips: &mut [&mut [f32]],
    work: impl Fn(Range<usize>, &mut [f32], &mut [f32]) + Sync,
) {
    let parts = strips.len().min(rows);
    if parts == 1 {
        return work(0..rows, output, strips[0]);
    }
    let (work, mut rest) = (&work, output);
    rayon::scope(|scope| {
        for (part, strips) in strips[..parts].iter_mut().enumerate() {
            let rows = part * rows / parts..(part + 1) * rows / parts;
            let output;
            (output, rest) = std::mem::take(&mut rest).split_at_mut(rows.len() * row);
            scope.spawn(move |_| work(rows, output, strips));
        }
    });
}
