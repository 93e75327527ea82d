//! PCA of features that lie in several parts, beside the same features in memory.

use std::path::Path;

use ndarray::{Array2, Axis, s};
use polars::prelude::*;

use super::*;
use crate::features::tests::{features, write_in_parts};
use crate::output::IfExists;
use crate::table;

/// Numbers in [0, 1) from Weyl's sequence, columns of falling scale.
fn numbers(n: usize, d: usize) -> Array2<f32> {
    Array2::from_shape_fn((n, d), |(i, j)| {
        let number = ((i * d + j + 1) as f64 * 0.618_033_988_749_895).fract();
        (10.0 + number * 0.8_f64.powi(j as i32)) as f32
    })
}

fn some(n: usize, d: usize) -> Features {
    let names: Vec<String> = (0..n).map(|row| format!("/none/a/{row:04}.jpg")).collect();
    features(&names, &vec!["a".to_owned(); n], &numbers(n, d))
}

/// The files below a folder.
fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let files = walkdir::WalkDir::new(folder).sort_by_file_name().into_iter().flatten();
    files
        .filter(|entry| entry.file_type().is_file())
        .map(|entry| entry.into_path())
        .collect()
}

/// A place for features in parts of some rows, and one for a PCA of them.
async fn places(root: &Path, features: &Features, rows: usize) -> (String, String) {
    let place = |name: &str| root.join(name).to_str().unwrap().to_owned();
    write_in_parts(features, &place("features"), rows).await;
    (place("features"), place("pca"))
}

#[tokio::test]
async fn a_scan_gives_what_the_same_features_in_memory_give() {
    for (n, d, standardize) in [(61, 7, false), (61, 7, true), (12, 20, false)] {
        let root = tempfile::tempdir().unwrap();
        let features = some(n, d);
        let (from, to) = places(root.path(), &features, 5).await;
        let params = Pca::params().standardize(standardize);
        let (here, scan) = (
            params.fit_features(&features).unwrap(),
            Features::scan(&from).await.unwrap(),
        );
        let there = params.fit_scan(&scan).await.unwrap();
        assert_eq!((there.n(), scan.manifest().parts.len()), (n, n.div_ceil(5)));
        let apart = there.explained_variance() / here.explained_variance() - 1.0;
        assert!(apart.iter().all(|apart| apart.abs() < 1e-9), "{apart}");
        assert!(
            (there.components() - here.components())
                .iter()
                .all(|apart| apart.abs() < 1e-7)
        );

        there.write_scan(&to, &scan, IfExists::Refuse).await.unwrap();
        assert_eq!(Pca::read(&to).await.unwrap(), there);
        let mut whole = DataFrame::default();
        let parts = files(&Path::new(&to).join("projection"));
        for part in &parts {
            whole
                .vstack_mut(&table::from_parquet(std::fs::read(part).unwrap().into(), "").unwrap())
                .unwrap();
        }
        assert_eq!(parts.len(), n.div_ceil(5));
        let paths: Vec<&str> = whole.column("path").unwrap().str().unwrap().no_null_iter().collect();
        assert_eq!(paths, features.path_column());
        let projection = table::matrix::<Float64Type>(whole.column("projection").unwrap(), None).unwrap();
        let expected = here.project_features(&features).unwrap();
        assert!((projection - expected).iter().all(|apart| apart.abs() < 1e-7));
    }
}

#[tokio::test]
async fn a_damaged_part_is_named_and_nothing_is_left() {
    let root = tempfile::tempdir().unwrap();
    let features = some(40, 6);
    let (from, to) = places(root.path(), &features, 16).await;
    let pca = Pca::fit(&features).unwrap();
    let scan = Features::scan(&from).await.unwrap();
    let last = files(&Path::new(&from).join("features")).pop().unwrap();
    let name = last.file_name().unwrap().to_str().unwrap();
    let mut content = std::fs::read(&last).unwrap();
    let middle = content.len() / 2;
    content[middle] ^= 1;
    std::fs::write(&last, content).unwrap();

    for error in [
        Pca::params().fit_scan(&scan).await.unwrap_err(),
        pca.write_scan(&to, &scan, IfExists::Refuse).await.unwrap_err(),
        Features::read(&from).await.unwrap_err(),
    ] {
        assert!(
            error.kind() == ErrorKind::Invalid && error.subject().ends_with(name),
            "{error}"
        );
    }
    assert_eq!(files(Path::new(&to)), [""; 0].map(std::path::PathBuf::from));
    pca.write(&to, &features, IfExists::Refuse).await.unwrap();
}

#[tokio::test]
async fn what_does_not_fit_is_refused_before_anything_is_written() {
    let root = tempfile::tempdir().unwrap();
    let mut numbers = numbers(20, 3);
    numbers[[17, 1]] = f32::NAN;
    let features = some(20, 3).with_matrix(&numbers).unwrap();
    let (from, to) = places(root.path(), &features, 8).await;
    let scan = Features::scan(&from).await.unwrap();
    let error = Pca::params().fit_scan(&scan).await.unwrap_err();
    let last = &scan.manifest().parts[2].file;
    assert!(
        error.kind() == ErrorKind::Invalid && error.subject().ends_with(last),
        "{error}"
    );
    let wider = Pca::fit(&some(20, 4)).unwrap();
    let error = wider.write_scan(&to, &scan, IfExists::Refuse).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(!Path::new(&to).exists());
    assert!(some(20, 3).with_matrix(&numbers.slice(s![..9, ..]).to_owned()).is_err());
}

#[test]
fn moments_of_many_blocks_are_those_of_two_passes() {
    let rows = numbers(5000, 5).mapv(f64::from);
    let moments = Moments::of(rows.view());
    let mean = rows.mean_axis(Axis(0)).unwrap();
    let centred = &rows - &mean;
    let scatter = centred.t().dot(&centred);
    assert!((moments.mean() - mean).iter().all(|apart| apart.abs() < 1e-12));
    assert!((moments.scatter() - &scatter).iter().all(|apart| apart.abs() < 1e-9));
    assert_eq!(moments.scatter(), &moments.scatter().t());
}
