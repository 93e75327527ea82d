//! The descent: photos are pulled to their neighbours, and push all others away.

use rayon::prelude::*;

use super::Point;
use super::tree::Tree;
use crate::error::{Result, Step};
use crate::interrupt;

/// Steps in which neighbours are pulled harder, so that they find each other, and steps after that. Half of scikit-learn's and openTSNE's: from a
/// PCA, the rest of theirs changed the trustworthiness of fruits91's map by 4e-5.
const STEPS: [usize; 2] = [100, 250];
/// How much harder (van der Maaten).
const EXAGGERATION: f32 = 12.0;
/// The share of the last step in the next one.
const MOMENTUM: f32 = 0.8;
/// Gains of each number, as in van der Maaten's program: larger while the direction stays.
const GAIN: [f32; 3] = [0.2, 0.8, 0.01];
/// Photos that a thread takes at once.
const AT_ONCE: usize = 256;
/// Neighbours whose pulls are added to sums of their own.
const SUMS: usize = 8;

/// Which photos pull each other, and how much: symmetric, rows one behind the other.
pub(super) struct Graph {
    first: Vec<usize>,
    to: Vec<u32>,
    weight: Vec<f32>,
}

impl Graph {
    /// Of the neighbours of each photo, as many of each: `(p(j|i) + p(i|j)) / 2n`, where a neighbour's p is one by their number.
    pub fn new(near: &[Vec<usize>]) -> Self {
        let n = near.len();
        let mut rows: Vec<Vec<u32>> = near
            .iter()
            .map(|near| near.iter().map(|row| *row as u32).collect())
            .collect();
        for (row, near) in near.iter().enumerate() {
            near.iter().for_each(|other| rows[*other].push(row as u32));
        }
        let mut graph = Graph {
            first: vec![0],
            to: Vec::new(),
            weight: Vec::new(),
        };
        for (row, mut others) in rows.into_iter().enumerate() {
            let one = 0.5 / (n * near[row].len()) as f32;
            others.sort_unstable();
            for other in others {
                // Who is named twice is a neighbour of both.
                if graph.to.len() > graph.first[row] && graph.to.last() == Some(&other) {
                    graph.weight.pop();
                    graph.weight.push(2.0 * one);
                } else {
                    graph.to.push(other);
                    graph.weight.push(one);
                }
            }
            graph.first.push(graph.to.len());
        }
        graph
    }

    /// The pull on a photo: the sum of `p q (y - y')`, where `q = 1 / (1 + |y - y'|^2)`.
    fn pull(&self, photo: usize, points: &[Point]) -> [f32; 2] {
        let own = points[photo];
        let row = self.first[photo]..self.first[photo + 1];
        let mut sums = [[0.0_f32; SUMS]; 2];
        for (others, weights) in self.to[row.clone()].chunks(SUMS).zip(self.weight[row].chunks(SUMS)) {
            for (lane, (other, weight)) in others.iter().zip(weights).enumerate() {
                let other = points[*other as usize];
                let [dx, dy] = [own[0] - other[0], own[1] - other[1]];
                let pull = weight / (1.0 + (dx * dx + dy * dy));
                sums[0][lane] += pull * dx;
                sums[1][lane] += pull * dy;
            }
        }
        sums.map(|lanes| lanes.into_iter().sum())
    }
}

/// Where the photos come to lie.
pub(super) fn descend(graph: &Graph, mut points: Vec<Point>) -> Result<Vec<Point>> {
    let n = points.len();
    let mut moving = vec![([0.0_f32; 2], [1.0_f32; 2]); n];
    let mut tree = Tree::default();
    for step in 0..STEPS.iter().sum() {
        interrupt::check(Step::Draw)?;
        let exaggeration = if step < STEPS[0] { EXAGGERATION } else { 1.0 };
        if step == STEPS[0] {
            moving.fill(([0.0; 2], [1.0; 2]));
        }
        // Belkina et al., 2019: as large as the map is wide when it is done.
        let rate = n as f32 / exaggeration;
        let pushes = tree.pushes(&points);
        let all = pushes.iter().map(|push| f64::from(push[2])).sum::<f64>();
        let share = (1.0 / all) as f32;
        let each = points
            .par_iter()
            .zip(&mut moving)
            .zip(&pushes)
            .enumerate()
            .with_min_len(AT_ONCE);
        let next = each.map(|(photo, ((point, (velocity, gains)), push))| {
            let pull = graph.pull(photo, &points);
            [0, 1].map(|axis| {
                let slope = exaggeration * pull[axis] - share * push[axis];
                let turns = (slope > 0.0) != (velocity[axis] > 0.0);
                let gain = if turns {
                    gains[axis] + GAIN[0]
                } else {
                    gains[axis] * GAIN[1]
                };
                gains[axis] = gain.max(GAIN[2]);
                velocity[axis] = MOMENTUM * velocity[axis] - rate * gains[axis] * slope;
                point[axis] + velocity[axis]
            })
        });
        points = next.collect();
        let middle =
            [0, 1].map(|axis| (points.iter().map(|point| f64::from(point[axis])).sum::<f64>() / n as f64) as f32);
        for point in &mut points {
            *point = [point[0] - middle[0], point[1] - middle[1]];
        }
    }
    Ok(points)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_graph_is_symmetric_and_sums_to_one() {
        let near = vec![vec![1, 2], vec![0, 2], vec![3, 1], vec![2, 0]];
        let graph = Graph::new(&near);
        let weight = |a: usize, b: u32| {
            let row = graph.first[a]..graph.first[a + 1];
            let at = graph.to[row.clone()].iter().position(|to| *to == b);
            at.map_or(0.0, |at| graph.weight[row][at])
        };
        for a in 0..4 {
            for b in 0..4 {
                assert_eq!(weight(a, b as u32), weight(b, a as u32));
            }
        }
        assert_eq!((weight(0, 1), weight(0, 2), weight(0, 3)), (0.125, 0.0625, 0.0625));
        assert_eq!(graph.weight.iter().sum::<f32>(), 1.0);
    }
}
