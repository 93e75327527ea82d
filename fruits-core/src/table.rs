//! Columns of vectors, and Parquet in memory.

use std::io::Cursor;
use std::sync::PoisonError;

use bytes::Bytes;
use ndarray::Array2;
use polars::prelude::*;

use crate::error::{Error, ErrorKind, Result, Step};

/// Rows of a Parquet file that are read in one piece.
const ROW_GROUP: usize = 1 << 18;

/// A column with one list of numbers a row, the rows of `matrix`.
pub(crate) fn vectors<T: PolarsNumericType>(name: &str, matrix: &Array2<T::Native>) -> Column {
    let (rows, width) = matrix.dim();
    let mut builder = ListPrimitiveChunkedBuilder::<T>::new(name.into(), rows, rows * width, T::get_static_dtype());
    for row in matrix.rows() {
        builder.append_values_iter(row.iter().copied());
    }
    builder.finish().into_column()
}

/// The matrix in a column of lists, a row each. `width` is the length that every list must have; without it, that of the first.
pub(crate) fn matrix<T: PolarsNumericType>(column: &Column, width: Option<usize>) -> PolarsResult<Array2<T::Native>> {
    let lists = column.list()?;
    let (mut values, mut width) = (Vec::new(), width);
    for list in lists.amortized_iter() {
        let list = list.ok_or_else(|| polars_err!(ComputeError: "a row of {} is null", column.name()))?;
        let list = list.as_ref().cast(&T::get_static_dtype())?;
        let wanted = *width.get_or_insert(list.len());
        polars_ensure!(
            list.len() == wanted && list.null_count() == 0,
            ComputeError: "a row of {} has not {wanted} numbers", column.name()
        );
        values.extend(list.unpack::<T>()?.no_null_iter());
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
