//! The map, to look around in.

use ndarray::Axis;

use super::explorer::Explorer;
use crate::error::Result;
use crate::folder::spread;
use crate::map::Map;

impl Map {
    /// The photos on the map, to look around in, with thumbnails. Of more than 20,000 photos so many are shown, evenly spread.
    ///
    /// # Errors
    /// As [`Pca::explore`](crate::Pca::explore).
    pub async fn explore(&self) -> Result<Explorer> {
        let shown = spread(self.features().len(), super::explorer::MAX_PHOTOS);
        let points = self.points().select(Axis(0), &shown);
        let axes = vec!["map, across".to_owned(), "map, up".to_owned()];
        Explorer::new(self.features(), &shown, &points, axes).await
    }
}
