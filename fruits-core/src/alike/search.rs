//! Exact nearest rows: a first pass in `f32` finds who may be among the nearest, and only they are compared in `f64`.
//!
//! So what is found does not depend on the first pass: it is the same on every processor, for any number of threads and any division into
//! blocks. Of equally near rows, those that come first are taken.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use ndarray::ArrayView2;
use rayon::prelude::*;

use super::product::{self, Kernel};

/// Rows that are multiplied with queries while they are in the caches that all cores share.
const BLOCK: usize = 1024;
/// Queries that stay in a core's own cache.
const QUERIES: usize = 48;
/// Squared lengths with which `f32` neither overflows nor loses digits.
const ORDINARY: Range<f64> = 1e-24..1e24;

/// How near is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Metric {
    /// The cosine of the angle between features: 1 is the same direction. That of a row of zeros is 0.
    #[default]
    Cosine,
    /// The Euclidean distance between features: 0 is the same features.
    Euclidean,
}

/// A row, and how near it is: larger is nearer. The cosine, or the squared Euclidean distance, negated.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Near {
    pub row: usize,
    pub score: f64,
}

/// The nearest first; of equals, the first row.
impl Ord for Near {
    fn cmp(&self, other: &Self) -> Ordering {
        other.score.total_cmp(&self.score).then(self.row.cmp(&other.row))
    }
}

impl PartialOrd for Near {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Eq for Near {}

/// The nearest rows that one query has met.
#[derive(Clone)]
struct Best {
    k: usize,
    /// Nearer than this are `k` rows that were met elsewhere.
    floor: f64,
    found: BinaryHeap<Near>,
}

impl Best {
    fn new(k: usize, floor: f64) -> Self {
        Best {
            k,
            floor,
            found: BinaryHeap::new(),
        }
    }

    /// What is less near than this is not among the nearest.
    fn limit(&self) -> f64 {
        match self.found.peek() {
            Some(last) if self.found.len() == self.k => last.score.max(self.floor),
            None if self.k == 0 => f64::INFINITY,
            _ => self.floor,
        }
    }

    fn offer(&mut self, near: Near) {
        if self.found.len() < self.k {
            self.found.push(near);
        } else if let Some(mut last) = self.found.peek_mut()
            && near < *last
        {
            *last = near;
        }
    }

    fn merge(&mut self, other: Best) {
        other.found.into_iter().for_each(|near| self.offer(near));
    }
}

/// Rows of features, and what the passes need of them beside.
pub(super) struct Rows<'a> {
    matrix: ArrayView2<'a, f32>,
    /// Number of the first row among all.
    first: usize,
    terms: &'a [Term],
}

/// What belongs to a row.
#[derive(Clone, Copy)]
pub(super) struct Term {
    /// `x · x`
    square: f64,
    /// The first pass' score is `product * factor * factor + (offset + offset)`.
    factor: f32,
    offset: f32,
}

impl Metric {
    /// The terms of rows; nothing if a number of a row is not finite, but its number.
    pub(super) fn terms(self, matrix: ArrayView2<f32>) -> Result<Vec<Term>, usize> {
        let term = |row: usize| {
            let numbers = slice(&matrix, row);
            let square = dot(numbers, numbers);
            let (factor, offset) = match self {
                Metric::Cosine if square == 0.0 => (0.0, 0.0),
                Metric::Cosine => ((1.0 / square.sqrt()) as f32, 0.0),
                Metric::Euclidean => (std::f32::consts::SQRT_2, -square as f32),
            };
            // What is not a number is never less than a limit.
            let factor = if square == 0.0 || ORDINARY.contains(&square) {
                factor
            } else {
                f32::NAN
            };
            if square.is_finite() {
                Ok(Term { square, factor, offset })
            } else {
                Err(row)
            }
        };
        (0..matrix.nrows()).into_par_iter().map(term).collect()
    }

    /// The exact score of two rows.
    fn score(self, (x, a): (&[f32], Term), (y, b): (&[f32], Term)) -> f64 {
        match self {
            Metric::Cosine if a.square == 0.0 || b.square == 0.0 => 0.0,
            Metric::Cosine => dot(x, y) / (a.square * b.square).sqrt(),
            Metric::Euclidean => -distance(x, y),
        }
    }

    /// How much the first pass' score may differ from the exact one.
    fn slack(self, depth: usize, largest: f64) -> f64 {
        let error = product::error(depth);
        match self {
            Metric::Cosine => error,
            Metric::Euclidean => error * 2.0 * largest,
        }
    }
}

impl<'a> Rows<'a> {
    pub fn new(matrix: ArrayView2<'a, f32>, first: usize, terms: &'a [Term]) -> Self {
        Rows { matrix, first, terms }
    }

    fn len(&self) -> usize {
        self.terms.len()
    }

    fn row(&self, row: usize) -> &[f32] {
        slice(&self.matrix, row)
    }

    fn exact(&self, row: usize) -> (&[f32], Term) {
        (self.row(row), self.terms[row])
    }

    fn largest(&self) -> f64 {
        self.terms.iter().map(|term| term.square).fold(0.0, f64::max)
    }

    fn blocks(&self) -> Vec<Range<usize>> {
        (0..self.len())
            .step_by(BLOCK)
            .map(|first| first..(first + BLOCK).min(self.len()))
            .collect()
    }
}

/// The nearest rows of each query so far, of `R` kinds. Rows come in any order and division, in one piece or piece by piece.
pub(super) struct Nearest<const R: usize> {
    metric: Metric,
    /// Of queries, a block each.
    best: Vec<Mutex<Vec<Met<R>>>>,
}

/// The nearest rows of each kind that one query has met.
#[derive(Clone)]
struct Met<const R: usize> {
    best: [Best; R],
    /// What the first pass says of a row that is not near enough, of each kind, and of any.
    limits: [f32; R],
    least: f32,
}

impl<const R: usize> Met<R> {
    fn new(best: [Best; R], slack: f64) -> Self {
        let limits = [f32::NEG_INFINITY; R];
        let mut met = Met {
            best,
            limits,
            least: f32::NEG_INFINITY,
        };
        (0..R).for_each(|kind| met.set_limit(kind, slack));
        met
    }

    fn set_limit(&mut self, kind: usize, slack: f64) {
        self.limits[kind] = below(self.best[kind].limit() - slack);
        self.least = self.limits.into_iter().fold(f32::INFINITY, f32::min);
    }

    /// Whether a row may be among the nearest. What is not a number, may.
    fn may(&self, kind: usize, score: f32) -> bool {
        !is_below(score, self.limits[kind])
    }

    fn offer(&mut self, kind: usize, near: Near, slack: f64) {
        self.best[kind].offer(near);
        self.set_limit(kind, slack);
    }
}

impl<const R: usize> Nearest<R> {
    /// Room for so many nearest rows of each kind.
    pub fn new(metric: Metric, queries: usize, k: [usize; R]) -> Self {
        let blocks = (0..queries).step_by(BLOCK).map(|first| (queries - first).min(BLOCK));
        let empty = Met::new(k.map(|k| Best::new(k, f64::NEG_INFINITY)), 0.0);
        let best = blocks.map(|count| Mutex::new(vec![empty.clone(); count])).collect();
        Nearest { metric, best }
    }

    /// Compares queries with rows. `kind` says of a query and a row, by their numbers, of what kind of neighbours they are, if of any.
    pub fn meet(&self, queries: &Rows, rows: &Rows, kind: impl Fn(usize, usize) -> Option<usize> + Sync) {
        let slack = self
            .metric
            .slack(rows.matrix.ncols(), rows.largest().max(queries.largest()));
        rows.blocks().into_par_iter().for_each(|some_rows| {
            for (block, some_queries) in queries.blocks().into_iter().enumerate() {
                let mut met = self.begin(block, slack);
                pairs(
                    queries,
                    some_queries.clone(),
                    rows,
                    some_rows.clone(),
                    |query, row, score| {
                        let met = &mut met[query - some_queries.start];
                        if !is_below(score, met.least)
                            && let Some(kind) = kind(queries.first + query, rows.first + row)
                            && met.may(kind, score)
                        {
                            let score = self.metric.score(queries.exact(query), rows.exact(row));
                            met.offer(
                                kind,
                                Near {
                                    row: rows.first + row,
                                    score,
                                },
                                slack,
                            );
                        }
                    },
                );
                self.end(block, met);
            }
        });
    }

    /// Compares rows with each other, each pair once. `kind` is as in [`meet`](Self::meet), and the same for both of a pair.
    pub fn meet_each_other(&self, rows: &Rows, kind: impl Fn(usize, usize) -> Option<usize> + Sync) {
        let slack = self.metric.slack(rows.matrix.ncols(), rows.largest());
        let blocks = rows.blocks();
        let of_blocks: Vec<(usize, usize)> = (0..blocks.len()).flat_map(|b| (0..=b).map(move |a| (a, b))).collect();
        of_blocks.into_par_iter().for_each(|(a, b)| {
            let mut met = [
                self.begin(a, slack),
                if a == b { Vec::new() } else { self.begin(b, slack) },
            ];
            let of_b = usize::from(a != b);
            pairs(rows, blocks[a].clone(), rows, blocks[b].clone(), |i, j, score| {
                let (at_i, at_j) = (i - blocks[a].start, j - blocks[b].start);
                let is_far = is_below(score, met[0][at_i].least) && is_below(score, met[of_b][at_j].least);
                if is_far || a == b && i >= j {
                    return;
                }
                let Some(kind) = kind(rows.first + i, rows.first + j) else {
                    return;
                };
                if met[0][at_i].may(kind, score) || met[of_b][at_j].may(kind, score) {
                    let score = self.metric.score(rows.exact(i), rows.exact(j));
                    met[0][at_i].offer(
                        kind,
                        Near {
                            row: rows.first + j,
                            score,
                        },
                        slack,
                    );
                    met[of_b][at_j].offer(
                        kind,
                        Near {
                            row: rows.first + i,
                            score,
                        },
                        slack,
                    );
                }
            });
            let [of_a, of_b] = met;
            self.end(a, of_a);
            if a != b {
                self.end(b, of_b);
            }
        });
    }

    /// Room for what the queries of a block are about to meet.
    fn begin(&self, block: usize, slack: f64) -> Vec<Met<R>> {
        let all = self.best[block].lock().unwrap_or_else(PoisonError::into_inner);
        let empty = |best: &Best| Best::new(best.k, best.limit());
        all.iter()
            .map(|met| Met::new(met.best.each_ref().map(empty), slack))
            .collect()
    }

    fn end(&self, block: usize, met: Vec<Met<R>>) {
        let mut all = self.best[block].lock().unwrap_or_else(PoisonError::into_inner);
        for (all, met) in all.iter_mut().zip(met) {
            all.best.iter_mut().zip(met.best).for_each(|(all, met)| all.merge(met));
        }
    }

    /// The nearest rows of each query and kind, the nearest first.
    pub fn finish(self) -> Vec<[Vec<Near>; R]> {
        let blocks = self
            .best
            .into_iter()
            .map(|all| all.into_inner().unwrap_or_else(PoisonError::into_inner));
        blocks
            .flatten()
            .map(|met| met.best.map(|best| best.found.into_sorted_vec()))
            .collect()
    }
}

/// Calls `visit` with a query, a row and the first pass' score of all pairs.
#[inline(always)]
fn pairs(
    queries: &Rows,
    some_queries: Range<usize>,
    rows: &Rows,
    some_rows: Range<usize>,
    mut visit: impl FnMut(usize, usize, f32),
) {
    let kernel = Kernel::of_this_processor();
    for first in some_queries.clone().step_by(QUERIES) {
        let count = (some_queries.end - first).min(QUERIES);
        let query = |i| queries.row(first + i);
        let row = |j| rows.row(some_rows.start + j);
        kernel.products(count, query, some_rows.len(), row, |i, j, product| {
            let (query, row) = (first + i, some_rows.start + j);
            let (a, b) = (queries.terms[query], rows.terms[row]);
            visit(query, row, product * a.factor * b.factor + (a.offset + b.offset));
        });
    }
}

fn slice<'a>(matrix: &'a ArrayView2<f32>, row: usize) -> &'a [f32] {
    let width = matrix.ncols();
    &matrix.as_slice().expect("rows lie one behind the other")[row * width..(row + 1) * width]
}

/// Whether a score is less than a limit; what is not a number is not.
fn is_below(score: f32, limit: f32) -> bool {
    score < limit
}

/// The largest `f32` that is not above a number.
fn below(number: f64) -> f32 {
    let near = number as f32;
    if f64::from(near) > number {
        near.next_down()
    } else {
        near
    }
}

/// Sums of eight numbers each, in one order on every processor; products of `f32` are exact in `f64`.
fn sum_of(x: &[f32], y: &[f32], term: impl Fn(f64, f64) -> f64) -> f64 {
    let mut sums = [0.0; 8];
    let (x_chunks, y_chunks) = (x.chunks_exact(8), y.chunks_exact(8));
    let rest = x_chunks.remainder().iter().zip(y_chunks.remainder());
    for (x, y) in x_chunks.clone().zip(y_chunks.clone()) {
        for lane in 0..8 {
            sums[lane] += term(f64::from(x[lane]), f64::from(y[lane]));
        }
    }
    let rest: f64 = rest.map(|(x, y)| term(f64::from(*x), f64::from(*y))).sum();
    ((sums[0] + sums[4]) + (sums[1] + sums[5])) + ((sums[2] + sums[6]) + (sums[3] + sums[7])) + rest
}

fn dot(x: &[f32], y: &[f32]) -> f64 {
    sum_of(x, y, |x, y| x * y)
}

fn distance(x: &[f32], y: &[f32]) -> f64 {
    sum_of(x, y, |x, y| (x - y) * (x - y))
}
