//! Exact nearest rows: a first pass in `f32` finds who may be among the nearest, and only they are compared in `f64`.
//!
//! So what is found does not depend on the first pass: it is the same on every processor, for any number of threads and any division into
//! blocks. Of equally near rows, those that come first are taken.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use ndarray::{ArrayView2, s};
use rayon::prelude::*;

use super::exact::{distance, dot, square};
use super::product::{self, Memory, Pass};
use crate::error::{Error, ErrorKind, Result, Step};
use crate::interrupt;

/// Rows of a block: as many as are multiplied with many queries while they are in the caches that all cores share; for a few queries, as many
/// as stay in a core's own.
const BLOCK: usize = 1024;
const SMALL_BLOCK: usize = 64;
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

/// The `k` rows of a matrix that are nearest to each of some queries, the nearest first: of features, of projections, of whatever has one
/// number a column. Exact, as [`Features::search`](crate::Features::search) is.
///
/// ```
/// use fruits_core::alike::{Metric, nearest};
/// use fruits_core::ndarray::array;
///
/// let rows = array![[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]];
/// let found = nearest(array![[2.0, 0.1]].view(), rows.view(), 2, Metric::Cosine)?;
/// assert_eq!([found[0][0].row, found[0][1].row], [0, 2]);
/// # Ok::<(), fruits_core::Error>(())
/// ```
///
/// # Errors
/// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if the matrices have not the same columns, or a number is not finite.
pub fn nearest(queries: ArrayView2<f32>, rows: ArrayView2<f32>, k: usize, metric: Metric) -> Result<Vec<Vec<Near>>> {
    let (queries, rows) = (queries.as_standard_layout(), rows.as_standard_layout());
    let (wanted, width) = (rows.ncols(), queries.ncols());
    if width != wanted || width == 0 {
        return Err(invalid("queries", format!("{width} columns, the rows have {wanted}")));
    }
    let terms = metric.terms(queries.view()).map_err(|row| not_finite("queries", row))?;
    let nearest = Nearest::new(metric, queries.nrows(), [k]);
    nearest
        .meet(&Rows::new(queries.view(), 0, &terms), rows.view(), 0)
        .map_err(|stop| stop.because(|row| not_finite("rows", row)))?;
    Ok(nearest.of_one_kind())
}

/// Of each row of a matrix, the `k` others that are nearest to it, as [`nearest`] finds them.
///
/// # Errors
/// As [`nearest`].
pub fn nearest_others(matrix: ArrayView2<f32>, k: usize, metric: Metric) -> Result<Vec<Vec<Near>>> {
    if matrix.ncols() == 0 {
        return Err(invalid("rows", "no columns".to_owned()));
    }
    let matrix = matrix.as_standard_layout();
    others(matrix.view(), k, metric, |_, _| true).map_err(|stop| stop.because(|row| not_finite("rows", row)))
}

/// Of each row of a matrix, the nearest others that may be.
pub(super) fn others(
    matrix: ArrayView2<f32>,
    k: usize,
    metric: Metric,
    may: impl Fn(usize, usize) -> bool + Sync,
) -> Result<Vec<Vec<Near>>, Stop> {
    let terms = metric.terms(matrix)?;
    let nearest = Nearest::new(metric, matrix.nrows(), [k]);
    nearest.meet_each_other(&Rows::new(matrix.view(), 0, &terms), |i, j| may(i, j).then_some(0))?;
    Ok(nearest.of_one_kind())
}

/// Why a search has not come to its end.
#[derive(Debug)]
pub(super) enum Stop {
    /// The row of this number has a number that is not finite.
    NotFinite(usize),
    Failed(Error),
}

impl Stop {
    /// As an error, with what to say of a row that has a number that is not finite.
    pub fn because(self, not_finite: impl FnOnce(usize) -> Error) -> Error {
        match self {
            Stop::NotFinite(row) => not_finite(row),
            Stop::Failed(error) => error,
        }
    }
}

impl From<usize> for Stop {
    fn from(row: usize) -> Self {
        Stop::NotFinite(row)
    }
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Stop::Failed(error)
    }
}

fn invalid(name: &str, message: String) -> Error {
    Error::new(ErrorKind::Invalid, Step::Input, name, message)
}

fn not_finite(name: &str, row: usize) -> Error {
    invalid(name, format!("row {row} has a number that is not finite"))
}

/// A row that was found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Near {
    /// Its number.
    pub row: usize,
    /// How near it is, larger is nearer: the cosine, or the squared Euclidean distance, negated.
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
    numbers: &'a [f32],
    width: usize,
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
        let rows = slice(matrix).par_chunks_exact(matrix.ncols());
        rows.enumerate()
            .map(|(row, numbers)| self.term(numbers).ok_or(row))
            .collect()
    }

    fn term(self, numbers: &[f32]) -> Option<Term> {
        let square = square(numbers);
        let (factor, offset) = match self {
            Metric::Cosine if square == 0.0 => (0.0, 0.0),
            Metric::Cosine => ((1.0 / square.sqrt()) as f32, 0.0),
            Metric::Euclidean => (std::f32::consts::SQRT_2, -square as f32),
        };
        // What is not a number is never less than a limit.
        let is_ordinary = square == 0.0 || ORDINARY.contains(&square);
        let factor = if is_ordinary { factor } else { f32::NAN };
        square.is_finite().then_some(Term { square, factor, offset })
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
    fn slack(self, pass: Pass, depth: usize, largest: f64) -> f64 {
        let error = pass.error(depth);
        match self {
            Metric::Cosine => error,
            Metric::Euclidean => error * 2.0 * largest,
        }
    }
}

impl<'a> Rows<'a> {
    /// Rows that lie one behind the other, and their terms.
    pub fn new(matrix: ArrayView2<'a, f32>, first: usize, terms: &'a [Term]) -> Self {
        Rows {
            numbers: slice(matrix),
            width: matrix.ncols(),
            first,
            terms,
        }
    }

    fn len(&self) -> usize {
        self.terms.len()
    }

    fn exact(&self, row: usize) -> (&[f32], Term) {
        (&self.numbers[row * self.width..][..self.width], self.terms[row])
    }

    fn largest(&self) -> f64 {
        self.terms.iter().map(|term| term.square).fold(0.0, f64::max)
    }

    /// Some of the rows.
    fn some(&self, rows: Range<usize>) -> Self {
        Rows {
            numbers: &self.numbers[rows.start * self.width..rows.end * self.width],
            width: self.width,
            first: self.first + rows.start,
            terms: &self.terms[rows],
        }
    }

    fn blocks(&self) -> Vec<Rows<'a>> {
        blocks(self.len(), BLOCK).map(|rows| self.some(rows)).collect()
    }
}

/// The nearest rows of each query so far, of `R` kinds. Rows come in any order and division, in one piece or piece by piece.
pub(super) struct Nearest<const R: usize> {
    metric: Metric,
    /// Of queries, a block each.
    best: Vec<Mutex<Vec<[Best; R]>>>,
}

/// What the queries of a block meet.
struct Meeting<const R: usize> {
    metric: Metric,
    slack: f64,
    of: Vec<[Candidates; R]>,
    /// Of each query, what the first pass says of a row that is not near enough, of whatever kind.
    limits: Vec<f32>,
}

/// Rows that may be among the nearest of a query.
struct Candidates {
    k: usize,
    /// Nearer than this are `k` rows that were met elsewhere.
    floor: f64,
    /// What the first pass says of a row that is not near enough.
    limit: f32,
    rows: Vec<(f32, usize)>,
    /// How many are kept until the limit is set anew.
    room: usize,
}

impl Candidates {
    fn new(best: &Best, slack: f64) -> Self {
        let floor = best.limit();
        Candidates {
            k: best.k,
            floor,
            limit: below(floor - slack),
            rows: Vec::new(),
            room: 2 * best.k.min(BLOCK) + 8,
        }
    }

    /// Takes one that is not below the limit.
    fn push(&mut self, row: usize, score: f32, slack: f64) {
        self.rows.push((score, row));
        if self.rows.len() < self.room || self.rows.len() <= self.k || self.k == 0 {
            return;
        }
        let (_, (last, _), _) = self
            .rows
            .select_nth_unstable_by(self.k - 1, |(a, _), (b, _)| b.total_cmp(a));
        // The last of the nearest may be nearer than it seems, and one that is beyond it less.
        self.limit = self.limit.max(below(f64::from(*last) - 2.0 * slack));
        self.rows.retain(|(score, _)| !is_below(*score, self.limit));
        self.room = self.room.max(2 * self.rows.len());
    }
}

impl<const R: usize> Meeting<R> {
    fn may(&self, query: usize, kind: usize, score: f32) -> bool {
        !is_below(score, self.of[query][kind].limit)
    }

    /// Takes a row that may be among the nearest.
    fn take(&mut self, query: usize, kind: usize, (row, score): (usize, f32), exact: impl Fn() -> f64) {
        // What is not a number says nothing.
        let score = if score.is_nan() { exact() as f32 } else { score };
        self.of[query][kind].push(row, score, self.slack);
        self.limits[query] = least(&self.of[query]);
    }

    /// The nearest of what was met.
    fn finish(self, queries: &Rows, rows: &Rows) -> Vec<[Best; R]> {
        let nearest = |(query, candidates): (usize, [Candidates; R])| {
            candidates.map(|candidates| {
                let mut best = Best::new(candidates.k, candidates.floor);
                for (_, row) in candidates.rows {
                    let score = self.metric.score(queries.exact(query), rows.exact(row));
                    let row = rows.first + row;
                    best.offer(Near { row, score });
                }
                best
            })
        };
        self.of.into_iter().enumerate().map(nearest).collect()
    }
}

fn least<const R: usize>(candidates: &[Candidates; R]) -> f32 {
    candidates.iter().map(|each| each.limit).fold(f32::INFINITY, f32::min)
}

impl<const R: usize> Nearest<R> {
    /// Room for so many nearest rows of each kind.
    pub fn new(metric: Metric, queries: usize, k: [usize; R]) -> Self {
        let empty = k.map(|k| Best::new(k, f64::NEG_INFINITY));
        let room = blocks(queries, BLOCK).map(|queries| Mutex::new(vec![empty.clone(); queries.len()]));
        Nearest {
            metric,
            best: room.collect(),
        }
    }

    /// Compares rows with each other, each pair once. `kind` says of two rows, by their numbers, of what kind of neighbours they are, if of
    /// any; the same for both orders.
    pub fn meet_each_other(&self, rows: &Rows, kind: impl Fn(usize, usize) -> Option<usize> + Sync) -> Result<()> {
        let pass = Pass::for_queries(rows.len());
        let slack = self.metric.slack(pass, rows.width, rows.largest());
        let blocks = rows.blocks();
        let of_blocks: Vec<(usize, usize)> = (0..blocks.len()).flat_map(|b| (0..=b).map(move |a| (a, b))).collect();
        of_blocks
            .into_par_iter()
            .try_for_each_init(Memory::default, |memory, (a, b)| {
                interrupt::check(Step::Compare)?;
                let (of_a, of_b) = (&blocks[a], &blocks[b]);
                let mut first = self.begin(a, slack);
                // Of one block, all is met by its queries.
                let mut second = (a != b).then(|| self.begin(b, slack));
                pairs(pass, of_a, of_b, memory, |i, from, scores| {
                    let limit = first.limits[i];
                    let is_far = match &second {
                        Some(second) => all_below_each(scores, limit, &second.limits[from..]),
                        None => all_below(scores, limit),
                    };
                    if is_far {
                        return;
                    }
                    for (j, score) in (from..).zip(scores) {
                        if a == b && i == j {
                            continue;
                        }
                        let Some(kind) = kind(of_a.first + i, of_b.first + j) else {
                            continue;
                        };
                        let exact = || self.metric.score(of_a.exact(i), of_b.exact(j));
                        if first.may(i, kind, *score) {
                            first.take(i, kind, (j, *score), exact);
                        }
                        if let Some(second) = &mut second
                            && second.may(j, kind, *score)
                        {
                            second.take(j, kind, (i, *score), exact);
                        }
                    }
                });
                self.end(a, first.finish(of_a, of_b));
                if let Some(second) = second {
                    self.end(b, second.finish(of_b, of_a));
                }
                Ok(())
            })
    }

    /// Room for what the queries of a block are about to meet.
    fn begin(&self, block: usize, slack: f64) -> Meeting<R> {
        let all = self.best[block].lock().unwrap_or_else(PoisonError::into_inner);
        let candidates = |best: &[Best; R]| best.each_ref().map(|best| Candidates::new(best, slack));
        let of: Vec<[Candidates; R]> = all.iter().map(candidates).collect();
        let limits = of.iter().map(least).collect();
        Meeting {
            metric: self.metric,
            slack,
            of,
            limits,
        }
    }

    fn end(&self, block: usize, met: Vec<[Best; R]>) {
        let mut all = self.best[block].lock().unwrap_or_else(PoisonError::into_inner);
        for (all, met) in all.iter_mut().zip(met) {
            all.iter_mut().zip(met).for_each(|(all, met)| all.merge(met));
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
            .map(|best| best.map(|best| best.found.into_sorted_vec()))
            .collect()
    }
}

impl Nearest<1> {
    pub fn of_one_kind(self) -> Vec<Vec<Near>> {
        self.finish().into_iter().map(|[nearest]| nearest).collect()
    }

    /// Compares queries with rows that lie one behind the other, of which the first has this number. Rows are read once. One that is not finite
    /// is told by its number in the matrix.
    pub fn meet(&self, queries: &Rows, matrix: ArrayView2<f32>, first: usize) -> Result<(), Stop> {
        let of_queries = queries.blocks();
        let largest = queries.largest();
        let pass = Pass::for_queries(queries.len());
        let size = if pass.is_for_many() { BLOCK } else { SMALL_BLOCK };
        let of_rows: Vec<Range<usize>> = blocks(matrix.nrows(), size).collect();
        of_rows
            .into_par_iter()
            .try_for_each_init(Memory::default, |memory, rows| {
                let matrix = matrix.slice(s![rows.clone(), ..]);
                let terms = slice(matrix).chunks_exact(matrix.ncols()).zip(rows.start..);
                let terms: Vec<Term> = terms
                    .map(|(numbers, row)| self.metric.term(numbers).ok_or(row))
                    .collect::<Result<_, usize>>()?;
                let rows = Rows::new(matrix, first + rows.start, &terms);
                let slack = self.metric.slack(pass, rows.width, rows.largest().max(largest));
                for (block, queries) in of_queries.iter().enumerate() {
                    interrupt::check(Step::Compare)?;
                    let mut met = self.begin(block, slack);
                    pairs(pass, queries, &rows, memory, |query, from, scores| {
                        if all_below(scores, met.limits[query]) {
                            return;
                        }
                        for (row, score) in (from..).zip(scores) {
                            if met.may(query, 0, *score) {
                                let exact = || self.metric.score(queries.exact(query), rows.exact(row));
                                met.take(query, 0, (row, *score), exact);
                            }
                        }
                    });
                    self.end(block, met.finish(queries, &rows));
                }
                Ok(())
            })
    }
}

/// Calls `visit` with a query, a row, and the first pass' scores of the query with this row and some behind it, for all queries and rows.
#[inline(always)]
fn pairs(pass: Pass, queries: &Rows, rows: &Rows, memory: &mut Memory, mut visit: impl FnMut(usize, usize, &[f32])) {
    let mut scores = [0.0; product::WIDEST];
    pass.products(
        queries.numbers,
        rows.numbers,
        rows.width,
        memory,
        |query, first, products| {
            let a = queries.terms[query];
            let scores = &mut scores[..products.len()];
            for ((score, product), b) in scores.iter_mut().zip(products).zip(&rows.terms[first..]) {
                *score = product * a.factor * b.factor + (a.offset + b.offset);
            }
            visit(query, first, scores);
        },
    );
}

/// Rows so many at a time.
fn blocks(rows: usize, size: usize) -> impl Iterator<Item = Range<usize>> {
    (0..rows)
        .step_by(size)
        .map(move |first| first..(first + size).min(rows))
}

fn slice(matrix: ArrayView2<'_, f32>) -> &[f32] {
    matrix.to_slice().expect("rows lie one behind the other")
}

// Without a way out, these become a few instructions for vectors.
fn all_below(scores: &[f32], limit: f32) -> bool {
    scores.iter().fold(true, |all, score| all & is_below(*score, limit))
}

fn all_below_each(scores: &[f32], limit: f32, limits: &[f32]) -> bool {
    let both = scores.iter().zip(limits);
    both.fold(true, |all, (score, other)| {
        all & is_below(*score, limit) & is_below(*score, *other)
    })
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
