//! How all photos push each other away: those that are far, some at once, by a tree (van der Maaten, 2014).

#![allow(unsafe_code)]

use rayon::prelude::*;

use super::Point;

/// Photos that go through the tree together: neighbours on the map. Each has a lane of its own in every vector, so that its sums have one order,
/// whatever vectors there are.
const LANES: usize = 16;
/// Photos of a leaf at most.
const LEAF: usize = 8;
/// How large a square may be, by its distance, to push as one point.
const THETA: f32 = 0.8;
/// Bits of a place on each axis.
const BITS: u32 = 16;
/// Groups that a thread takes at once.
const AT_ONCE: usize = 8;

type Lanes = [f32; LANES];

/// A square of the map, with what is in it. Those within it lie behind it.
#[derive(Clone, Copy, Default)]
struct Node {
    /// The middle of its photos.
    middle: Point,
    photos: f32,
    /// The square of its side.
    square: f32,
    /// The first node that lies not within it.
    beyond: usize,
    /// The photos of a leaf; none otherwise.
    first: usize,
    last: usize,
}

/// The photos in the order of a curve on which those are near that are near on the map, and the squares above them.
#[derive(Default)]
pub(super) struct Tree {
    /// The place on the curve, and the photo.
    keys: Vec<(u32, u32)>,
    /// Their places, filled up to whole groups.
    places: [Vec<f32>; 2],
    nodes: Vec<Node>,
}

impl Tree {
    /// What pushes each photo: the sum of `q^2 (y - y')`, and that of `q`, over all others, where `q = 1 / (1 + |y - y'|^2)`.
    pub fn pushes(&mut self, points: &[Point]) -> Vec<[f32; 3]> {
        self.build(points);
        let mut groups = vec![[[0.0; LANES]; 3]; self.places[0].len() / LANES];
        groups
            .par_iter_mut()
            .enumerate()
            .with_min_len(AT_ONCE)
            .for_each_init(Vec::new, |far, (group, sums)| {
                let own = [0, 1].map(|axis| lanes(&self.places[axis][group * LANES..]));
                self.seen_from(&own, far);
                *sums = sum(&own, far);
            });
        let mut pushes = vec![[0.0; 3]; points.len()];
        for (at, (_, photo)) in self.keys.iter().enumerate() {
            let [x, y, all] = groups[at / LANES].map(|lanes| lanes[at % LANES]);
            // It does not push itself.
            pushes[*photo as usize] = [x, y, all - 1.0];
        }
        pushes
    }

    /// As [`pushes`](Self::pushes) says of a photo, of a point that is not among those of the last time. `seen` is memory to work with.
    pub fn push(&self, at: Point, seen: &mut Vec<[f32; 3]>) -> [f32; 2] {
        self.seen_from(&at.map(|place| [place; LANES]), seen);
        let mut push = [0.0; 2];
        for [x, y, photos] in seen {
            let [dx, dy] = [at[0] - *x, at[1] - *y];
            let q = 1.0 / (1.0 + (dx * dx + dy * dy));
            let pushed = *photos * q * q;
            push = [push[0] + pushed * dx, push[1] + pushed * dy];
        }
        push
    }

    fn build(&mut self, points: &[Point]) {
        let low = [0, 1].map(|axis| points.iter().map(|point| point[axis]).fold(f32::MAX, f32::min));
        let high = [0, 1].map(|axis| points.iter().map(|point| point[axis]).fold(f32::MIN, f32::max));
        let side = (high[0] - low[0]).max(high[1] - low[1]).max(f32::MIN_POSITIVE * 1e6);
        let scale = ((1 << BITS) - 1) as f32 / side;
        let key = |(photo, point): (usize, &Point)| {
            let [x, y] = [0, 1].map(|axis| spread(((point[axis] - low[axis]) * scale) as u32));
            (x | y << 1, photo as u32)
        };
        self.keys.clear();
        self.keys.extend(points.iter().enumerate().map(key));
        self.keys.par_sort_unstable();
        for (axis, places) in self.places.iter_mut().enumerate() {
            places.clear();
            places.extend(self.keys.iter().map(|(_, photo)| points[*photo as usize][axis]));
            let last = places.last().copied().unwrap_or_default();
            places.resize(points.len().next_multiple_of(LANES), last);
        }
        self.nodes.clear();
        self.node(0, points.len(), 2 * BITS, side);
    }

    /// The square of these photos, whose keys are the same from `bit` up.
    fn node(&mut self, first: usize, last: usize, bit: u32, side: f32) -> Node {
        let at = self.nodes.len();
        self.nodes.push(Node::default());
        let mut node = Node {
            photos: (last - first) as f32,
            square: side * side,
            ..Node::default()
        };
        if last - first <= LEAF || bit == 0 {
            (node.first, node.last) = (first, last);
            node.middle = [0, 1].map(|axis| self.places[axis][first..last].iter().sum());
        } else {
            let mut from = first;
            for quarter in 0..4 {
                let is_before = |key: &(u32, u32)| key.0 >> (bit - 2) & 3 <= quarter;
                let to = from + self.keys[from..last].partition_point(is_before);
                if to > from {
                    let part = self.node(from, to, bit - 2, side / 2.0);
                    node.middle = [0, 1].map(|axis| node.middle[axis] + part.middle[axis] * part.photos);
                }
                from = to;
            }
        }
        node.middle = node.middle.map(|sum| sum / node.photos);
        node.beyond = self.nodes.len();
        self.nodes[at] = node;
        node
    }

    /// What a group of photos sees: squares that are far, and photos that are near, each with how many photos it is.
    fn seen_from(&self, own: &[Lanes; 2], seen: &mut Vec<[f32; 3]>) {
        let low = own.map(|lanes| lanes.into_iter().fold(f32::MAX, f32::min));
        let high = own.map(|lanes| lanes.into_iter().fold(f32::MIN, f32::max));
        seen.clear();
        let mut at = 0;
        while let Some(node) = self.nodes.get(at) {
            let [x, y] = [0, 1].map(|axis| {
                (low[axis] - node.middle[axis])
                    .max(node.middle[axis] - high[axis])
                    .max(0.0)
            });
            if node.square < THETA * THETA * (x * x + y * y) {
                seen.push([node.middle[0], node.middle[1], node.photos]);
                at = node.beyond;
            } else {
                let photos = node.first..node.last;
                seen.extend(photos.map(|photo| [self.places[0][photo], self.places[1][photo], 1.0]));
                at += 1;
            }
        }
    }
}

/// The bits with a zero before each.
fn spread(number: u32) -> u32 {
    let mut bits = number & 0xffff;
    for (shift, mask) in [(8, 0x00ff_00ff), (4, 0x0f0f_0f0f), (2, 0x3333_3333), (1, 0x5555_5555)] {
        bits = (bits | bits << shift) & mask;
    }
    bits
}

fn lanes(numbers: &[f32]) -> Lanes {
    let mut lanes = [0.0; LANES];
    lanes.copy_from_slice(&numbers[..LANES]);
    lanes
}

/// The sums of [`Tree::pushes`] of a group, with itself.
fn sum(own: &[Lanes; 2], seen: &[[f32; 3]]) -> [Lanes; 3] {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has it.
        return unsafe { sum_avx2(own, seen) };
    }
    sum_plain(own, seen)
}

/// The same sums: without fused multiply-adds, vectors change no bit.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn sum_avx2(own: &[Lanes; 2], seen: &[[f32; 3]]) -> [Lanes; 3] {
    sum_plain(own, seen)
}

#[inline(always)]
fn sum_plain([xs, ys]: &[Lanes; 2], seen: &[[f32; 3]]) -> [Lanes; 3] {
    let [mut to_x, mut to_y, mut all] = [[0.0; LANES]; 3];
    for [x, y, photos] in seen {
        for lane in 0..LANES {
            let (dx, dy) = (xs[lane] - x, ys[lane] - y);
            let q = 1.0 / (1.0 + (dx * dx + dy * dy));
            let of_all = photos * q;
            let push = of_all * q;
            all[lane] += of_all;
            to_x[lane] += push * dx;
            to_y[lane] += push * dy;
        }
    }
    [to_x, to_y, all]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(count: usize) -> Vec<Point> {
        let mut random = fastrand::Rng::with_seed(4);
        let mut points: Vec<Point> = (0..count).map(|_| [30.0 * random.f32(), 20.0 * random.f32()]).collect();
        points[count - 1] = points[0];
        points
    }

    #[test]
    fn pushes_are_nearly_the_plain_sums() {
        let points = points(500);
        let found = Tree::default().pushes(&points);
        let mut plain = vec![[0.0_f64; 3]; points.len()];
        for (at, own) in points.iter().enumerate() {
            for (_, other) in points.iter().enumerate().filter(|(other, _)| *other != at) {
                let [dx, dy] = [0, 1].map(|axis| f64::from(own[axis] - other[axis]));
                let q = 1.0 / (1.0 + dx * dx + dy * dy);
                plain[at] = [plain[at][0] + q * q * dx, plain[at][1] + q * q * dy, plain[at][2] + q];
            }
        }
        let of_both = found.iter().flatten().zip(plain.iter().flatten());
        let (errors, squares) = of_both.fold((0.0, 0.0), |(errors, squares), (found, plain)| {
            (errors + (f64::from(*found) - plain).powi(2), squares + plain * plain)
        });
        let error = (errors / squares).sqrt();
        assert!(error < 0.01, "{error}");
        let largest = found
            .iter()
            .zip(&plain)
            .flat_map(|(found, plain)| [0, 1].map(|axis| f64::from(found[axis]) - plain[axis]));
        let largest = largest.fold(0.0_f64, |largest, error| largest.max(error.abs()));
        let most = plain
            .iter()
            .flat_map(|push| [push[0].abs(), push[1].abs()])
            .fold(0.0, f64::max);
        assert!(largest < 0.05 * most, "{largest} of {most}");
    }

    #[test]
    fn vectors_change_no_bit() {
        let points = points(64);
        let own = [0, 1].map(|axis| lanes(&points[..LANES].iter().map(|point| point[axis]).collect::<Vec<_>>()));
        let seen: Vec<[f32; 3]> = points.iter().map(|[x, y]| [*x, *y, 3.0]).collect();
        assert_eq!(sum(&own, &seen), sum_plain(&own, &seen));
    }
}
