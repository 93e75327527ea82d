//! An interrupt ends the calls of a cell, and harms nothing else. One test, since a process has one flag.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use fruits_core::linfa::prelude::*;
use fruits_core::pixels::{Decoding, Views};
use fruits_core::recognise::{Classify, Discriminant, LogisticRegression, WhitenedCosine};
use fruits_core::{
    Classifier, ErrorKind, FeatureExtractor, Features, Groups, IfExists, ImageFolder, Neighbours, Pca, Result, Splits,
    begin_cell, extractor::Model,
};
use image::RgbImage;
use ndarray::{Array1, Array2};

const SAMPLE: &str = "../data-sample";
/// Levels that are taken of a photo.
const LEVELS: usize = 24;

/// Some levels of a photo, and an interrupt when so many photos are done.
#[derive(Clone)]
struct Levels {
    model: Model,
    left: Arc<AtomicUsize>,
}

impl Levels {
    fn interrupting_after(photos: usize) -> Self {
        let model = Model {
            name: "levels".to_owned(),
            weights_sha256: String::new(),
            preprocessing: String::new(),
            decoding: Decoding::default(),
            views: Views::default(),
            texture: false,
            side: 224,
            features: LEVELS,
        };
        let left = Arc::new(photos.into());
        Levels { model, left }
    }
}

impl FeatureExtractor for Levels {
    fn model(&self) -> &Model {
        &self.model
    }

    fn extract(&self, photos: &[RgbImage]) -> Result<Array2<f32>> {
        for _ in photos {
            if self.left.fetch_sub(1, Ordering::Relaxed) == 1 {
                interrupt();
            }
        }
        let levels = photos
            .iter()
            .flat_map(|photo| photo.as_raw().iter().step_by(224 * 224 * 3 / LEVELS));
        let levels = levels.map(|level| f32::from(*level)).collect();
        Ok(Array2::from_shape_vec((photos.len(), LEVELS), levels).unwrap())
    }
}

/// What the user of a notebook sends.
fn interrupt() {
    // SAFETY: the process listens.
    unsafe { libc::raise(libc::SIGINT) };
}

fn assert_interrupted<T>(result: Result<T>, what: &str) {
    match result {
        Ok(_) => panic!("{what} came to its end"),
        Err(error) => assert_eq!(error.kind(), ErrorKind::Interrupted, "{what}: {error}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupt_ends_calls_and_harms_nothing_else() {
    begin_cell();
    let network = Levels::interrupting_after(usize::MAX);
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let photos = ImageFolder::open(SAMPLE).await.unwrap();
    let features = photos.features(&network).await.unwrap();
    features.write(&place("before")).await.unwrap();
    let groups = Groups::photos(&features);
    let splits = Splits::by_group(&features, &groups, 3).unwrap();
    let data = || {
        let labels: Array1<String> = features.labels().into();
        DatasetBase::new(features.matrix().view(), labels)
    };
    let cosine = WhitenedCosine::new().fit(&data()).unwrap();
    let linear = Discriminant::new().fit(&data()).unwrap();
    let pca = Pca::fit(&features).unwrap();

    interrupt();
    for _again in 0..2 {
        assert_interrupted(ImageFolder::open(SAMPLE).await, "listing");
        assert_interrupted(photos.features(&network).await, "an extraction");
        assert_interrupted(Features::read(&place("before")).await, "reading");
        assert_interrupted(features.write(&place("now")).await, "writing");
        assert_interrupted(pca.write(&place("now"), &features, IfExists::Refuse).await, "a PCA");
        assert_interrupted(features.neighbours(3), "neighbours");
        assert_interrupted(features.search(&features, 3), "a search");
        assert_interrupted(Neighbours::in_output(&place("before"), &features, 3).await, "a search");
        assert_interrupted(features.issues(&groups).await, "issues");
        assert_interrupted(features.kmeans(3), "k-means");
        assert_interrupted(features.map(), "a map");
        assert_interrupted(features.diffusion_map().await, "a diffusion map");
        assert_interrupted(Pca::fit(&features), "a PCA");
        assert_interrupted(pca.project_features(&features), "a projection");
        assert_interrupted(LogisticRegression::new().along(&pca).fit(&data()), "a regression");
        assert_interrupted(WhitenedCosine::new().fit(&data()), "a classifier");
        assert_interrupted(cosine.scores(features.matrix().view()), "scores");
        assert_interrupted(linear.scores(features.matrix().view()), "scores");
        assert_interrupted(features.evaluate(&splits, &Discriminant::new()), "an evaluation");
        assert_interrupted(Classifier::train(&features, &groups).await, "training");
    }
    let said = features.neighbours(3).unwrap_err().to_string();
    assert_eq!(said, "compare: interrupted");

    // What was interrupted gave its folder back.
    begin_cell();
    features.write(&place("now")).await.unwrap();
    assert_eq!(Features::read(&place("now")).await.unwrap().matrix(), features.matrix());
    assert_eq!(features.neighbours(3).unwrap().table().height(), 3 * 96);

    // In the middle of an extraction: what was computed is kept, and nobody takes it for all.
    let out = place("extracted");
    let interrupted = photos.extraction(&Levels::interrupting_after(40));
    let error = interrupted.run_to(&out, IfExists::Refuse).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Interrupted, "{error}");
    assert!(error.to_string().contains("photos are kept"), "{error}");
    begin_cell();
    assert_eq!(
        Features::read(&out).await.unwrap_err().kind(),
        ErrorKind::Invalid,
        "it is not whole"
    );
    let manifest = photos.extraction(&network).resume_to(&out).await.unwrap();
    assert!((1..96).contains(&manifest.reused), "{}", manifest.reused);
    assert_eq!(Features::read(&out).await.unwrap().matrix(), features.matrix());
}
