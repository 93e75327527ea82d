//! What more photos, and more components, bring.

use std::collections::BTreeMap;

use ndarray::{Array2, s};
use polars::prelude::{Column, DataFrame};

use super::{Evaluation, Splits, WhitenedCosine};
use crate::alike::Groups;
use crate::error::Result;
use crate::features::Features;
use crate::folder::spread;
use crate::pca::Pca;

/// Photos of a group that are for training: from here, twice as many each time. One a label would say nothing of how they differ.
const FEWEST: usize = 2;
/// Components, likewise.
const FEWEST_COMPONENTS: usize = 8;
/// The share of the variance that is asked for by name.
const NEARLY_ALL: f64 = 0.9999;

impl Features {
    /// How often groups that were left out are recognised, in five folds by group: a row for so many photos of each group for training, and
    /// for so many components of a PCA of all photos instead of the features; of components, those for 99.99 % of the variance, too. Columns: `what` (`photos
    /// of a group` or `components`), `count`, `accuracy`, `low` and `high` (the interval of 95 %).
    ///
    /// ```no_run
    /// use fruits_core::{Features, Groups};
    ///
    /// # async fn example() -> fruits_core::Result<()> {
    /// let features = Features::read("features").await?;
    /// println!("{}", features.learning_curve(&Groups::series(&features))?);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`recognition`](Self::recognition), and [`Pca::fit`].
    pub fn learning_curve(&self, groups: &Groups) -> Result<DataFrame> {
        let (splits, params) = (Splits::by_group(self, groups, self.folds())?, WhitenedCosine::new());
        let mut points: Vec<(&str, usize, Evaluation)> = Vec::new();
        let largest = groups.rows().iter().map(Vec::len).max().unwrap_or(0);
        for count in doubled(FEWEST, largest) {
            let few = splits.with_train(|rows| thinned(rows, groups, count));
            points.push(("photos of a group", count, self.evaluate(&few, &params)?));
        }
        let pca = Pca::fit(self)?;
        let projected = pca.project_features(self)?.mapv(|number| number as f32);
        let all = projected.ncols();
        let mut counts = doubled(FEWEST_COMPONENTS.min(all), all);
        counts.push(pca.components_for(NEARLY_ALL));
        counts.sort_unstable();
        counts.dedup();
        for count in counts {
            let some: Array2<f32> = projected.slice(s![.., ..count]).to_owned();
            points.push((
                "components",
                count,
                self.with_matrix(&some)?.evaluate(&splits, &params)?,
            ));
        }
        let numbers = |of: &dyn Fn(&Evaluation) -> f64| points.iter().map(|(.., point)| of(point)).collect::<Vec<_>>();
        let columns = vec![
            Column::new("what".into(), points.iter().map(|(what, ..)| *what).collect::<Vec<_>>()),
            Column::new(
                "count".into(),
                points.iter().map(|(_, count, _)| *count as u32).collect::<Vec<_>>(),
            ),
            Column::new("accuracy".into(), numbers(&Evaluation::accuracy)),
            Column::new("low".into(), numbers(&|point| point.interval().0)),
            Column::new("high".into(), numbers(&|point| point.interval().1)),
        ];
        Ok(DataFrame::new(points.len(), columns).expect("five columns of one length"))
    }
}

/// From a number to another, each twice the one before.
fn doubled(from: usize, to: usize) -> Vec<usize> {
    let below = std::iter::successors(Some(from), |count| Some(count * 2)).take_while(|count| *count < to);
    below.chain([to]).collect()
}

/// So many rows of each group at most, evenly spread.
fn thinned(rows: &[usize], groups: &Groups, count: usize) -> Vec<usize> {
    let mut of_groups: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    rows.iter()
        .for_each(|row| of_groups.entry(groups.of(*row)).or_default().push(*row));
    let some = of_groups
        .into_values()
        .flat_map(|rows| spread(rows.len(), count).into_iter().map(move |at| rows[at]));
    some.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recognise::tests::videos;

    #[test]
    fn counts_are_doubled() {
        assert_eq!(doubled(1, 10), [1, 2, 4, 8, 10]);
        assert_eq!(doubled(8, 8), [8]);
    }

    #[test]
    fn the_last_points_are_all_photos_and_all_components() {
        let photos = videos();
        let groups = Groups::series(&photos);
        let curve = photos.learning_curve(&groups).unwrap();
        let what: Vec<&str> = curve.column("what").unwrap().str().unwrap().no_null_iter().collect();
        let accuracy: Vec<f64> = curve
            .column("accuracy")
            .unwrap()
            .f64()
            .unwrap()
            .no_null_iter()
            .collect();
        let of_all = photos.recognition(&groups).unwrap().by_group().accuracy();
        let last_of = |name: &str| what.iter().rposition(|what| *what == name).unwrap();
        assert_eq!(accuracy[last_of("photos of a group")], of_all);
        // The covariance is mixed with a sphere of its own dimension, and all components are all features here.
        assert!((accuracy[last_of("components")] - of_all).abs() < 0.02);
        let first = Splits::by_group(&photos, &groups, 5).unwrap();
        let few = first.with_train(|rows| thinned(rows, &groups, 3));
        assert!(
            few.splits()
                .iter()
                .all(|split| split.train.len() <= 36 && split.train.len() >= 18)
        );
    }
}
