//! Arrays of `f64` in a safetensors file, bit for bit.

use bytes::Bytes;
use ndarray::{Array1, Array2, ArrayView, Dimension};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};

use crate::error::{Error, ErrorKind, Result, Step};

/// An array and its name.
pub(crate) struct Tensor {
    name: &'static str,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl Tensor {
    pub fn new<D: Dimension>(name: &'static str, array: ArrayView<f64, D>) -> Self {
        Tensor {
            name,
            shape: array.shape().to_vec(),
            bytes: array.iter().flat_map(|number| number.to_le_bytes()).collect(),
        }
    }
}

/// A file of these arrays. The error's subject is `uri`.
pub(crate) fn to_file(tensors: &[Tensor], uri: &str) -> Result<Bytes> {
    let failed = |error| Error::from_source(Step::Write, uri, error);
    let views: Vec<_> = tensors
        .iter()
        .map(|tensor| {
            Ok((
                tensor.name,
                TensorView::new(Dtype::F64, tensor.shape.clone(), &tensor.bytes)?,
            ))
        })
        .collect::<Result<_, _>>()
        .map_err(failed)?;
    Ok(safetensors::serialize(views, None).map_err(failed)?.into())
}

/// The arrays in a file.
pub(crate) struct Tensors<'a> {
    file: SafeTensors<'a>,
    uri: &'a str,
}

impl<'a> Tensors<'a> {
    /// The error's subject is `uri`.
    pub fn read(file: &'a Bytes, uri: &'a str) -> Result<Self> {
        let file = SafeTensors::deserialize(file).map_err(|error| Error::from_source(Step::Read, uri, error))?;
        Ok(Tensors { file, uri })
    }

    /// Nothing if there is no array of this name and kind.
    pub fn optional(&self, name: &str) -> Option<Array1<f64>> {
        let view = self.file.tensor(name).ok()?;
        let floats = view
            .data()
            .as_chunks::<8>()
            .0
            .iter()
            .map(|bytes| f64::from_le_bytes(*bytes));
        (view.dtype() == Dtype::F64).then(|| floats.collect())
    }

    /// All numbers of an array.
    pub fn vector(&self, name: &str) -> Result<Array1<f64>> {
        self.optional(name).ok_or_else(|| self.damaged(name))
    }

    /// An array with rows of so many numbers.
    pub fn matrix(&self, name: &str, columns: usize) -> Result<Array2<f64>> {
        let numbers = self.vector(name)?;
        let rows = numbers.len() / columns.max(1);
        numbers
            .into_shape_with_order((rows, columns))
            .map_err(|_| self.damaged(name))
    }

    /// The error of what is not as it has to be.
    pub fn damaged(&self, what: &str) -> Error {
        let message = format!("{what} is missing or damaged");
        Error::new(ErrorKind::Invalid, Step::Read, self.uri, message)
    }
}
