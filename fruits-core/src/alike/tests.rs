use ndarray::Array2;
use proptest::prelude::*;

use super::search::{Stop, others};
use super::*;
use crate::features::tests::features;

fn random(rows: usize, width: usize, seed: u64) -> Array2<f32> {
    let mut random = fastrand::Rng::with_seed(seed);
    Array2::from_shape_simple_fn((rows, width), || random.f32() * 2.0 - 0.5)
}

/// The definition, in `f64`, of every so many rows.
fn plainly(matrix: &Array2<f32>, k: usize, metric: Metric, step: usize) -> Vec<Vec<Near>> {
    let matrix = matrix.mapv(f64::from);
    let score = |i: usize, j: usize| match metric {
        Metric::Cosine => {
            let lengths = (matrix.row(i).dot(&matrix.row(i)) * matrix.row(j).dot(&matrix.row(j))).sqrt();
            if lengths == 0.0 {
                0.0
            } else {
                matrix.row(i).dot(&matrix.row(j)) / lengths
            }
        }
        Metric::Euclidean => -(&matrix.row(i) - &matrix.row(j)).mapv(|x| x * x).sum(),
    };
    let of = |i: usize| {
        let mut all: Vec<Near> = (0..matrix.nrows())
            .filter(|j| *j != i)
            .map(|row| Near {
                row,
                score: score(i, row),
            })
            .collect();
        all.sort();
        all.truncate(k);
        all
    };
    (0..matrix.nrows()).step_by(step).map(of).collect()
}

/// The same rows, but for such that are equally near, to the last digits.
fn assert_same(found: &[Vec<Near>], right: &[Vec<Near>]) {
    assert_eq!(found.len(), right.len());
    for (found, right) in found.iter().zip(right) {
        assert_eq!(found.len(), right.len());
        for (a, b) in found.iter().zip(right) {
            assert!(
                (a.score - b.score).abs() <= 1e-12 * b.score.abs().max(1.0),
                "{a:?} {b:?}"
            );
        }
    }
}

#[test]
fn neighbours_are_exact_and_the_same_for_any_number_of_threads() {
    let mut matrix = random(2500, 37, 1);
    matrix.row_mut(7).fill(0.0);
    let copy = matrix.row(9).to_owned();
    for row in [1300, 2400] {
        matrix.row_mut(row).assign(&copy);
    }
    for metric in [Metric::Cosine, Metric::Euclidean] {
        let found = others(matrix.view(), 5, metric, |_, _| true).unwrap();
        let some: Vec<Vec<Near>> = found.iter().step_by(9).cloned().collect();
        assert_same(&some, &plainly(&matrix, 5, metric, 9));
        let same: Vec<usize> = found[9].iter().take(2).map(|near| near.row).collect();
        assert_eq!(same, [1300, 2400], "of equals, the first rows first");
        for threads in [1, 3] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let again = pool.install(|| others(matrix.view(), 5, metric, |_, _| true)).unwrap();
            assert_eq!(again, found, "{threads} threads");
        }
    }
}

#[test]
fn small_large_and_equal_numbers() {
    for scale in [1e-30_f32, 1e-8, 1e8, 1e18] {
        let matrix = random(60, 5, 2).mapv(|x| x * scale);
        for metric in [Metric::Cosine, Metric::Euclidean] {
            let found = others(matrix.view(), 3, metric, |_, _| true).unwrap();
            let right = plainly(&matrix, 3, metric, 1);
            let rows = |all: &[Vec<Near>]| all.iter().flatten().map(|near| near.row).collect::<Vec<_>>();
            assert_eq!(rows(&found), rows(&right), "{scale} {metric:?}");
        }
    }
    let equal = Array2::from_elem((300, 4), 1.0_f32);
    let found = others(equal.view(), 2, Metric::Cosine, |_, _| true).unwrap();
    assert_eq!(found[0].iter().map(|near| near.row).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(found[299].iter().map(|near| near.row).collect::<Vec<_>>(), [0, 1]);

    let mut broken = random(10, 4, 3);
    broken[[6, 2]] = f32::NAN;
    let refused = others(broken.view(), 2, Metric::Cosine, |_, _| true);
    assert!(matches!(refused, Err(Stop::NotFinite(6))));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn any_number_of_rows_and_neighbours(rows in 1usize..40, width in 1usize..20, k in 0usize..50, seed in 0u64..1000) {
        let matrix = random(rows, width, seed);
        let found = others(matrix.view(), k, Metric::Cosine, |_, _| true).unwrap();
        assert_same(&found, &plainly(&matrix, k, Metric::Cosine, 1));
    }
}

#[test]
fn a_search_finds_what_neighbours_do() {
    let matrix = random(1200, 33, 4);
    let paths: Vec<String> = (0..1200).map(|row| format!("/none/a/{row}.jpg")).collect();
    let labels = vec!["a".to_owned(); 1200];
    let all = features(&paths, &labels, &matrix);
    let queries = all.take(&[3, 1100]).unwrap();
    for metric in [Metric::Cosine, Metric::Euclidean] {
        let found = all.search_with(&queries, 4, metric).unwrap();
        let others = all.neighbours_with(3, metric, |_, _| true).unwrap();
        for (at, row) in [(0, 3), (1, 1100)] {
            assert_eq!(found.of(at)[0], row, "itself");
            assert_eq!(found.of(at)[1..], others.of(row));
        }
    }
    let table = all.search(&queries, 2).unwrap().table();
    assert_eq!(table.shape(), (4, 6));
    assert!((table.column("similarity").unwrap().f64().unwrap().get(0).unwrap() - 1.0).abs() < 1e-12);
    assert!(
        all.search(&features(&paths[..1], &labels[..1], &random(1, 5, 5)), 2)
            .is_err()
    );
}

/// More rows than one part has.
#[tokio::test]
async fn an_output_is_searched_part_by_part() {
    let matrix = random(9000, 8, 8);
    let paths: Vec<String> = (0..9000).map(|row| format!("/none/a/{row}.jpg")).collect();
    let all = features(&paths, &vec!["a".to_owned(); 9000], &matrix);
    let folder = tempfile::tempdir().unwrap();
    let location = folder.path().join("features").to_str().unwrap().to_owned();
    all.write(&location).await.unwrap();
    for queries in [vec![8500], (0..9000).step_by(300).collect()] {
        let queries = all.take(&queries).unwrap();
        let found = Neighbours::in_output(&location, &queries, 4).await.unwrap();
        assert_eq!(found.table(), all.search(&queries, 4).unwrap().table());
        assert!(found.found().len() <= 4 * queries.len());
    }
    let error = Neighbours::in_output(
        &location,
        &features(&paths[..1], &["a".to_owned()], &random(1, 9, 1)),
        4,
    )
    .await;
    assert!(error.unwrap_err().to_string().contains("9 features a photo, not 8"));
}

/// Two labels of two series each, clearly apart, and faults.
#[tokio::test]
async fn planted_faults_are_found() {
    let (mut paths, mut labels, mut rows) = (Vec::new(), Vec::new(), Vec::new());
    let mut noise = fastrand::Rng::with_seed(6);
    let mut row = |centre: usize, series: usize| -> Vec<f32> {
        let place = |at: usize| {
            if at == centre {
                10.0
            } else if at == 20 + series {
                3.0
            } else {
                noise.f32()
            }
        };
        (0..40).map(place).collect()
    };
    for (centre, label) in ["Pear", "Quince", "Kiwi"].into_iter().enumerate() {
        for series in ["r", "r2", "r3"] {
            for frame in 0..8 {
                paths.push(format!("/none/{label}/{series}_{frame}.jpg"));
                labels.push(label.to_owned());
                rows.push(row(
                    centre,
                    3 * centre + usize::from(series.as_bytes()[series.len() - 1] & 3),
                ));
            }
        }
    }
    // A photo of Kiwi among the pears, a series of quinces that is called Kiwi, a copy, and something else.
    (paths[0], labels[48 + 3]) = ("/none/Pear/r_0.jpg".to_owned(), "Pear".to_owned());
    paths[48 + 3] = "/none/Pear/r9_3.jpg".to_owned();
    labels[32..40].fill("Kiwi".to_owned());
    rows[5] = rows[13].clone();
    rows[20] = (0..40).map(|at| if at >= 30 { 9.0 } else { 0.0 }).collect();
    let matrix = Array2::from_shape_vec((72, 40), rows.concat()).unwrap();
    let photos = features(&paths, &labels, &matrix);
    let issues = photos.issues(&Groups::series(&photos)).await.unwrap();
    let of = |kind| {
        issues
            .all()
            .iter()
            .filter(|issue| issue.kind == kind)
            .map(|issue| issue.rows.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(of(IssueKind::Duplicate), [[5], [13]]);
    assert_eq!(of(IssueKind::Suspect).first().unwrap(), &[51]);
    assert_eq!(of(IssueKind::SuspectGroup), [(32..40).collect::<Vec<_>>()]);
    assert_eq!(of(IssueKind::Outlier), [[20]]);
    let table = issues.table();
    assert_eq!(
        table.get_column_names(),
        ["path", "label", "issue", "score", "proposal", "evidence"]
    );
    assert!(issues.refuse(&[IssueKind::Leak]).is_ok());
    let refused = issues.refuse(&[IssueKind::Duplicate]).unwrap_err().to_string();
    assert!(refused.contains("issues were found: 2 duplicate"), "{refused}");
    assert_eq!("near duplicate".parse(), Ok(IssueKind::NearDuplicate));
    assert!(
        "twins"
            .parse::<IssueKind>()
            .unwrap_err()
            .contains("suspect group, outlier")
    );
}

#[tokio::test]
async fn odd_collections_have_an_answer() {
    let one = |n: usize, labels: &[&str], matrix: Array2<f32>| {
        let paths: Vec<String> = (0..n)
            .map(|row| format!("/none/{}/{row}.jpg", labels[row % labels.len()]))
            .collect();
        let labels: Vec<String> = (0..n).map(|row| labels[row % labels.len()].to_owned()).collect();
        features(&paths, &labels, &matrix)
    };
    for (photos, duplicates) in [
        (one(1, &["a"], random(1, 4, 1)), 0),
        (one(20, &["a"], random(20, 4, 1)), 0),
        (one(20, &["a", "b"], Array2::ones((20, 4))), 20),
        (one(20, &["a", "b"], Array2::zeros((20, 4))), 20),
        (one(3, &["a", "b", "c"], random(3, 4, 1)), 0),
    ] {
        let issues = photos.issues(&Groups::series(&photos)).await.unwrap();
        assert_eq!(issues.table().height(), duplicates, "{:?}", issues.all());
        assert_eq!(photos.neighbours(1000).unwrap().of(0).len(), photos.len() - 1);
    }
    let mut broken = random(3, 4, 1);
    broken[[1, 0]] = f32::INFINITY;
    let broken = one(3, &["a"], broken);
    assert!(
        broken
            .issues(&Groups::series(&broken))
            .await
            .unwrap_err()
            .to_string()
            .contains("row 1 has a feature")
    );
}

#[tokio::test]
async fn photos_are_put_together_by_rules() {
    let paths =
        ["Kiwi 1/r_1.jpg", "Kiwi 1/r_2.jpg", "Kiwi 1/3.jpg", "Kiwi 2/r_1.jpg"].map(|path| format!("/none/{path}"));
    let labels = ["Kiwi 1", "Kiwi 1", "Kiwi 1", "Kiwi 2"].map(str::to_owned);
    let all = features(&paths, &labels, &random(4, 3, 7));
    let by_rule = async |rule: &str| Groups::by_rule(&all, rule).await.map(|groups| groups.rows());
    assert_eq!(by_rule("series").await.unwrap(), [vec![2], vec![0, 1], vec![3]]);
    assert_eq!(by_rule("folders").await.unwrap(), [vec![0, 1, 2], vec![3]]);
    assert_eq!(by_rule("photos").await.unwrap().len(), 4);
    assert_eq!(by_rule(r"pattern:(r)_\d").await.unwrap(), [vec![2], vec![0, 1, 3]]);
    assert_eq!(
        by_rule(r"pattern:\d.jpg").await.unwrap(),
        [vec![0, 3], vec![1], vec![2]]
    );
    let some = Groups::by_rule(&all, r"pattern:(r)_\d").await.unwrap().to_string();
    assert!(
        some.starts_with("2 groups of photos whose paths") && some.ends_with(", one photo by itself"),
        "{some}"
    );
    for (rule, said) in [
        ("pattern:(", "unclosed"),
        ("pattern:x+", "like \"/none/Kiwi 1/r_1.jpg\""),
        ("video", "no such groups"),
    ] {
        let error = by_rule(rule).await.unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }

    let table = polars::prelude::df!("path" => ["Kiwi 1/r_1.jpg", "Kiwi 1/r_2.jpg", "/none/Kiwi 1/3.jpg"], "group" => [1, 2, 1]).unwrap();
    let three = all.take(&[0, 1, 2]).unwrap();
    assert_eq!(Groups::of_table(&three, &table).unwrap().rows(), [vec![0, 2], vec![1]]);
    let error = Groups::of_table(&all, &table).unwrap_err().to_string();
    assert!(error.contains("no group for \"Kiwi 2/r_1.jpg\""), "{error}");

    assert_eq!(all.varieties().labels(), ["Kiwi"; 4]);
    assert_eq!(all.labels()[3], "Kiwi 2");
}
