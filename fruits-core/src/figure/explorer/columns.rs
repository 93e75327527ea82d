//! What photos can be coloured by: their label, and columns of tables.

use std::collections::{BTreeMap, HashMap};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use polars::prelude::{AnyValue, Column, DataFrame, DataType};
use serde_json::{Value, json};

use crate::error::{Error, ErrorKind, Result, Step};

/// Whole numbers of which there are no more than so many different ones, such as those of clusters, are names; more are amounts.
const MAX_NAMED_NUMBERS: usize = 50;
/// Different texts of a column that photos can be coloured by.
const MAX_NAMES: usize = 1_000;
/// What photos are called that are not in the table.
const NONE: &str = "none";

/// A value for each photo that is shown.
#[derive(Debug, Clone)]
pub(super) struct Colouring {
    pub(super) name: String,
    values: Values,
}

#[derive(Debug, Clone)]
enum Values {
    Names { names: Vec<String>, codes: Vec<u32> },
    Numbers(Vec<f32>),
}

impl Colouring {
    /// The values are names, which come in the order of the alphabet.
    pub(super) fn of_names(name: &str, values: &[&str]) -> Self {
        let mut codes: BTreeMap<&str, u32> = values.iter().map(|value| (*value, 0)).collect();
        codes.values_mut().zip(0..).for_each(|(code, index)| *code = index);
        Colouring {
            name: name.to_owned(),
            values: Values::Names {
                codes: values.iter().map(|value| codes[value]).collect(),
                names: codes.into_keys().map(str::to_owned).collect(),
            },
        }
    }

    /// The columns of a table with `path` that say something of each photo: names and numbers, not lists.
    pub(super) fn of_table(table: &DataFrame, paths: &[&str]) -> Result<Vec<Self>> {
        let lacks = |message: String| Error::new(ErrorKind::Invalid, Step::Draw, "explorer", message);
        let of_table = table.column("path").and_then(|column| column.str());
        let of_table = of_table.map_err(|error| lacks(format!("the table has no column `path` of texts: {error}")))?;
        let mut rows: HashMap<&str, usize> = HashMap::new();
        for (row, path) in of_table.iter().enumerate() {
            rows.entry(path.unwrap_or_default()).or_insert(row);
        }
        let rows: Vec<Option<usize>> = paths.iter().map(|path| rows.get(path).copied()).collect();
        let others = table.columns().iter().filter(|column| column.name() != "path");
        Ok(others.filter_map(|column| Self::of_column(column, &rows)).collect())
    }

    fn of_column(column: &Column, rows: &[Option<usize>]) -> Option<Self> {
        let dtype = column.dtype();
        let value = |row: &Option<usize>| row.map_or(AnyValue::Null, |row| column.get(row).unwrap_or(AnyValue::Null));
        let numbers = || {
            let number = |row: &Option<usize>| value(row).extract::<f32>().unwrap_or(f32::NAN);
            Some(Colouring {
                name: column.name().to_string(),
                values: Values::Numbers(rows.iter().map(number).collect()),
            })
        };
        if dtype.is_float() {
            return numbers();
        }
        if !(dtype.is_integer() || matches!(dtype, DataType::String | DataType::Boolean)) {
            return None;
        }
        let texts: Vec<String> = rows
            .iter()
            .map(|row| match value(row) {
                AnyValue::Null => NONE.to_owned(),
                value => value.str_value().into_owned(),
            })
            .collect();
        let named = Self::of_names(column.name(), &texts.iter().map(String::as_str).collect::<Vec<_>>());
        let different = match &named.values {
            Values::Names { names, .. } => names.len(),
            Values::Numbers(_) => 0,
        };
        match dtype.is_integer() {
            true if different > MAX_NAMED_NUMBERS => numbers(),
            true => Some(named.by_size()),
            false => (different <= MAX_NAMES).then_some(named),
        }
    }

    /// Names that are numbers, from the smallest to the largest.
    fn by_size(mut self) -> Self {
        if let Values::Names { names, codes } = &mut self.values {
            let mut order: Vec<usize> = (0..names.len()).collect();
            order.sort_by_key(|&index| names[index].parse::<i128>().unwrap_or(i128::MAX));
            let mut place = vec![0; names.len()];
            order.iter().zip(0..).for_each(|(&index, at)| place[index] = at);
            codes.iter_mut().for_each(|code| *code = place[*code as usize]);
            *names = order
                .into_iter()
                .map(|index| std::mem::take(&mut names[index]))
                .collect();
        }
        self
    }

    /// How many names there are.
    pub(super) fn len(&self) -> usize {
        match &self.values {
            Values::Names { names, .. } => names.len(),
            Values::Numbers(_) => 0,
        }
    }

    /// As the page takes it.
    pub(super) fn json(&self) -> Value {
        match &self.values {
            Values::Names { names, codes } => {
                let codes: Vec<u8> = codes.iter().copied().flat_map(u32::to_le_bytes).collect();
                json!({ "name": self.name, "names": names, "codes": BASE64_STANDARD.encode(codes) })
            }
            Values::Numbers(values) => {
                let values: Vec<u8> = values.iter().copied().flat_map(f32::to_le_bytes).collect();
                json!({ "name": self.name, "values": BASE64_STANDARD.encode(values) })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use polars::df;

    use super::*;

    #[test]
    fn a_folder_a_photo_is_a_label_a_photo() {
        let labels: Vec<String> = (0..70_000).map(|label| format!("{label:05}")).collect();
        let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
        let codes = Colouring::of_names("label", &labels).json()["codes"].clone();
        let codes = BASE64_STANDARD.decode(codes.as_str().unwrap()).unwrap();
        assert_eq!(codes[4 * 69_999..], 69_999_u32.to_le_bytes());
    }

    #[test]
    fn columns_of_a_table_by_their_kind() {
        let table = df!(
            "path" => ["b", "a", "b"],
            "cluster" => [10_u32, 9, 3],
            "distance" => [0.5, 1.5, 9.0],
            "kind" => [Some("odd"), None, None],
            "list" => [[1].iter().collect::<polars::prelude::Series>(), [2].iter().collect(), [3].iter().collect()],
        )
        .unwrap();
        let found = Colouring::of_table(&table, &["a", "b", "c"]).unwrap();
        let names: Vec<&str> = found.iter().map(|column| column.name.as_str()).collect();
        assert_eq!(names, ["cluster", "distance", "kind"], "not the list");
        let Values::Names { names, codes } = &found[0].values else {
            panic!("names")
        };
        assert_eq!(
            (names.join(" "), codes.as_slice()),
            ("9 10 none".to_owned(), [0, 1, 2].as_slice())
        );
        let Values::Numbers(values) = &found[1].values else {
            panic!("numbers")
        };
        assert!(
            values[..2] == [1.5, 0.5] && values[2].is_nan(),
            "the first row of a photo counts: {values:?}"
        );
        let refused = Colouring::of_table(&table.drop("path").unwrap(), &["a"]).unwrap_err();
        assert!(refused.to_string().contains("no column `path`"), "{refused}");
    }
}
