//! PCA against definitions and against linfa-reduction, on data made here.

use fruits_core::{ErrorKind, Moments, Pca};
use linfa::DatasetBase;
use linfa::traits::{Fit, Transformer};
use ndarray::{Array1, Array2, Axis, array, s};
use proptest::prelude::*;

/// Numbers in [-1, 1) from a linear congruential generator (Knuth's MMIX constants), with columns of falling scale.
fn data(n: usize, d: usize, seed: u64) -> Array2<f64> {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    Array2::from_shape_fn((n, d), |(_, j)| {
        state = state
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        ((state >> 33) as f64 / (1u64 << 30) as f64 - 1.0) * 0.9_f64.powi(j as i32) + 3.0
    })
}

fn fit(data: &Array2<f64>) -> Pca {
    Pca::params().fit(&DatasetBase::from(data.clone())).unwrap()
}

fn assert_close(a: &Array1<f64>, b: &Array1<f64>, relative: f64) {
    assert_eq!(a.len(), b.len());
    for (a, b) in a.iter().zip(b) {
        assert!(
            (a - b).abs() <= relative * b.abs(),
            "{a:e} and {b:e} differ by more than {relative:e}"
        );
    }
}

#[test]
fn components_are_orthonormal_and_variances_are_those_of_projections() {
    for (n, d) in [(30, 50), (50, 30), (40, 40), (2, 7)] {
        let data = data(n, d, 1);
        let pca = fit(&data);
        assert_eq!(pca.explained_variance().len(), (n - 1).min(d));
        let gram = pca.components().dot(&pca.components().t());
        let identity = Array2::<f64>::eye(gram.nrows());
        assert!((gram - identity).iter().all(|x| x.abs() < 1e-10), "{n} x {d}");
        let projected = pca.transform(&data);
        assert_close(&projected.var_axis(Axis(0), 1.0), pca.explained_variance(), 1e-9);
        assert!((pca.explained_variance_ratio().sum() - 1.0).abs() < 1e-12);
        assert!((pca.total_variance() - data.var_axis(Axis(0), 1.0).sum()).abs() < 1e-9 * pca.total_variance());
    }
}

#[test]
fn gram_side_and_covariance_side_agree() {
    let data = data(30, 50, 2);
    let gram = fit(&data);
    let covariance = Pca::params().fit_moments(&Moments::of(data.view())).unwrap();
    assert_close(gram.explained_variance(), covariance.explained_variance(), 1e-9);
    assert!(
        (gram.components() - covariance.components())
            .iter()
            .all(|x| x.abs() < 1e-7)
    );
}

#[test]
fn fewer_components_leave_the_spectrum_whole() {
    let data = data(40, 20, 3);
    let whole = fit(&data);
    for k in [1, 2, 13, 19, 20] {
        let pca = Pca::params()
            .components(k)
            .fit(&DatasetBase::from(data.clone()))
            .unwrap();
        assert_eq!(pca.components().nrows(), k);
        assert_eq!(pca.explained_variance(), whole.explained_variance());
        assert_eq!(pca.components(), &whole.components().slice(s![..k, ..]));
    }
    assert_eq!(
        Pca::params()
            .components(99)
            .fit(&DatasetBase::from(data.clone()))
            .unwrap()
            .components()
            .nrows(),
        20
    );
    let error = Pca::params().components(0).fit(&DatasetBase::from(data)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
}

#[test]
fn leading_components_agree_with_linfa_reduction() {
    let data = data(60, 12, 4);
    let ours = fit(&data);
    let theirs = linfa_reduction::Pca::params(3).fit(&DatasetBase::from(data)).unwrap();
    for (ours, theirs) in ours.components().rows().into_iter().zip(theirs.components().rows()) {
        assert!((ours.dot(&theirs).abs() - 1.0).abs() < 1e-6);
    }
}

#[test]
fn rank_is_what_the_data_have() {
    let mut data = data(12, 40, 5);
    for row in 6..12 {
        let twin = data.row(row - 6).to_owned();
        data.row_mut(row).assign(&twin);
    }
    let pca = fit(&data);
    assert_eq!(pca.explained_variance().len(), 5);
    assert_eq!(pca.components_for(1.0), 5);
    assert_eq!(
        Pca::params()
            .fit_moments(&Moments::of(data.view()))
            .unwrap()
            .explained_variance()
            .len(),
        5
    );
}

#[test]
fn standardized_variances_are_shares_of_the_number_of_features() {
    let data = data(50, 8, 6);
    let pca = Pca::params()
        .standardize(true)
        .fit(&DatasetBase::from(data.clone()))
        .unwrap();
    assert!((pca.total_variance() - 8.0 * 50.0 / 49.0).abs() < 1e-9);
    let wide = data.slice(s![..6, ..]).to_owned();
    let standardized = Pca::params().standardize(true);
    let gram = standardized.fit(&DatasetBase::from(wide.clone())).unwrap();
    let moments = standardized.fit_moments(&Moments::of(wide.view())).unwrap();
    assert_close(gram.explained_variance(), moments.explained_variance(), 1e-9);
}

#[test]
fn projection_without_centring_is_off_by_the_projected_mean() {
    let data = data(20, 5, 7);
    let centred = fit(&data).transform(&data);
    let uncentred = Pca::params()
        .centre_projection(false)
        .fit(&DatasetBase::from(data.clone()))
        .unwrap()
        .transform(&data);
    let shift = &uncentred - &centred;
    for row in shift.rows() {
        assert!((&row - &shift.row(0)).iter().all(|x| x.abs() < 1e-10));
    }
    assert!(shift.iter().any(|x| x.abs() > 1.0));
}

#[test]
fn bad_data_is_an_error() {
    for data in [
        array![[1.0, 2.0]],
        Array2::zeros((0, 2)),
        array![[1.0, f64::NAN], [0.0, 1.0]],
        Array2::ones((5, 3)),
        Array2::ones((3, 5)),
    ] {
        let error = Pca::params().fit(&DatasetBase::from(data)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    }
    let pca = fit(&data(5, 3, 8));
    assert!(pca.project(Array2::zeros((1, 4)).view()).is_err());
    assert!(Moments::empty(3).merge(&Moments::empty(4)).is_err());
}

proptest! {
    #[test]
    fn merged_moments_equal_single_ones(cut in 0usize..=40, other in 0usize..=40, seed in 0u64..1000) {
        let data = data(40, 6, seed);
        let single = Moments::of(data.view());
        let (low, high) = (cut.min(other), cut.max(other));
        let mut merged = Moments::empty(6);
        for part in [s![..low, ..], s![low..high, ..], s![high.., ..]] {
            merged.merge(&Moments::of(data.slice(part))).unwrap();
        }
        prop_assert_eq!(merged.count(), single.count());
        let scale = single.scatter().diag().sum();
        prop_assert!((merged.mean() - single.mean()).iter().all(|x| x.abs() < 1e-12));
        prop_assert!((merged.scatter() - single.scatter()).iter().all(|x| x.abs() < 1e-12 * scale));
    }

    #[test]
    fn scaling_scales_variances(factor in prop::sample::select(vec![0.1, 2.0, 10.0]), seed in 0u64..100) {
        let data = data(25, 10, seed);
        let (one, scaled) = (fit(&data), fit(&(&data * factor)));
        assert_close(scaled.explained_variance(), &(one.explained_variance() * factor * factor), 1e-9);
        assert_close(&scaled.explained_variance_ratio(), &one.explained_variance_ratio(), 1e-10);
    }
}

#[tokio::test]
async fn what_an_earlier_version_wrote_is_read() {
    let pca = Pca::read("../tests/earlier/pca").await.unwrap();
    assert_eq!((pca.n(), pca.components().dim()), (3, (2, 1280)));
    assert!((pca.explained_variance_ratio().sum() - 1.0).abs() < 1e-12);
}
