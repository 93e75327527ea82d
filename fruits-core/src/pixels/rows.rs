//! Photos that come row by row, so that none has to be in memory as a whole.

use super::RgbImage;
use super::limits::invalid;
use crate::error::Result;

/// Levels of a pixel: red, green, blue.
pub(super) const CHANNELS: usize = 3;

/// Takes a photo row by row, from top to bottom.
pub(super) trait Rows {
    /// Its size comes first.
    fn begin(&mut self, width: u32, height: u32);

    /// The next `3 * width` levels: red, green, blue.
    fn row(&mut self, levels: &[u8]);
}

/// All rows as an image.
#[derive(Default)]
pub(super) struct Whole {
    size: (u32, u32),
    levels: Vec<u8>,
}

impl Whole {
    /// The image.
    ///
    /// # Errors
    /// If rows are missing.
    pub fn image(self) -> Result<RgbImage> {
        let (width, height) = self.size;
        RgbImage::from_raw(width, height, self.levels).ok_or_else(|| invalid("fewer pixels than the header says"))
    }
}

impl Rows for Whole {
    fn begin(&mut self, width: u32, height: u32) {
        self.size = (width, height);
        self.levels.clear();
        self.levels.reserve_exact(width as usize * height as usize * 3);
    }

    fn row(&mut self, levels: &[u8]) {
        self.levels.extend_from_slice(levels);
    }
}

/// Gives an image that is there.
pub(super) fn give(image: &RgbImage, rows: &mut impl Rows) {
    rows.begin(image.width(), image.height());
    for row in image.as_raw().chunks_exact(image.width() as usize * 3) {
        rows.row(row);
    }
}
