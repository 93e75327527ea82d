//! How far a map can be believed.

use ndarray::{ArrayView2, Axis, s};
use rayon::prelude::*;

use super::Point;
use crate::error::{Result, Step};
use crate::folder::spread;
use crate::interrupt;

/// Photos that are looked at.
const PHOTOS: usize = 300;
/// Photos whose similarities to all are there at once.
const AT_ONCE: usize = 10;

/// What [`trustworthiness`](super::Map::trustworthiness) and [`continuity`](super::Map::continuity) say.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Quality {
    pub trustworthiness: f64,
    pub continuity: f64,
}

impl Quality {
    /// Of a map of these rows, for so many neighbours: by how many ranks neighbours in the one are too far in the other.
    pub fn of(matrix: ArrayView2<f32>, points: &[Point], k: usize) -> Result<Self> {
        let n = matrix.nrows();
        let lengths = matrix.map_axis(Axis(1), |row| row.dot(&row).sqrt().max(f32::MIN_POSITIVE));
        let photos = spread(n, PHOTOS);
        let of_some = |photos: &[usize]| {
            interrupt::check(Step::Draw)?;
            let mut cosines = matrix.select(Axis(0), photos).dot(&matrix.t());
            cosines /= &lengths;
            let of_photo = |(at, photo): (usize, &usize)| {
                let own = points[*photo];
                let square = |point: &Point| (point[0] - own[0]).powi(2) + (point[1] - own[1]).powi(2);
                let mut far: Vec<f32> = cosines.slice(s![at, ..]).iter().map(|cosine| -cosine).collect();
                let mut far_on_map: Vec<f32> = points.iter().map(square).collect();
                (far[*photo], far_on_map[*photo]) = (f32::INFINITY, f32::INFINITY);
                [too_far(&far, &far_on_map, k), too_far(&far_on_map, &far, k)]
            };
            Ok(photos.iter().enumerate().map(of_photo).collect())
        };
        let sums: Vec<Vec<[usize; 2]>> = photos.par_chunks(AT_ONCE).map(of_some).collect::<Result<_>>()?;
        let most = (photos.len() * k * (2 * n - 3 * k - 1)) as f64 / 2.0;
        let [trustworthiness, continuity] =
            [0, 1].map(|which| 1.0 - sums.iter().flatten().map(|sums| sums[which]).sum::<usize>() as f64 / most);
        Ok(Quality {
            trustworthiness,
            continuity,
        })
    }
}

/// By how many ranks beyond `k` the `k` nearest by `near` are too far by `far`. A rank is one more than how many are nearer.
fn too_far(far: &[f32], near: &[f32], k: usize) -> usize {
    let mut order: Vec<usize> = (0..near.len()).collect();
    order.select_nth_unstable_by(k, |a, b| near[*a].total_cmp(&near[*b]).then(a.cmp(b)));
    let rank = |photo: &usize| 1 + far.iter().filter(|other| **other < far[*photo]).count();
    order[..k].iter().map(|photo| rank(photo).saturating_sub(k)).sum()
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;

    use super::*;

    #[test]
    fn the_same_neighbours_are_trustworthy_and_others_are_not() {
        // On an arc, so that the cosine orders photos as the map does.
        let angle = |row: usize| 0.01 * row as f32;
        let rows = Array2::from_shape_fn(
            (60, 2),
            |(row, axis)| if axis == 0 { angle(row).cos() } else { angle(row).sin() },
        );
        let points: Vec<Point> = (0..60).map(|row| [angle(row), 0.0]).collect();
        let same = Quality::of(rows.view(), &points, 5).unwrap();
        assert!(same.trustworthiness > 0.995 && same.continuity > 0.995, "{same:?}");
        let mut mixed = points;
        fastrand::Rng::with_seed(1).shuffle(&mut mixed);
        let mixed = Quality::of(rows.view(), &mixed, 5).unwrap();
        assert!(mixed.trustworthiness < 0.7 && mixed.continuity < 0.7, "{mixed:?}");
    }

    #[test]
    fn ranks_that_are_too_far_are_counted() {
        // The nearest two on the map are third and first: one rank too far.
        assert_eq!(
            too_far(&[1.0, 2.0, 3.0, f32::INFINITY], &[1.0, 9.0, 2.0, f32::INFINITY], 2),
            1
        );
    }
}
