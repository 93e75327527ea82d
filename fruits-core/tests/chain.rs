//! Photos to features to PCA to report, with bad photos among them.

mod support;

use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use fruits_core::prelude::*;
use fruits_core::{ErrorKind, Extraction, Progress};
use support::{Need, trials};

const SAMPLE: &str = "../data-sample";

fn main() -> ExitCode {
    support::run(trials![
        Need::Weights => the_whole_chain_with_bad_photos, a_deadline_keeps_what_was_computed, figures_of_features,
            outputs_are_whole_or_refused, damaged_outputs_are_errors;
        Need::Nothing => weights_that_do_not_fit_are_refused;
    ])
}

fn model() -> MobileNetV2 {
    MobileNetV2::imagenet().unwrap()
}

/// The photos' folder, with three views of two labels and five files that are no photos, and a place for an output beside it.
fn mixed_folder(root: &Path) -> (String, String) {
    let place = |name: &str| root.join(name).to_str().unwrap().to_owned();
    let places = (place("photos"), place("out"));
    let root = &root.join("photos");
    fs::create_dir(root).unwrap();
    for label in ["Banana", "Lemon"] {
        fs::create_dir(root.join(label)).unwrap();
        for view in ["view-00.jpg", "view-05.jpg", "view-10.jpg"] {
            fs::copy(Path::new(SAMPLE).join(label).join(view), root.join(label).join(view)).unwrap();
        }
    }
    let photo = fs::read(Path::new(SAMPLE).join("Kiwi/view-00.jpg")).unwrap();
    let bad = root.join("Bad <b>");
    fs::create_dir(&bad).unwrap();
    fs::write(bad.join("cut.jpg"), &photo[..photo.len() / 2]).unwrap();
    fs::write(bad.join("empty.jpg"), "").unwrap();
    fs::write(bad.join("page.jpg"), "<html><script>alert(1)</script>").unwrap();
    fs::write(bad.join("tiff.png"), b"II*\0\x08\0\0\0\0\0\0\0").unwrap();
    fs::write(bad.join("noise.png"), b"\x89PNG\r\n\x1a\nnoise").unwrap();
    places
}

async fn the_whole_chain_with_bad_photos() {
    let model = model();
    let root = tempfile::tempdir().unwrap();
    let (photos, out) = mixed_folder(root.path());
    let photos = ImageFolder::open(&photos).await.unwrap();
    let (sender, progress) = std::sync::mpsc::channel::<Progress>();
    let extraction = photos.extraction(&model).on_progress(move |p| sender.send(*p).unwrap());
    let features = extraction.run().await.unwrap();
    let last = progress.into_iter().last().unwrap();
    assert_eq!((last.done, last.failed, last.found), (6, 5, 11));

    assert_eq!((features.len(), features.failures().len()), (6, 5));
    assert_eq!(features.matrix().dim(), (6, 1280));
    assert_eq!(
        features.labels(),
        ["Banana", "Banana", "Banana", "Lemon", "Lemon", "Lemon"]
    );
    assert!(
        features.failures().iter().all(|failure| failure.step == "decode"),
        "{:?}",
        features.failures()
    );
    assert_eq!(features.failures_table().shape(), (5, 3));

    features.write(&out).await.unwrap();
    let again = Features::read(&out).await.unwrap();
    assert_eq!(again.matrix(), features.matrix());
    assert_eq!(again.table(), features.table());
    assert_eq!(again.failures(), features.failures());

    // Written as it comes, it is the same.
    let streamed = root.path().join("streamed");
    let streamed = streamed.to_str().unwrap();
    photos
        .extraction(&model)
        .run_to(streamed, IfExists::Refuse)
        .await
        .unwrap();
    assert_eq!(Features::read(streamed).await.unwrap().table(), features.table());

    let pca = Pca::fit(&features).unwrap();
    assert_eq!(pca.explained_variance().len(), 5);
    let report = Report::new(&features, &pca).await.unwrap();
    let html = report.html();
    assert!(html.contains("cut.jpg") && html.contains("Bad &lt;b&gt;") && !html.contains("<script"));
    assert_eq!(
        (html.matches("<svg ").count(), html.matches("<iframe ").count()),
        (1, 1)
    );
    assert_eq!(html.matches("data:image/webp;base64,").count(), 7);
    assert!(!html.contains("src=\"http") && !html.contains("href=\"http"));

    let folder = root.path().join("pca");
    pca.write(folder.to_str().unwrap(), &features, IfExists::Refuse)
        .await
        .unwrap();
    assert_eq!(Pca::read(folder.to_str().unwrap()).await.unwrap(), pca);
}

async fn a_deadline_keeps_what_was_computed() {
    const COPIES: usize = 16;
    let model = model();
    let root = tempfile::tempdir().unwrap();
    let out = root.path().join("out");
    let out = out.to_str().unwrap();
    // More photos than any machine gets through in a moment.
    let many = root.path().join("photos");
    for copy in 0..COPIES {
        for label in std::fs::read_dir(SAMPLE).unwrap().map(Result::unwrap) {
            let Ok(photos) = std::fs::read_dir(label.path()) else {
                continue;
            };
            let folder = many.join(format!("{copy}")).join(label.file_name());
            std::fs::create_dir_all(&folder).unwrap();
            for photo in photos.map(Result::unwrap) {
                std::fs::copy(photo.path(), folder.join(photo.file_name())).unwrap();
            }
        }
    }
    let many = many.to_str().unwrap();
    let soon = Duration::from_millis(300);

    let photos = ImageFolder::open(many).await.unwrap();
    let features = photos.extraction(&model).deadline(soon).run().await.unwrap();
    assert!(features.len() < COPIES * 96 && features.manifest().is_partial);

    let extraction = Extraction::open(many, &model).unwrap().deadline(soon);
    let error = extraction.run_to(out, IfExists::Refuse).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}");
    assert_eq!(Features::read(out).await.unwrap_err().kind(), ErrorKind::Invalid);
    let rest = Extraction::open(many, &model).unwrap().resume_to(out).await.unwrap();
    assert!(rest.photos == COPIES * 96 && !rest.is_partial && rest.reused > 0);
}

async fn figures_of_features() {
    let model = model();
    let photos = ImageFolder::open(SAMPLE).await.unwrap();
    let features = photos.features(&model).await.unwrap();

    let (labels, similarity) = features.similarity();
    assert_eq!(labels, ["Apple Red", "Banana", "Kiwi", "Lemon", "Orange", "Strawberry"]);
    for (i, row) in similarity.rows().into_iter().enumerate() {
        assert!((row[i] - 1.0).abs() < 1e-9 && row.iter().all(|value| value.abs() < 1.0 + 1e-9));
    }
    let map = features.similarity_map().unwrap();
    assert!(map.svg().contains("Heat map of the similarity of 6 labels") && map.svg().contains("Strawberry"));

    let pictures = |sheet: &str| sheet.matches("data:image/webp").count();
    let (typical, outliers) = (features.typical(3).await, features.outliers(3).await);
    assert_eq!((pictures(typical.html()), pictures(outliers.html())), (18, 18));
    assert_eq!(pictures(photos.contact_sheet(2).await.html()), 12);
    // Distances rise in the one and fall in the other.
    let distances = |sheet: &str| -> Vec<f64> {
        let parts = sheet.split(", distance ").skip(1);
        parts
            .map(|part| part[..part.find('"').unwrap()].parse().unwrap())
            .collect()
    };
    assert!(distances(typical.html()).chunks(3).all(|label| label.is_sorted()));
    assert!(
        distances(outliers.html())
            .chunks(3)
            .all(|label| label.iter().rev().is_sorted())
    );

    let map = features.diffusion_map().await.unwrap();
    assert!(map.html().contains("diffusion 6") && pictures(map.html()) == 1);
    let two = features.take(&[95, 0]).unwrap();
    assert_eq!(
        (two.labels(), two.matrix().row(1)),
        (
            vec!["Strawberry".to_owned(), "Apple Red".to_owned()],
            features.matrix().row(0)
        )
    );
    assert_eq!(features.take(&[96]).unwrap_err().kind(), ErrorKind::Invalid);

    let shown = features.show(&[95, 0]).await.unwrap();
    assert!(pictures(shown.html()) == 2 && shown.html().find("Strawberry") < shown.html().find("Apple Red"));
    assert_eq!(features.show(&[96]).await.unwrap_err().kind(), ErrorKind::Invalid);

    // The sample's labels are far apart: k-means finds most of them, the same on any number of threads.
    let clusters = features.kmeans(6).unwrap();
    let one_thread = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    assert!(one_thread.install(|| features.kmeans(6)).unwrap().equals(&clusters));
    let (cluster, distance) = (
        clusters.column("cluster").unwrap(),
        clusters.column("distance").unwrap(),
    );
    assert_eq!((clusters.height(), cluster.n_unique().unwrap()), (96, 6));
    assert!(distance.f32().unwrap().no_null_iter().all(|distance| distance >= 0.0));
    let mut largest = 0;
    for rows in features.by_label().into_values() {
        let cluster = cluster.u32().unwrap();
        let count = |wanted| rows.iter().filter(|&&row| cluster.get(row) == Some(wanted)).count();
        largest += (0..6).map(count).max().unwrap();
    }
    assert!(
        largest > 80,
        "{largest} of 96 photos are in the cluster of most of their label"
    );
    for impossible in [0, 97] {
        assert_eq!(features.kmeans(impossible).unwrap_err().kind(), ErrorKind::Invalid);
    }

    assert!(two.manifest().is_partial && !features.manifest().is_partial);
    let same = features.take(&[7; 40]).unwrap();
    assert_eq!(same.diffusion_map().await.unwrap_err().kind(), ErrorKind::Invalid);
    let few = photos.sample(5).features(&model).await.unwrap();
    assert_eq!(few.diffusion_map().await.unwrap_err().kind(), ErrorKind::Invalid);
}

async fn outputs_are_whole_or_refused() {
    let model = model();
    let root = tempfile::tempdir().unwrap();
    let (photos, out) = mixed_folder(root.path());
    let photos = ImageFolder::open(&photos).await.unwrap();
    let (out, out_path) = (out.as_str(), Path::new(&out));

    let too_many = photos
        .extraction(&model)
        .max_failures(4)
        .run_to(out, IfExists::Refuse)
        .await
        .unwrap_err();
    assert_eq!(too_many.kind(), ErrorKind::TooManyFailures);
    assert_eq!(Features::read(out).await.unwrap_err().kind(), ErrorKind::NotFound);

    let features = photos.features(&model).await.unwrap();
    features.write(out).await.unwrap();
    assert_eq!(features.write(out).await.unwrap_err().kind(), ErrorKind::AlreadyExists);
    features.write_with(out, IfExists::Replace).await.unwrap();
    assert_eq!(Features::read(out).await.unwrap().len(), 6);

    fs::write(out_path.join("diary.txt"), "mine").unwrap();
    let refused = features.write_with(out, IfExists::Replace).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::AlreadyExists);
    assert_eq!(Features::read(out).await.unwrap().len(), 6);

    fs::remove_file(out_path.join("_SUCCESS")).unwrap();
    assert_eq!(Features::read(out).await.unwrap_err().kind(), ErrorKind::Invalid);
}

async fn weights_that_do_not_fit_are_refused() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("weights.safetensors");
    assert_eq!(MobileNetV2::from_file(&path).unwrap_err().kind(), ErrorKind::NotFound);
    fs::write(&path, "not weights").unwrap();
    assert_eq!(MobileNetV2::from_file(&path).unwrap_err().kind(), ErrorKind::Invalid);
    fs::write(
        &path,
        safetensors::serialize(Vec::<(String, safetensors::tensor::TensorView)>::new(), None).unwrap(),
    )
    .unwrap();
    let error = MobileNetV2::from_file(&path).unwrap_err();
    assert!(error.message().contains("missing"), "{error}");
}

async fn damaged_outputs_are_errors() {
    let model = model();
    let root = tempfile::tempdir().unwrap();
    let (photos, out) = mixed_folder(root.path());
    let extraction = Extraction::open(&photos, &model).unwrap();
    extraction.run_to(&out, IfExists::Refuse).await.unwrap();

    let read = async || Features::read(&out).await;
    assert_eq!(read().await.unwrap().len(), 6);
    let mut random = 1_u64;
    let mut next = |below: usize| {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) as usize % below
    };
    let files = walkdir::WalkDir::new(&out)
        .into_iter()
        .map(|entry| entry.unwrap().into_path());
    for file in files.filter(|path| path.is_file()).collect::<Vec<_>>() {
        let whole = fs::read(&file).unwrap();
        for round in 0..if whole.is_empty() { 0 } else { 100 } {
            let mut damaged = whole.clone();
            match round % 3 {
                0 => damaged.truncate(next(whole.len())),
                _ => (0..=round % 5).for_each(|_| damaged[next(whole.len())] = next(256) as u8),
            }
            fs::write(&file, damaged).unwrap();
            // Either an error or features; a changed number cannot be told from a right one.
            let _ = read().await;
        }
        fs::write(&file, &whole).unwrap();
        fs::remove_file(&file).unwrap();
        let is_index =
            file.extension().is_some_and(|extension| extension == "json") && !file.ends_with("_manifest.json");
        assert_eq!(read().await.is_ok(), is_index, "without {}", file.display());
        fs::write(&file, &whole).unwrap();
    }
    assert_eq!(read().await.unwrap().len(), 6);
}
