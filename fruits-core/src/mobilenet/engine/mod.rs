//! The network at the speed of the processor: what the burn module computes, from a plan that is made once of its weights.
//!
//! | file | what it knows |
//! |---|---|
//! | `run` | a photo through the plan, by one thread or by several |
//! | `strips` | some rows of a block: expanded, filtered and projected in the cache |
//! | `plan` | the layers as data: folded, packed, in the order in which they run |
//! | `kernels` | the instruction sets, and the lengths that a kernel may rely on |
//! | `tile` | the inner loops, for vectors of any kind |
//! | `simd` | vectors of an instruction set |
//! | `buffer` | aligned memory |
//!
//! All unsafe code of the crate is in this folder.

#![allow(unsafe_code)]

mod buffer;
mod kernels;
mod plan;
mod run;
#[cfg(target_arch = "x86_64")]
mod simd;
mod strips;
#[cfg(all(test, target_arch = "x86_64"))]
mod tests;
#[cfg(target_arch = "x86_64")]
mod tile;

use image::RgbImage;
use ndarray::Array2;
use rayon::prelude::*;

use super::network::Network;
use crate::spare::Spare;
use kernels::Kernels;
use plan::Plan;
use run::Workspace;

/// The network on the vectors of this processor.
pub(super) struct Engine {
    plan: Plan,
    /// Memory that no photo is in just now.
    idle: Spare<Workspace>,
}

impl Engine {
    /// Nothing if the processor has neither AVX-512 nor AVX2.
    pub fn new(network: &Network) -> Option<Self> {
        Kernels::all().next().map(|kernels| Self::with(network, kernels))
    }

    fn with(network: &Network, kernels: &'static Kernels) -> Self {
        Engine {
            plan: Plan::new(network, kernels),
            idle: Spare::default(),
        }
    }

    /// The instruction set.
    pub fn name(&self) -> &'static str {
        self.plan.kernels.name
    }

    /// The features of photos of 224x224 pixels, `n x 1280`, by this thread alone.
    pub fn features(&self, photos: &[RgbImage]) -> Array2<f32> {
        self.each(photos, |photo, features| self.one(photo, 1, features))
    }

    /// The same by all threads: each with photos of its own, or all with parts of a photo if there are fewer photos than threads.
    pub fn features_by_all(&self, photos: &[RgbImage]) -> Array2<f32> {
        let threads = rayon::current_num_threads();
        if photos.len() < threads {
            // From within the pool, its threads need not be woken for every block.
            return rayon::scope(|_| self.each(photos, |photo, features| self.one(photo, threads, features)));
        }
        let mut features = self.rows(photos.len());
        let rows = features
            .as_slice_mut()
            .expect("it was just made")
            .par_chunks_mut(self.plan.features);
        photos
            .par_iter()
            .zip(rows)
            .for_each(|(photo, features)| self.one(photo, 1, features));
        features
    }

    fn rows(&self, count: usize) -> Array2<f32> {
        Array2::zeros((count, self.plan.features))
    }

    fn each(&self, photos: &[RgbImage], work: impl Fn(&RgbImage, &mut [f32])) -> Array2<f32> {
        let mut features = self.rows(photos.len());
        for (photo, mut row) in photos.iter().zip(features.rows_mut()) {
            work(photo, row.as_slice_mut().expect("rows are contiguous"));
        }
        features
    }

    fn one(&self, photo: &RgbImage, threads: usize, features: &mut [f32]) {
        let workspace = self.idle.take();
        let mut workspace = workspace.unwrap_or_else(|| Workspace::new(&self.plan));
        workspace.features(&self.plan, photo.as_raw(), threads, features);
        self.idle.put(workspace);
    }
}
