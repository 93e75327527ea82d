//! Photos that are there more than once: with the same features, or as pictures that are nearly the same.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hasher};

use futures::stream::{self, StreamExt};
use image::RgbImage;
use image::imageops::flip_horizontal;
use rayon::prelude::*;

use crate::error::{Result, Step};
use crate::features::Features;
use crate::interrupt;
use crate::thumbnail::{photos_of, small};

/// Side of the pictures that are compared, in pixels.
const SIDE: u32 = 48;
/// How far one picture may be shifted against the other, in these pixels: 4 % of the side.
const SHIFT: i64 = 2;
/// Photos that are read at the same time.
const READ_AHEAD: usize = 32;

/// Rows with the same features, bit for bit: the network has seen the same pixels. In the order of their first rows.
pub(super) fn same(features: &Features) -> Vec<Vec<usize>> {
    let matrix = features.matrix();
    let bits = |row: usize| matrix.row(row).into_iter().map(|x| x.to_bits());
    let mut groups: HashMap<u64, Vec<Vec<usize>>> = HashMap::new();
    for row in 0..matrix.nrows() {
        let mut hasher = DefaultHasher::new();
        bits(row).for_each(|number| hasher.write_u32(number));
        let of_hash = groups.entry(hasher.finish()).or_default();
        match of_hash.iter_mut().find(|rows| bits(rows[0]).eq(bits(row))) {
            Some(rows) => rows.push(row),
            None => of_hash.push(vec![row]),
        }
    }
    let mut groups: Vec<Vec<usize>> = groups.into_values().flatten().filter(|rows| rows.len() > 1).collect();
    groups.sort();
    groups
}

/// Groups of rows whose pictures are nearly the same, each with each, and the largest difference in each group.
///
/// Of `pairs`, pictures of 48 pixels are compared: the root of the mean squared difference of their levels (0 to 255), mirrored or not, shifted by up
/// to two of these pixels against each other, whatever is least. Photos that cannot be read are in no group.
pub(super) async fn near(features: &Features, pairs: &[(usize, usize)], levels: f64) -> Result<Vec<(Vec<usize>, f64)>> {
    let pictures = pictures(features, pairs.iter().flat_map(|(a, b)| [*a, *b]).collect()).await?;
    let difference = |pair: &(usize, usize)| at_most(levels, &pictures, pair);
    let mut alike: Vec<(f64, (usize, usize))> = compared(pairs, |pair| Some((difference(pair)?, *pair)))?;
    alike.sort_by(|(x, a), (y, b)| x.total_cmp(y).then(a.cmp(b)));
    // The most alike first; two groups become one only if all of them are alike.
    let mut groups: Vec<(Vec<usize>, f64)> = Vec::new();
    let mut of: HashMap<usize, usize> = HashMap::new();
    for (_, (a, b)) in alike {
        interrupt::check(Step::Compare)?;
        let [a, b] = [a, b].map(|row| {
            *of.entry(row).or_insert_with(|| {
                groups.push((vec![row], 0.0));
                groups.len() - 1
            })
        });
        if a == b {
            continue;
        }
        let across = groups[a]
            .0
            .iter()
            .flat_map(|x| groups[b].0.iter().map(move |y| (*x.min(y), *x.max(y))));
        let across: Option<Vec<f64>> = across.map(|pair| difference(&pair)).collect();
        if let Some(across) = across {
            let (rows, largest) = std::mem::take(&mut groups[b]);
            rows.iter().for_each(|row| _ = of.insert(*row, a));
            groups[a].0.extend(rows);
            groups[a].1 = across.into_iter().fold(groups[a].1.max(largest), f64::max);
        }
    }
    groups.retain(|(rows, _)| rows.len() > 1);
    groups.iter_mut().for_each(|(rows, _)| rows.sort_unstable());
    groups.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(groups)
}

/// Of pairs of rows, those whose pictures are nearly the same, as [`near`] compares them, or whose features are the same.
pub(super) async fn alike(features: &Features, pairs: &[(usize, usize)], levels: f64) -> Result<Vec<(usize, usize)>> {
    let pictures = pictures(features, pairs.iter().flat_map(|(a, b)| [*a, *b]).collect()).await?;
    let matrix = features.matrix();
    let is_alike =
        |pair: &(usize, usize)| matrix.row(pair.0) == matrix.row(pair.1) || at_most(levels, &pictures, pair).is_some();
    compared(pairs, |pair| is_alike(pair).then_some(*pair))
}

/// What there is to say of pairs, in their order.
fn compared<T: Send>(
    pairs: &[(usize, usize)],
    compare: impl Fn(&(usize, usize)) -> Option<T> + Sync,
) -> Result<Vec<T>> {
    let each = pairs.par_iter().map(|pair| {
        interrupt::check(Step::Compare)?;
        Ok(compare(pair))
    });
    each.filter_map(Result::transpose).collect()
}

/// By how much two rows' pictures differ, if both could be read and it is not too much.
fn at_most(levels: f64, pictures: &HashMap<usize, RgbImage>, (a, b): &(usize, usize)) -> Option<f64> {
    difference(pictures.get(a)?, pictures.get(b)?, levels)
}

/// Of pairs of rows of two tables, those whose pictures are nearly the same, as [`near`] compares them, and by how many levels they differ; 0 if
/// their features are the same.
pub(super) async fn between(
    features: &Features,
    others: &Features,
    pairs: &[(usize, usize)],
    levels: f64,
) -> Result<Vec<(usize, usize, f64)>> {
    let (a, b) = (features.matrix(), others.matrix());
    let (same, pairs): (Vec<_>, Vec<_>) = pairs.iter().partition(|(x, y)| a.row(*x) == b.row(*y));
    let a = pictures(features, pairs.iter().map(|(x, _)| *x).collect()).await?;
    let b = pictures(others, pairs.iter().map(|(_, y)| *y).collect()).await?;
    let compare = |(x, y): &(usize, usize)| Some((*x, *y, difference(a.get(x)?, b.get(y)?, levels)?));
    let same = same.into_iter().map(|(x, y)| (x, y, 0.0));
    let mut found: Vec<(usize, usize, f64)> = same.chain(compared(&pairs, compare)?).collect();
    found.sort_by(|(x, _, a), (y, _, b)| x.cmp(y).then(a.total_cmp(b)));
    Ok(found)
}

/// The pictures of some rows, but for photos that cannot be read.
async fn pictures(features: &Features, mut rows: Vec<usize>) -> Result<HashMap<usize, RgbImage>> {
    rows.sort_unstable();
    rows.dedup();
    let read = async {
        let Some(store) = photos_of(&features.manifest().source).await else {
            return HashMap::new();
        };
        let paths = features.path_column();
        let read = stream::iter(rows).map(async |row| Some((row, small(&*store, paths[row], SIDE).await.ok()?)));
        read.buffer_unordered(READ_AHEAD)
            .filter_map(std::future::ready)
            .collect()
            .await
    };
    interrupt::race(Step::Read, read).await
}

/// The least difference of two pictures, mirrored or not, over all shifts: the root mean square of levels. Nothing if it is more than `most`, or
/// their sizes differ.
fn difference(a: &RgbImage, b: &RgbImage, most: f64) -> Option<f64> {
    if a.dimensions() != b.dimensions() {
        return None;
    }
    let mut least = None;
    for b in [b, &flip_horizontal(b)] {
        for down in -SHIFT..=SHIFT {
            for right in -SHIFT..=SHIFT {
                least = shifted(a, b, (down, right), least.unwrap_or(most)).or(least);
            }
        }
    }
    least
}

/// The difference of two pictures, one of them shifted; nothing if it is more than `most`, which is seen before the end.
fn shifted(a: &RgbImage, b: &RgbImage, (down, right): (i64, i64), most: f64) -> Option<f64> {
    let (width, height) = (i64::from(a.width()), i64::from(a.height()));
    let (columns, rows) = (width - right.abs(), height - down.abs());
    if columns < 1 || rows < 1 {
        return None;
    }
    let line = |picture: &'_ RgbImage, y: i64, x: i64| -> std::ops::Range<usize> {
        let first = 3 * (y * i64::from(picture.width()) + x) as usize;
        first..first + 3 * columns as usize
    };
    let count = (3 * columns * rows) as f64;
    let mut sum = 0_u64;
    for y in 0..rows {
        let of_a = &a.as_raw()[line(a, y + down.max(0), right.max(0))];
        let of_b = &b.as_raw()[line(b, y - down.min(0), -right.min(0))];
        sum += of_a
            .iter()
            .zip(of_b)
            .map(|(x, y)| u64::from(x.abs_diff(*y)).pow(2))
            .sum::<u64>();
        if sum as f64 > most * most * count {
            return None;
        }
    }
    Some((sum as f64 / count).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_is_like_itself_shifted_and_mirrored() {
        let picture = RgbImage::from_fn(40, 48, |x, y| image::Rgb([(x * 5) as u8, (y * 5) as u8, (x * y) as u8]));
        let moved = RgbImage::from_fn(40, 48, |x, y| {
            *picture.get_pixel(x.saturating_sub(2), y.saturating_sub(1))
        });
        assert_eq!(difference(&picture, &picture, 3.0), Some(0.0));
        assert_eq!(difference(&picture, &moved, 3.0), Some(0.0));
        assert_eq!(difference(&picture, &flip_horizontal(&moved), 3.0), Some(0.0));
        let brighter = RgbImage::from_fn(40, 48, |x, y| {
            image::Rgb(picture.get_pixel(x, y).0.map(|level| level.saturating_add(4)))
        });
        let found = difference(&picture, &brighter, f64::INFINITY).unwrap();
        assert!((3.0..=4.0).contains(&found));
        assert_eq!(difference(&picture, &brighter, found + 1e-9), Some(found));
        assert_eq!(difference(&picture, &brighter, found - 1e-9), None);
        assert_eq!(difference(&picture, &RgbImage::new(48, 40), f64::INFINITY), None);
    }
}
