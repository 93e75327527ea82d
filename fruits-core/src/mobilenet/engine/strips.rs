//! Some rows of the output of a block.
//!
//! The hidden map of a block is six times as wide as what goes in and comes out. It is made in strips of a few rows that stay in the cache:
//! a strip is expanded and filtered, some channels at a time, and then projected. Filters reach over the border of strips, so the hidden
//! rows lie in a ring that keeps the two before a strip.

use std::ops::Range;

use super::kernels::{Depthwise, Operand, Pointwise};
use super::plan::{Bottleneck, Panel, Plan};
use crate::pixels::SIDE;

const CHANNELS: usize = 3;
/// Numbers of a line of pixels, with the column of zeros behind it.
pub(super) const LINE: usize = (SIDE as usize + 1) * CHANNELS;

/// What a block reads.
#[derive(Clone, Copy)]
pub(super) enum Input<'a, E> {
    /// Lines of RGB.
    Pixels(&'a [u8]),
    Map(&'a [E]),
}

/// A block at work.
pub(super) struct Strips<'a, E: Operand> {
    pub plan: &'a Plan<E>,
    pub block: &'a Bottleneck,
    pub input: Input<'a, E>,
    /// The lines of pixels that a strip is made of, as numbers.
    pub lines: &'a mut [f32],
    /// The ring of hidden rows.
    pub hidden: &'a mut [f32],
    /// The rows of a strip after their filters.
    pub filtered: &'a mut [E],
}

impl<E: Operand> Strips<'_, E> {
    /// Makes some rows of the output.
    pub fn run(&mut self, outputs: Range<usize>, output: &mut [E]) {
        let (side, stride) = (self.block.side, self.block.depthwise.stride);
        let up = self.block.depthwise.up();
        let first = (outputs.start * stride).saturating_sub(up);
        let last = ((outputs.end - 1) * stride + 3 - up).min(side);
        let (mut made, mut finished) = (first, outputs.start);
        while made < last {
            let end = (made + self.block.strip).min(last);
            // A row of output can be made when the last of its three hidden rows is there, or lies outside.
            let ready = (end + up).checked_sub(3).map_or(0, |rows| rows / stride + 1);
            let next = if end == last { outputs.end } else { ready.max(finished) };
            self.read(made..end);
            let mut first = 0;
            let panels = match self.input {
                Input::Pixels(_) => &self.plan.stem,
                Input::Map(_) => &self.block.expand,
            };
            for panel in panels {
                self.expand(panel, first, made..end);
                for vector in first..first + panel.vectors {
                    self.filter(vector, finished..next);
                }
                first += panel.vectors;
            }
            let row = self.block.side_out() * self.plan.whole_blocks(self.block.channels_out);
            self.project(finished..next, &mut output[(finished - outputs.start) * row..]);
            (made, finished) = (end, next);
        }
    }

    /// Turns the pixels that these hidden rows of the stem need into numbers.
    fn read(&mut self, rows: Range<usize>) {
        let Input::Pixels(pixels) = self.input else { return };
        let pixels = pixels.chunks_exact(SIDE as usize * CHANNELS).skip(2 * rows.start);
        for (index, line) in self.lines.chunks_exact_mut(LINE).take(2 * rows.len() + 1).enumerate() {
            match pixels.clone().nth(index) {
                Some(levels) => self.plan.kernels.scale(levels, line),
                None => line.fill(0.0),
            }
        }
    }

    /// Makes some channels of some hidden rows; `first` is the first vector of channels.
    fn expand(&mut self, panel: &Panel, first: usize, rows: Range<usize>) {
        let (side, slots, kernels) = (self.block.side, self.block.slots(), self.plan.kernels);
        let output_row = side * self.block.hidden;
        let mut row = rows.start;
        while row < rows.end {
            let slot = row % slots;
            let count = (rows.end - row).min(slots - slot);
            let output = &mut self.hidden[slot * output_row + first * side * kernels.lanes..];
            match self.input {
                Input::Pixels(_) => {
                    let call = Pointwise {
                        input: &self.lines[2 * (row - rows.start) * LINE..],
                        input_row: 2 * LINE,
                        input_block: LINE,
                        rows: count,
                        columns: side,
                        output_row,
                        relu6: true,
                        ..self.plan.stem_call(panel)
                    };
                    kernels.stem(&call, output);
                }
                Input::Map(map) => {
                    let input_row = side * self.plan.whole_blocks(self.block.channels_in);
                    let call = Pointwise {
                        input: &map[row * input_row..],
                        input_row,
                        input_block: side * kernels.block,
                        rows: count,
                        columns: side,
                        output_row,
                        relu6: true,
                        ..self.plan.call(panel)
                    };
                    kernels.expand(&call, output);
                }
            }
            row += count;
        }
    }

    /// Filters a vector of channels for some rows of output.
    fn filter(&mut self, vector: usize, outputs: Range<usize>) {
        let (side, side_out, kernels) = (self.block.side, self.block.side_out(), self.plan.kernels);
        let (lanes, depthwise) = (kernels.lanes, &self.block.depthwise);
        let call = Depthwise {
            input: &self.hidden[vector * side * lanes..],
            slots: self.block.slots(),
            input_row: side * self.block.hidden,
            height: side,
            columns: side,
            stride: depthwise.stride,
            weights: &self.plan.numbers[depthwise.weights.clone()][vector * 9 * lanes..][..9 * lanes],
            bias: &self.plan.numbers[depthwise.bias.clone()][vector * lanes..][..lanes],
            outputs,
            output_row: self.filtered_row(),
        };
        let channel = vector * lanes;
        let (block, rest) = (channel / kernels.block * kernels.block, channel % kernels.block);
        kernels.depthwise(&call, &mut self.filtered[block * side_out + rest..]);
    }

    fn filtered_row(&self) -> usize {
        self.block.side_out() * self.plan.whole_blocks(self.block.hidden)
    }

    /// Projects the filtered rows to rows of the output.
    fn project(&mut self, outputs: Range<usize>, output: &mut [E]) {
        let (side, kernels) = (self.block.side_out(), self.plan.kernels);
        let output_row = side * self.plan.whole_blocks(self.block.channels_out);
        let mut at = 0;
        for panel in &self.block.project {
            let residual = match self.input {
                Input::Map(map) if self.block.residual => Some(&map[outputs.start * output_row + at..]),
                _ => None,
            };
            let call = Pointwise {
                input: self.filtered,
                input_row: self.filtered_row(),
                input_block: side * kernels.block,
                rows: outputs.len(),
                columns: side,
                output_row,
                residual,
                ..self.plan.call(panel)
            };
            kernels.project(&call, &mut output[at..]);
            at += panel.vectors * side * kernels.lanes;
        }
    }
}
