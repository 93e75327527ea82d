//! Labels from a table instead of from folders.

use std::collections::{BTreeMap, BTreeSet};

use polars::prelude::{Column, DataFrame, DataType};

use super::{ImageFolder, Photo, Survey};
use crate::error::{Error, ErrorKind, Result, Step, counted};

impl ImageFolder {
    /// The same photos, labelled by a table with the columns `path` and `label`, such as [`read_table`](crate::read_table) reads from a CSV file.
    /// A path is a photo's [key](Photo::key) or its [full path](Photo::path). Photos that are not in the table are left out; the
    /// [survey](Self::survey) says how many, and what the table names and is not here.
    ///
    /// ```
    /// # use fruits_core::ImageFolder;
    /// use fruits_core::polars::prelude::*;
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// let photos = ImageFolder::open("../data-sample").await?;
    /// let table = df!("path" => ["Kiwi/view-00.jpg", "Lemon/view-00.jpg"], "label" => ["green", "yellow"])?;
    /// assert_eq!(photos.with_labels_of(&table)?.counts()["green"], 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if the table has no such columns, gives one photo two labels, or names none of the photos.
    pub fn with_labels_of(&self, table: &DataFrame) -> Result<Self> {
        let (paths, labels) = (text(table, "path")?, text(table, "label")?);
        let (Ok(paths), Ok(labels)) = (paths.str(), labels.str()) else {
            return Err(invalid("the columns path and label are not text".to_owned()));
        };
        let mut by_path = BTreeMap::new();
        for (path, label) in paths.iter().zip(labels.iter()) {
            let (Some(path), Some(label)) = (path, label) else {
                continue;
            };
            if let Some(other) = by_path.insert(path, label).filter(|other| *other != label) {
                return Err(two_labels(path, other, label));
            }
        }
        let mut unknown: BTreeSet<&str> = by_path.keys().copied().collect();
        let mut photos = Vec::new();
        for photo in self.photos.iter() {
            let [by_key, by_whole_path] = [&photo.key, &photo.path].map(|path| {
                unknown.remove(path.as_str());
                by_path.get(path.as_str()).copied()
            });
            if let (Some(a), Some(b)) = (by_key, by_whole_path)
                && a != b
            {
                return Err(two_labels(&photo.key, a, b));
            }
            if let Some(label) = by_key.or(by_whole_path) {
                photos.push(Photo {
                    label: label.to_owned(),
                    ..photo.clone()
                });
            }
        }
        if let (true, Some(photo)) = (photos.is_empty(), self.photos.first()) {
            return Err(invalid(match unknown.first() {
                Some(named) => format!(
                    "the table names none of these photos: it has {named:?}, and they are like {:?}",
                    photo.key
                ),
                None => "the table has no row with a path and a label".to_owned(),
            }));
        }
        let left_out = self.photos.len() - photos.len();
        let missing = unknown.first().map(|first| {
            let rows = counted(unknown.len(), "path");
            format!("{rows} of the table of labels: no such photo ({first})")
        });
        let warnings =
            (left_out > 0).then(|| format!("{} not in the table of labels, left out", counted(left_out, "photo")));
        let survey = Survey {
            warnings: warnings.into_iter().chain(missing).collect(),
            ..(*self.survey).clone()
        };
        Ok(ImageFolder {
            photos: photos.into(),
            survey: survey.into(),
            ..self.clone()
        })
    }
}

/// A column as text; numbers may be labels, too.
fn text(table: &DataFrame, name: &str) -> Result<Column> {
    let column = table.column(name).and_then(|column| column.cast(&DataType::String));
    column.map_err(|error| {
        let names: Vec<&str> = table.columns().iter().map(|column| column.name().as_str()).collect();
        let names = names.join(", ");
        invalid(format!(
            "the table needs the columns path and label; it has {names}: {error}"
        ))
    })
}

fn two_labels(path: &str, a: &str, b: &str) -> Error {
    invalid(format!("{path:?} has two labels, {a:?} and {b:?}"))
}

fn invalid(message: String) -> Error {
    Error::new(ErrorKind::Invalid, Step::Input, "labels", message)
}

#[cfg(test)]
mod tests {
    use polars::prelude::df;

    use super::*;

    #[tokio::test]
    async fn a_table_says_which_photos_and_which_labels() {
        let photos = ImageFolder::open("../data-sample").await.unwrap();
        let whole = photos.photos()[0].path.as_str();
        let table = df!("path" => ["Kiwi/view-00.jpg", whole, "none.jpg"], "label" => [1, 2, 3]).unwrap();
        let labelled = photos.with_labels_of(&table).unwrap();
        assert_eq!(
            labelled.counts().into_iter().collect::<Vec<_>>(),
            [("1".to_owned(), 1), ("2".to_owned(), 1)]
        );
        let said = [
            "94 photos not in the table of labels, left out",
            "1 path of the table of labels: no such photo (none.jpg)",
        ];
        assert_eq!(labelled.survey().warnings, said);

        let key = photos.photos()[0].key.as_str();
        let refused = [
            (
                df!("path" => [key, key], "label" => ["a", "b"]),
                "has two labels, \"a\" and \"b\"",
            ),
            (
                df!("path" => [key, whole], "label" => ["a", "b"]),
                "has two labels, \"a\" and \"b\"",
            ),
            (
                df!("path" => ["no"], "label" => ["a"]),
                "it has \"no\", and they are like \"Apple Red/view-00.jpg\"",
            ),
            (
                df!("path" => [None::<&str>], "label" => ["a"]),
                "no row with a path and a label",
            ),
            (
                df!("path" => [key], "name" => ["a"]),
                "needs the columns path and label; it has path, name",
            ),
        ];
        for (table, said) in refused {
            let error = photos.with_labels_of(&table.unwrap()).unwrap_err();
            assert!(
                error.kind() == ErrorKind::Invalid && error.message().contains(said),
                "{error}"
            );
        }
    }
}
