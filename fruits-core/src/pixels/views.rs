//! Views of a photo: the same fruit, lying otherwise.

use std::fmt;

use image::{RgbImage, imageops};
use serde::{Deserialize, Serialize};

/// As what a network sees a photo. The features of several views are averaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Views {
    /// As it is.
    #[default]
    One,
    /// Four: as it is, and turned by each quarter of a circle. A fruit has no side that is up, and features of all of them know more of it: they cost
    /// four times as much. (Mirrors of all four bring nothing more.)
    Turned,
}

impl Views {
    /// How many there are.
    pub fn count(self) -> usize {
        match self {
            Views::One => 1,
            Views::Turned => 4,
        }
    }

    /// The views of the pixels that a network takes, the photo as it is first.
    ///
    /// ```
    /// use fruits_core::pixels::{RgbImage, Views};
    ///
    /// let photo = RgbImage::new(224, 224);
    /// assert_eq!(Views::Turned.of(&photo).len(), 4);
    /// ```
    pub fn of(self, photo: &RgbImage) -> Vec<RgbImage> {
        match self {
            Views::One => vec![photo.clone()],
            Views::Turned => vec![
                photo.clone(),
                imageops::rotate90(photo),
                imageops::rotate180(photo),
                imageops::rotate270(photo),
            ],
        }
    }
}

impl fmt::Display for Views {
    /// For people, as what a photo was seen.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Views::One => "in one view",
            Views::Turned => "in four views",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turned_all_are_different() {
        let photo = RgbImage::from_fn(3, 3, |x, y| image::Rgb([(3 * y + x) as u8, 0, 0]));
        let views = Views::Turned.of(&photo);
        assert_eq!(views[0], photo);
        assert_eq!(views[1].get_pixel(2, 0), photo.get_pixel(0, 0), "a quarter, clockwise");
        assert_eq!(
            views[3].get_pixel(0, 2),
            photo.get_pixel(0, 0),
            "a quarter, the other way round"
        );
        for (at, view) in views.iter().enumerate() {
            assert!(views[..at].iter().all(|other| other != view), "{at}");
        }
        assert_eq!(views.len(), Views::Turned.count());
        assert_eq!(Views::One.of(&photo), [photo]);
    }
}
