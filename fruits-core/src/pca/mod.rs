//! Exact principal component analysis, from a matrix or from moments that were gathered in parts.
//!
//! It equals scikit-learn's `PCA(svd_solver="full")`: centred, not scaled, divided by `n - 1`; the sign of a component is that of its
//! largest entry. The spectrum is always whole, so ratios are shares of the total variance however many components are kept.

mod gather;
mod half;
mod moments;
mod persist;
#[cfg(test)]
mod tests;

use faer::linalg::matmul::matmul;
use faer::linalg::solvers::Llt;
use faer::prelude::Solve;
use faer::{Accum, Mat, MatMut, MatRef, Par, Side};
use linfa::ParamGuard;
use linfa::dataset::DatasetBase;
use linfa::traits::{Fit, Transformer};
use ndarray::{Array1, Array2, ArrayView2, ArrayViewMut2, Axis, CowArray, Ix2, s};

use crate::error::{Error, ErrorKind, Result, Step};
use crate::features::{Features, FeaturesScan};
use crate::interrupt;
pub use moments::Moments;

/// Rows that are projected at a time; the copy of a block stays below 22 MB.
const BLOCK: usize = 2048;
const NOT_FINITE: &str = "a feature is not finite";

impl From<linfa::error::Error> for Error {
    fn from(error: linfa::error::Error) -> Self {
        Error::from_source(Step::Pca, "", error)
    }
}

/// Parameters of a PCA, not yet checked. Made by [`Pca::params`].
#[derive(Debug, Clone, PartialEq)]
pub struct PcaParams(PcaValidParams);

/// Checked parameters of a PCA.
#[derive(Debug, Clone, PartialEq)]
pub struct PcaValidParams {
    components: Option<usize>,
    standardize: bool,
    centre_projection: bool,
}

impl PcaParams {
    /// Keeps so many components for projections; by default, and at most, as many as the data's rank.
    pub fn components(mut self, components: usize) -> Self {
        self.0.components = Some(components);
        self
    }

    /// Divides each feature by its standard deviation first (`n` in the denominator, as scikit-learn's `StandardScaler`). Off by
    /// default: features of one network have one unit.
    pub fn standardize(mut self, standardize: bool) -> Self {
        self.0.standardize = standardize;
        self
    }

    /// Whether projections subtract the mean. On by default; off gives the projections of Spark's `PCA`, which does not.
    pub fn centre_projection(mut self, centre_projection: bool) -> Self {
        self.0.centre_projection = centre_projection;
        self
    }

    /// Fits to moments that were gathered in parts.
    ///
    /// # Errors
    /// As [`Pca::fit`].
    pub fn fit_moments(&self, moments: &Moments) -> Result<Pca> {
        self.check_ref()?.fit_moments(moments)
    }

    /// Fits to features.
    ///
    /// # Errors
    /// As [`Pca::fit`].
    pub fn fit_features(&self, features: &Features) -> Result<Pca> {
        self.check_ref()?.fit_rows(features.matrix().view())
    }

    /// Fits to features that lie at a location, in memory that does not grow with the number of photos: they are read part by part.
    ///
    /// ```no_run
    /// use fruits_core::{Features, Pca};
    ///
    /// # async fn example() -> fruits_core::Result<()> {
    /// let scan = Features::scan("s3://fruits/Results").await?;
    /// let pca = Pca::params().fit_scan(&scan).await?;
    /// println!("{} of {}", pca.components_for(0.9999), pca.mean().len());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Pca::fit`]; about the file, if one is missing, damaged, or has a feature that is not finite.
    pub async fn fit_scan(&self, scan: &FeaturesScan) -> Result<Pca> {
        let params = self.check_ref()?;
        // Fewer photos than features are few.
        if scan.len() < scan.manifest().model.features {
            return params.fit_rows(scan.read().await?.matrix().view());
        }
        params.fit_moments(&Moments::of_scan(scan).await?)
    }
}

impl ParamGuard for PcaParams {
    type Checked = PcaValidParams;
    type Error = Error;

    fn check_ref(&self) -> Result<&PcaValidParams> {
        match self.0.components {
            Some(0) => Err(invalid("at least one component must be kept")),
            _ => Ok(&self.0),
        }
    }

    fn check(self) -> Result<PcaValidParams> {
        self.check_ref()?;
        Ok(self.0)
    }
}

impl<T> Fit<Array2<f64>, T, Error> for PcaValidParams {
    type Object = Pca;

    fn fit(&self, dataset: &DatasetBase<Array2<f64>, T>) -> Result<Pca> {
        self.fit_rows(dataset.records().view())
    }
}

impl PcaValidParams {
    /// From the smaller side: `n x n` products of photos, or the `d x d` covariance of features.
    fn fit_rows<T: Copy + Into<f64> + Sync>(&self, rows: ArrayView2<T>) -> Result<Pca> {
        let (n, d) = rows.dim();
        if rows.iter().any(|&value| !value.into().is_finite()) {
            return Err(invalid(NOT_FINITE));
        }
        if n >= d || n < 2 {
            return self.fit_moments(&Moments::unless_interrupted(rows)?);
        }
        let mut rows = rows.mapv(Into::into);
        let mean = rows.mean_axis(Axis(0)).expect("there are two rows at least");
        rows -= &mean;
        let scale = self
            .standardize
            .then(|| standard_deviation(rows.map_axis(Axis(0), |column| column.dot(&column)), n));
        if let Some(scale) = &scale {
            rows /= scale;
        }
        let (squares, vectors) = eigen(&product(rows.view(), rows.t()))?;
        let rank = rank(&squares, d).min(n - 1);
        let kept = self.components.unwrap_or(rank).min(rank);
        let mut components = product(vectors.slice(s![.., ..kept]).t(), rows.view());
        for (mut component, square) in components.rows_mut().into_iter().zip(&squares) {
            component /= square.sqrt();
        }
        let total = rows.iter().map(|value| value * value).sum::<f64>();
        self.finish(n, mean, scale, squares.slice(s![..rank]).to_owned(), total, components)
    }

    fn fit_moments(&self, moments: &Moments) -> Result<Pca> {
        let n = moments.count();
        if n < 2 {
            return Err(invalid(format!("a PCA needs at least two photos, not {n}")));
        }
        let mut scatter = moments.scatter().clone();
        let scale = self
            .standardize
            .then(|| standard_deviation(scatter.diag().to_owned(), n));
        if let Some(scale) = &scale {
            scatter /= scale;
            scatter /= &scale.view().insert_axis(Axis(1));
        }
        let total = scatter.diag().sum();
        let (squares, vectors) = eigen(&scatter)?;
        let rank = rank(&squares, scatter.nrows()).min(n - 1);
        let kept = self.components.unwrap_or(rank).min(rank);
        let components = vectors.slice(s![.., ..kept]).t().to_owned();
        self.finish(
            n,
            moments.mean().clone(),
            scale,
            squares.slice(s![..rank]).to_owned(),
            total,
            components,
        )
    }

    fn finish(
        &self,
        n: usize,
        mean: Array1<f64>,
        scale: Option<Array1<f64>>,
        squares: Array1<f64>,
        total: f64,
        mut components: Array2<f64>,
    ) -> Result<Pca> {
        if squares.is_empty() {
            return Err(invalid(
                "all photos have the same features: there is no variance to explain",
            ));
        }
        for mut component in components.rows_mut() {
            let largest = component
                .iter()
                .copied()
                .fold(0.0, |max: f64, x| if x.abs() > max.abs() { x } else { max });
            if largest < 0.0 {
                component.mapv_inplace(|x| -x);
            }
        }
        let degrees = (n - 1) as f64;
        Ok(Pca {
            n,
            mean,
            scale,
            components,
            explained_variance: squares / degrees,
            total_variance: total / degrees,
            centre_projection: self.centre_projection,
        })
    }
}

/// A fitted PCA.
///
/// ```
/// use fruits_core::Pca;
/// use fruits_core::linfa::{self, traits::{Fit, Transformer}};
/// use ndarray::array;
///
/// let data = array![[2.0, 0.0], [0.0, 1.0], [-2.0, 0.0], [0.0, -1.0]];
/// let pca = Pca::params().fit(&linfa::DatasetBase::from(data.clone()))?;
/// assert!((pca.explained_variance_ratio()[0] - 0.8).abs() < 1e-12);
/// assert_eq!(pca.components_for(0.9), 2);
/// assert!((pca.transform(&data)[[0, 0]] - 2.0).abs() < 1e-12);
/// # Ok::<(), fruits_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Pca {
    n: usize,
    mean: Array1<f64>,
    scale: Option<Array1<f64>>,
    components: Array2<f64>,
    explained_variance: Array1<f64>,
    total_variance: f64,
    centre_projection: bool,
}

impl Pca {
    /// Fits to features with the default parameters: centred, not scaled, all components.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] with fewer than two photos, a feature that is not finite, or photos that are all the same.
    pub fn fit(features: &Features) -> Result<Self> {
        Self::params().fit_features(features)
    }

    /// Parameters to adjust before fitting.
    pub fn params() -> PcaParams {
        PcaParams(PcaValidParams {
            components: None,
            standardize: false,
            centre_projection: true,
        })
    }

    /// Number of photos that it was fitted to.
    pub fn n(&self) -> usize {
        self.n
    }

    /// The mean of each feature.
    pub fn mean(&self) -> &Array1<f64> {
        &self.mean
    }

    /// Whether features were divided by their standard deviation.
    pub fn is_standardized(&self) -> bool {
        self.scale.is_some()
    }

    /// The components, one a row, each of length one: `k x d`.
    pub fn components(&self) -> &Array2<f64> {
        &self.components
    }

    /// The variance along every component that the data have (as many as their rank), largest first, whatever number is kept.
    pub fn explained_variance(&self) -> &Array1<f64> {
        &self.explained_variance
    }

    /// The variance of all features together.
    pub fn total_variance(&self) -> f64 {
        self.total_variance
    }

    /// Each [explained variance](Self::explained_variance) as a share of the total.
    pub fn explained_variance_ratio(&self) -> Array1<f64> {
        &self.explained_variance / self.total_variance
    }

    /// Running sums of the [ratios](Self::explained_variance_ratio).
    pub fn cumulative_ratio(&self) -> Array1<f64> {
        let mut sum = 0.0;
        self.explained_variance_ratio().mapv(|ratio| {
            sum += ratio;
            sum
        })
    }

    /// How many components explain at least this share of the variance, such as 0.9999. At most the rank of the data.
    ///
    /// With fewer photos than features, a share close to one mostly counts photos: `n` photos have `n - 1` components.
    pub fn components_for(&self, share: f64) -> usize {
        let cumulative = self.cumulative_ratio();
        let below = cumulative.iter().take_while(|sum| **sum < share).count();
        (below + 1).min(cumulative.len())
    }

    /// The coordinates of photos along the components, `n x k`; photos that it was not fitted to are welcome.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if a photo has not as many features as the PCA.
    pub fn project(&self, rows: ArrayView2<f64>) -> Result<Array2<f64>> {
        self.project_rows(rows)
    }

    /// The coordinates of photos along the components, `n x k`.
    ///
    /// # Errors
    /// As [`project`](Self::project).
    pub fn project_features(&self, features: &Features) -> Result<Array2<f64>> {
        self.project_rows(features.matrix().view())
    }

    fn project_rows<T: Copy + Into<f64>>(&self, rows: ArrayView2<T>) -> Result<Array2<f64>> {
        self.check_width(rows.ncols())?;
        let mut projection = Array2::zeros((rows.nrows(), self.components.nrows()));
        let blocks = rows.axis_chunks_iter(Axis(0), BLOCK);
        for (rows, projection) in blocks.zip(projection.axis_chunks_iter_mut(Axis(0), BLOCK)) {
            interrupt::check(Step::Pca)?;
            let mut rows: Array2<f64> = rows.mapv(Into::into);
            if self.centre_projection {
                rows -= &self.mean;
            }
            if let Some(scale) = &self.scale {
                rows /= scale;
            }
            product_into(rows.view(), self.components.t(), projection);
        }
        Ok(projection)
    }

    /// Fails unless a photo has as many features as those that it was fitted to.
    fn check_width(&self, width: usize) -> Result<()> {
        let wanted = self.mean.len();
        if width == wanted {
            return Ok(());
        }
        Err(invalid(format!(
            "{width} features a photo, the PCA was fitted to {wanted}"
        )))
    }
}

/// linfa's form of [`project`](Pca::project).
///
/// # Panics
/// If a row has not as many features as the PCA.
impl Transformer<&Array2<f64>, Array2<f64>> for Pca {
    fn transform(&self, rows: &Array2<f64>) -> Array2<f64> {
        self.project(rows.view())
            .expect("as many features as the PCA was fitted to")
    }
}

/// Standard deviations from sums of squares; a constant feature is left as it is.
fn standard_deviation(squares: Array1<f64>, n: usize) -> Array1<f64> {
    squares.mapv(|square| match (square / n as f64).sqrt() {
        0.0 => 1.0,
        deviation => deviation,
    })
}

/// Eigenvalues, largest first and none negative, and eigenvectors as columns, of a symmetric matrix, of which the lower half is looked at.
fn eigen(symmetric: &Array2<f64>) -> Result<(Array1<f64>, Array2<f64>)> {
    let size = symmetric.nrows();
    let matrix = Mat::from_fn(size, size, |i, j| symmetric[[i, j]]);
    let eigen = interrupt::apart(Step::Pca, move || matrix.self_adjoint_eigen(Side::Lower))?
        .map_err(|error| invalid(format!("the eigenvalues do not converge: {error:?}")))?;
    let (values, vectors) = (eigen.S().column_vector(), eigen.U());
    let last = size.saturating_sub(1);
    Ok((
        Array1::from_shape_fn(size, |i| values[last - i].max(0.0)),
        Array2::from_shape_fn((size, size), |(i, j)| vectors[(i, last - j)]),
    ))
}

/// How many eigenvalues are more than rounding errors, which are about epsilon times the largest one and grow with the side.
fn rank(squares: &Array1<f64>, side: usize) -> usize {
    let largest = squares.first().copied().unwrap_or(0.0);
    squares
        .iter()
        .take_while(|square| **square > largest * side as f64 * f64::EPSILON)
        .count()
}

/// The matrix product `a b`, on all cores.
pub(crate) fn product(a: ArrayView2<f64>, b: ArrayView2<f64>) -> Array2<f64> {
    let mut result = Array2::zeros((a.nrows(), b.ncols()));
    product_into(a, b, result.view_mut());
    result
}

/// The matrix product `a b` where there is place for it, rows in one piece.
fn product_into(a: ArrayView2<f64>, b: ArrayView2<f64>, mut result: ArrayViewMut2<f64>) {
    let (rows, columns) = result.dim();
    let (a, b) = (in_order(a), in_order(b));
    if let (Some(result), Some(a), Some(b)) = (result.as_slice_mut(), faer_view(&a), faer_view(&b)) {
        let result = MatMut::from_row_major_slice_mut(result, rows, columns);
        matmul(result, Accum::Replace, a, b, 1.0, Par::rayon(0));
    }
}

/// The matrix as it is, if its rows or its columns are in one piece; a copy otherwise.
fn in_order(matrix: ArrayView2<f64>) -> CowArray<f64, Ix2> {
    match matrix.is_standard_layout() || matrix.t().is_standard_layout() {
        true => matrix.into(),
        false => matrix.as_standard_layout().into_owned().into(),
    }
}

/// faer's view of a matrix whose rows or columns are in one piece.
fn faer_view<'a>(matrix: &'a CowArray<f64, Ix2>) -> Option<MatRef<'a, f64>> {
    let (rows, columns) = matrix.dim();
    match matrix.as_slice() {
        Some(by_rows) => Some(MatRef::from_row_major_slice(by_rows, rows, columns)),
        None => {
            let by_columns = matrix.view().reversed_axes().to_slice()?;
            Some(MatRef::from_column_major_slice(by_columns, rows, columns))
        }
    }
}

/// The rows that a symmetric, positive definite matrix turns into these rows.
pub(crate) fn solve(symmetric: &Array2<f64>, rows: &Array2<f64>) -> Result<Array2<f64>> {
    let (size, count) = (symmetric.nrows(), rows.nrows());
    let solved = cholesky(symmetric)?.solve(Mat::from_fn(size, count, |i, j| rows[[j, i]]));
    Ok(Array2::from_shape_fn((count, size), |(i, j)| solved[(j, i)]))
}

/// A matrix with zeros above its diagonal that makes rows of this covariance white: the inverse of its Cholesky factor.
pub(crate) fn whitening(covariance: &Array2<f64>) -> Result<Array2<f64>> {
    let size = covariance.nrows();
    let factor = cholesky(covariance)?;
    let mut inverse = Mat::<f64>::identity(size, size);
    faer::linalg::triangular_solve::solve_lower_triangular_in_place(factor.L(), inverse.as_mut(), Par::rayon(0));
    Ok(Array2::from_shape_fn((size, size), |(i, j)| inverse[(i, j)]))
}

fn cholesky(symmetric: &Array2<f64>) -> Result<Llt<f64>> {
    let size = symmetric.nrows();
    let matrix = Mat::from_fn(size, size, |i, j| symmetric[[i, j]]);
    matrix
        .llt(Side::Lower)
        .map_err(|error| invalid(format!("the matrix is not positive definite: {error:?}")))
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Invalid, Step::Pca, "", message)
}
