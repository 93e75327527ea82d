//! Photos that come later: they are put on a map that stays as it is.

use rayon::prelude::*;

use super::Point;
use super::tree::Tree;

/// Steps of a photo, their length by the slope, and the share of the last one in the next.
const STEPS: usize = 100;
const RATE: f32 = 0.1;
const MOMENTUM: f32 = 0.8;

/// Where photos come to lie that have these neighbours on the map: each goes down the slope that it would have if it were the only one that is not yet
/// there. It begins at the neighbour that has most of the others around it, since those of one photo can lie on several islands.
pub(super) fn place(points: &[Point], near: &[Vec<usize>]) -> Vec<Point> {
    let mut tree = Tree::default();
    let all: f64 = tree.pushes(points).iter().map(|push| f64::from(push[2])).sum();
    let share = (points.len() as f64 / all) as f32;
    let place = |seen: &mut Vec<[f32; 3]>, near: &Vec<usize>| {
        let near: Vec<Point> = near.iter().map(|row| points[*row]).collect();
        let mut at = amid(&near);
        let mut velocity = [0.0; 2];
        for _ in 0..STEPS {
            let push = tree.push(at, seen);
            for axis in [0, 1] {
                let pulls = near
                    .iter()
                    .map(|other| closeness(at, *other) * (at[axis] - other[axis]));
                let pull = pulls.sum::<f32>() / near.len() as f32;
                velocity[axis] = MOMENTUM * velocity[axis] - RATE * (pull - share * push[axis]);
            }
            at = [0, 1].map(|axis| at[axis] + velocity[axis]);
        }
        at
    };
    near.par_iter().map_init(Vec::new, place).collect()
}

/// The point to which the others are nearest, most of them.
fn amid(points: &[Point]) -> Point {
    let around = |point: &Point| points.iter().map(|other| closeness(*point, *other)).sum::<f32>();
    let most = points.iter().max_by(|a, b| around(a).total_cmp(&around(b)));
    most.copied().unwrap_or_default()
}

/// `1 / (1 + |y - y'|^2)`.
fn closeness(one: Point, other: Point) -> f32 {
    let [dx, dy] = [one[0] - other[0], one[1] - other[1]];
    1.0 / (1.0 + (dx * dx + dy * dy))
}
