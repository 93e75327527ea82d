//! The network at the speed of the processor: what the burn module computes, from a plan that is made once of its weights.
//!
//! | file | what it knows |
//! |---|---|
//! | `run` | a photo through the plan, by one thread or by several |
//! | `strips` | some rows of a block: expanded, filtered and projected in the cache |
//! | `texture` | means and deviations of a map in the middle, over the fruit |
//! | `plan` | the layers as data: folded, packed, in the order in which they run |
//! | `kernels` | the instruction sets, and the lengths that a kernel may rely on |
//! | `tile` | the inner loops, for vectors of any kind |
//! | `amx` | products on tile registers |
//! | `buffer` | aligned memory |
//!
//! Vectors of an instruction set are in `crate::simd`. Other unsafe code of the library is in decoders written in C, and in the products of a
//! search.
//!
//! Not here, and why: *int8*. With a scale a channel for weights and a calibrated one a layer for activations, the cosine with the `f32`
//! features of 344 photos was 0.987 on average and 0.975 at least, and one neighbour in twelve another one; beside products on AMX tiles,
//! which are a small part of the time already, it would win little. *Batches*: photos one by one were as fast as four at a time in the
//! last layers, whose weights then are read once for all. *Prefetching* the next panel's weights, or the next columns of the input: no
//! difference that could be told from noise; the same for hidden rows of one panel where the whole map is made at once, and for rows of the
//! input that stay in the first cache. *Longer strips* (384 KB): slower by 3 % with a second cache of 512 KB. *Comparisons* with 0 and 6 run
//! on the units of multiply-adds, and take 4 % of the time: signs as masks, which run on others, were slower by 1 % to 3 %.

#![allow(unsafe_code)]
// Indices with constant bounds are unrolled, and name the registers that they stand for.
#![allow(clippy::needless_range_loop)]

#[cfg(target_arch = "x86_64")]
mod amx;
mod buffer;
mod kernels;
mod plan;
mod run;
mod strips;
#[cfg(test)]
mod tests;
mod texture;
mod tile;

use std::sync::Arc;
use std::time::Instant;

use half::bf16;
use image::RgbImage;
use ndarray::{Array2, ArrayViewMut1};
use rayon::prelude::*;

use super::network::Network;
use super::{Precision, TEXTURE};
use crate::spare::Spare;
use kernels::{Kernels, Operand};
pub use plan::Layer;
use plan::Plan;
use run::Workspace;

/// The network on the vectors of this processor.
pub(super) trait Engine: Send + Sync {
    /// The instruction set.
    fn name(&self) -> &'static str;

    /// The features of photos of 224x224 pixels, `n x 1280`, and with their texture `n x 1664`, by this thread alone.
    fn features(&self, photos: &[RgbImage], texture: bool) -> Array2<f32>;

    /// The same by all threads: each with photos of its own, or all with parts of a photo if there are fewer photos than threads.
    fn features_by_all(&self, photos: &[RgbImage], texture: bool) -> Array2<f32>;

    /// The layers, and how long a photo was in each, by this thread alone.
    fn layers(&self, photo: &RgbImage) -> Vec<Layer>;
}

/// Nothing if the processor has no instructions for it; `f32` runs on every processor.
pub(super) fn engine(network: &Network, precision: Precision) -> Option<Arc<dyn Engine>> {
    Some(match precision {
        Precision::F32 => Arc::new(Compiled::new(network, f32::kernels().first()?)),
        Precision::Bf16 => Arc::new(Compiled::new(network, bf16::kernels().first()?)),
    })
}

/// The plan for operands of one type, and the memory to run it in.
struct Compiled<E: Operand> {
    plan: Plan<E>,
    /// Memory that no photo is in just now.
    idle: Spare<Workspace<E>>,
}

impl<E: Operand> Engine for Compiled<E> {
    fn name(&self) -> &'static str {
        self.plan.kernels.name
    }

    fn features(&self, photos: &[RgbImage], texture: bool) -> Array2<f32> {
        self.each(photos, 1, texture)
    }

    fn features_by_all(&self, photos: &[RgbImage], texture: bool) -> Array2<f32> {
        let threads = rayon::current_num_threads();
        if photos.len() < threads {
            // From within the pool, its threads need not be woken for every block.
            return rayon::scope(|_| self.each(photos, threads, texture));
        }
        let mut features = self.rows(photos.len(), texture);
        let mut rows: Vec<ArrayViewMut1<f32>> = features.rows_mut().into_iter().collect();
        photos
            .par_iter()
            .zip(&mut rows)
            .for_each(|(photo, row)| self.one(photo, 1, row, || ()));
        features
    }

    fn layers(&self, photo: &RgbImage) -> Vec<Layer> {
        let mut layers = self.plan.layers();
        let (mut rest, mut start) = (layers.iter_mut(), Instant::now());
        let mut features = self.rows(1, false);
        self.one(photo, 1, &mut features.row_mut(0), || {
            if let Some(layer) = rest.next() {
                (layer.time, start) = (start.elapsed(), Instant::now());
            }
        });
        layers
    }
}

impl<E: Operand> Compiled<E> {
    fn new(network: &Network, kernels: &'static Kernels<E>) -> Self {
        Compiled {
            plan: Plan::new(network, kernels),
            idle: Spare::default(),
        }
    }

    fn rows(&self, count: usize, texture: bool) -> Array2<f32> {
        let texture = if texture { TEXTURE } else { 0 };
        Array2::zeros((count, self.plan.features + texture))
    }

    /// One photo after the other.
    fn each(&self, photos: &[RgbImage], threads: usize, texture: bool) -> Array2<f32> {
        let mut features = self.rows(photos.len(), texture);
        for (photo, mut row) in photos.iter().zip(features.rows_mut()) {
            self.one(photo, threads, &mut row, || ());
        }
        features
    }

    fn one(&self, photo: &RgbImage, threads: usize, features: &mut ArrayViewMut1<f32>, done: impl FnMut()) {
        let workspace = self.idle.take();
        let mut workspace = workspace.unwrap_or_else(|| Workspace::new(&self.plan));
        let features = features.as_slice_mut().expect("rows are contiguous");
        workspace.features(&self.plan, photo.as_raw(), threads, features, done);
        self.idle.put(workspace);
    }
}
