//! Columns of vectors, tables in files, and what a table's columns are like.

use std::io::Cursor;
use std::sync::PoisonError;

use bytes::Bytes;
use ndarray::{Array2, ArrayView2};
use polars::prelude::*;

use crate::error::{Error, ErrorKind, Result, Step};
use crate::interrupt;
use crate::store::{self, Length};

/// Bytes of a table's file that are read at most.
const MAX_FILE: u64 = 1 << 31;
/// Quantiles that [`Describe`] tells, and their names.
const QUANTILES: [(&str, f64); 3] = [("25 %", 0.25), ("50 %", 0.5), ("75 %", 0.75)];

/// Reads a table from one file, CSV with a header or Parquet, by its path or `s3://bucket/key`. Of CSV, a column of nothing but numbers is one
/// of numbers: `007` becomes 7.
///
/// ```no_run
/// use fruits_core::{ImageFolder, read_table};
///
/// # async fn example() -> fruits_core::Result<()> {
/// let photos = ImageFolder::open("photos").await?.with_labels_of(&read_table("labels.csv").await?)?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// If the file cannot be read; [`ErrorKind::Invalid`] if it is neither.
pub async fn read_table(location: &str) -> Result<DataFrame> {
    let (folder, name) = store::split(location)?;
    let store = store::open(folder)?;
    let file = interrupt::race(Step::Read, store.get(name, Length::AtMost(MAX_FILE))).await??;
    let invalid = |message: String| Error::new(ErrorKind::Invalid, Step::Read, location, message);
    // polars panics at types that it was built without, and at some damaged files.
    let table = tokio::task::spawn_blocking(move || read(file)).await;
    let table =
        table.unwrap_or_else(|_| Err(polars_err!(ComputeError: "damaged, or with columns of a type that is not read")));
    table.map_err(|error| invalid(error.to_string()))
}

fn read(file: Bytes) -> PolarsResult<DataFrame> {
    if file.starts_with(b"PAR1") {
        let mut reader = ParquetReader::new(Cursor::new(file));
        for field in reader.schema()?.iter_values() {
            let is_read = !matches!(field.dtype, ArrowDataType::Dictionary(..) | ArrowDataType::Decimal(..));
            polars_ensure!(is_read, ComputeError: "the column {} is of a type that is not read; write it as text or numbers", field.name);
        }
        return reader.finish();
    }
    polars_ensure!(std::str::from_utf8(&file).is_ok(), ComputeError: "neither Parquet nor text in UTF-8");
    let options = CsvReadOptions::default().with_infer_schema_length(None);
    let table = options.into_reader_with_file_handle(Cursor::new(file)).finish();
    table.map_err(|error| polars_err!(ComputeError: "not read as CSV: {error}"))
}

/// What pandas has and polars in Rust has not: what a table is like, in one call.
pub trait Describe {
    /// Each column's number of values and of missing ones, and of numbers the mean, the standard deviation (of a sample), the least, the
    /// quartiles (between values, linearly) and the largest: a row each, named in `statistic`.
    ///
    /// ```
    /// use fruits_core::prelude::*;
    /// use fruits_core::polars::prelude::*;
    ///
    /// let table = df!("n" => [1.0, 2.0, 4.0])?.describe()?;
    /// assert_eq!(table.column("n")?.f64()?.get(2), Some(7.0 / 3.0));
    /// # Ok::<(), PolarsError>(())
    /// ```
    ///
    /// Of numbers, what is not a number (NaN) counts as a value, as polars has it.
    ///
    /// # Errors
    /// If a column is called `statistic`.
    fn describe(&self) -> PolarsResult<DataFrame>;

    /// How often each value of a column occurs, in the column `count`, the most frequent first, and of equal ones the lesser first.
    ///
    /// # Errors
    /// If there is no such column, its values have no order, or it is called `count`.
    fn value_counts(&self, column: &str) -> PolarsResult<DataFrame>;
}

impl Describe for DataFrame {
    fn describe(&self) -> PolarsResult<DataFrame> {
        let names = ["count", "missing", "mean", "std", "min"];
        let names = names.into_iter().chain(QUANTILES.map(|(name, _)| name)).chain(["max"]);
        let mut columns = vec![Column::new("statistic".into(), names.collect::<Vec<_>>())];
        for column in self.columns() {
            let missing = column.null_count();
            let mut told = vec![Some((column.len() - missing) as f64), Some(missing as f64)];
            if column.dtype().is_primitive_numeric() {
                let numbers = column.cast(&DataType::Float64)?;
                let numbers = numbers.f64()?;
                told.extend([numbers.mean(), numbers.std(1), numbers.min()]);
                for (_, share) in QUANTILES {
                    told.push(numbers.quantile(share, QuantileMethod::Linear)?);
                }
                told.push(numbers.max());
            }
            told.resize(columns[0].len(), None);
            columns.push(Column::new(column.name().clone(), told));
        }
        DataFrame::new_infer_height(columns)
    }

    fn value_counts(&self, column: &str) -> PolarsResult<DataFrame> {
        let order = SortMultipleOptions::default().with_order_descending_multi([true, false]);
        let counts = self.clone().lazy().group_by([col(column)]).agg([len().alias("count")]);
        counts.sort(["count", column], order).collect()
    }
}

/// Rows of a Parquet file that are read in one piece.
const ROW_GROUP: usize = 1 << 18;

/// A column with one list of numbers a row, the rows of `matrix`.
pub(crate) fn vectors<T: PolarsNumericType>(name: &str, matrix: ArrayView2<T::Native>) -> Column {
    let (rows, width) = matrix.dim();
    let mut builder = ListPrimitiveChunkedBuilder::<T>::new(name.into(), rows, rows * width, T::get_static_dtype());
    for row in matrix.rows() {
        match row.as_slice() {
            Some(row) => builder.append_slice(row),
            None => builder.append_values_iter(row.iter().copied()),
        }
    }
    builder.finish().into_column()
}

/// The matrix in a column of lists, a row each. `width` is the length that every list must have; without it, that of the first.
pub(crate) fn matrix<T: PolarsNumericType>(column: &Column, width: Option<usize>) -> PolarsResult<Array2<T::Native>> {
    let lists = column.list()?;
    let (mut values, mut width) = (Vec::with_capacity(lists.get_inner().len()), width);
    for list in lists.amortized_iter() {
        let list = list.ok_or_else(|| polars_err!(ComputeError: "a row of {} is null", column.name()))?;
        let list = list.as_ref().cast(&T::get_static_dtype())?;
        let wanted = *width.get_or_insert(list.len());
        polars_ensure!(
            list.len() == wanted && list.null_count() == 0,
            ComputeError: "a row of {} has not {wanted} numbers", column.name()
        );
        match list.unpack::<T>()?.cont_slice() {
            Ok(list) => values.extend_from_slice(list),
            Err(_) => values.extend(list.unpack::<T>()?.no_null_iter()),
        }
    }
    Array2::from_shape_vec((lists.len(), width.unwrap_or(0)), values)
        .map_err(|error| polars_err!(ComputeError: "{error}"))
}

/// A table as a Parquet file. The error's subject is `key`.
///
/// Types are those of Parquet (`string`, lists of numbers). What polars would add in Arrow's terms is left out: with it, pyarrow reads
/// strings as a type that most of its functions do not know.
pub(crate) fn to_parquet(table: &DataFrame, key: &str) -> Result<Bytes> {
    let mut file = Vec::new();
    let mut write = || {
        let writer = ParquetWriter::new(&mut file).with_compression(ParquetCompression::Snappy);
        let mut writer = writer.batched(table.schema())?;
        for first in (0..table.height()).step_by(ROW_GROUP) {
            writer.write_batch(&table.slice(first as i64, ROW_GROUP))?;
        }
        let mut end = writer.get_writer().lock().unwrap_or_else(PoisonError::into_inner);
        end.end(Some(Vec::new()))
    };
    write().map_err(|error| Error::from_source(Step::Write, key, error))?;
    Ok(file.into())
}

/// The table in a Parquet file. The error's subject is `uri`.
pub(crate) fn from_parquet(file: Bytes, uri: &str) -> Result<DataFrame> {
    ParquetReader::new(Cursor::new(file))
        .finish()
        .map_err(|error| Error::new(ErrorKind::Invalid, Step::Read, uri, error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_described_as_pandas_does() {
        let table = df!("n" => [Some(1), Some(2), Some(4), None], "name" => ["a", "b", "b", "a"]).unwrap();
        let told = table.describe().unwrap();
        let (n, name) = (
            told.column("n").unwrap().f64().unwrap(),
            told.column("name").unwrap().f64().unwrap(),
        );
        let n: Vec<f64> = n.no_null_iter().collect();
        // pandas: Series([1, 2, 4]).describe()
        assert_eq!(n[..2], [3.0, 1.0]);
        for (found, expected) in n[2..]
            .iter()
            .zip([7.0 / 3.0, 1.527525231651947, 1.0, 1.5, 2.0, 3.0, 4.0])
        {
            assert!((found - expected).abs() < 1e-12);
        }
        assert_eq!(name.iter().collect::<Vec<_>>()[..3], [Some(4.0), Some(0.0), None]);
        assert_eq!(told.column("statistic").unwrap().str().unwrap().get(6), Some("50 %"));

        let counts = table.value_counts("name").unwrap();
        assert_eq!(counts, df!("name" => ["a", "b"], "count" => [2_u32, 2]).unwrap());
        assert!(table.value_counts("size").is_err());
    }

    #[tokio::test]
    async fn a_table_is_read_from_csv_and_parquet() {
        let folder = tempfile::tempdir().unwrap();
        let location = folder.path().join("table").display().to_string();
        std::fs::write(&location, "path,label\n\"a, b.jpg\",red\n").unwrap();
        let table = read_table(&location).await.unwrap();
        assert_eq!(table, df!("path" => ["a, b.jpg"], "label" => ["red"]).unwrap());
        std::fs::write(&location, to_parquet(&table, "").unwrap()).unwrap();
        assert_eq!(read_table(&location).await.unwrap(), table);
        std::fs::write(&location, b"PAR1 and no more").unwrap();
        assert_eq!(read_table(&location).await.unwrap_err().kind(), ErrorKind::Invalid);
        std::fs::write(&location, b"\xff\xd8\xff\x00").unwrap();
        assert!(read_table(&location).await.is_err());
        assert_eq!(read_table("no/such.csv").await.unwrap_err().kind(), ErrorKind::NotFound);
    }
}
