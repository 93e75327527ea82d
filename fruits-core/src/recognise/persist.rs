//! A classifier as a folder: the photos that it knows as a table, and all numbers for reading it back.

use std::sync::Arc;

use bytes::Bytes;
use polars::prelude::{Column, DataFrame};
use serde::{Deserialize, Serialize};

use super::classifier::Trained;
use super::familiarity::Familiarity;
use super::recognition::Summary;
use super::{Classifier, CosineClassifier};
use crate::error::{Error, ErrorKind, Result, Step};
use crate::features::{self, Features, ROWS_PER_PART};
use crate::holds::{self, Wanted};
use crate::interrupt;
use crate::output::{self, IfExists, Kind, Run};
use crate::store::{self, Store};
use crate::table;
use crate::tensors::{self, Tensor, Tensors};

const PHOTOS: &str = "photos/part-";
const STATE: (&str, &str) = ("_classifier", ".safetensors");

/// An output of a classifier.
static KIND: Kind = Kind {
    files: &[(PHOTOS, ".parquet"), STATE],
    is_earlier: |_| false,
};

/// What is no array and no table.
#[derive(Serialize, Deserialize)]
struct Manifest {
    version: String,
    labels: Vec<String>,
    temperature: f64,
    least_plausible: f64,
    familiarity: Familiarity,
    measured: Summary,
    /// Of the photos that it was trained with.
    training: features::Manifest,
}

impl Classifier {
    /// Fails now if [`write`](Self::write) would, for what lies there: before the work of training one.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub async fn can_write(location: &str, if_exists: IfExists) -> Result<()> {
        Run::look_before(&*store::open(location)?, &KIND, if_exists)
            .await
            .map(drop)
    }

    /// Writes it to a folder or prefix: the photos that it knows in `photos/` (`path`, `label`, `features`, `picture`, a small JPEG), which other
    /// tools read as one table, `_classifier-*.safetensors`, its numbers, a manifest, and `_SUCCESS` last.
    ///
    /// # Errors
    /// [`ErrorKind::AlreadyExists`] as `if_exists` says.
    pub async fn write(&self, location: &str, if_exists: IfExists) -> Result<()> {
        let Trained {
            fitted,
            features,
            pictures,
            ..
        } = &*self.0;
        let store = store::open(location)?;
        let state = [
            Tensor::new("centre", fitted.centre().view()),
            Tensor::new("whitening", fitted.whitening().view()),
            Tensor::new("means", fitted.means().view()),
        ];
        let state = tensors::to_file(&state, &store.uri(STATE.0))?;
        let manifest = Manifest {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            labels: self.labels().to_vec(),
            temperature: self.0.temperature,
            least_plausible: self.0.least_plausible,
            familiarity: self.0.familiarity,
            measured: self.0.summary.clone(),
            training: features.manifest().clone(),
        };
        let mut run = Run::begin(store.clone(), &KIND, if_exists).await?;
        let put = async {
            for (number, first) in (0..features.len()).step_by(ROWS_PER_PART).enumerate() {
                let mut part = features.some(first, ROWS_PER_PART);
                let shown: Vec<Option<&[u8]>> = pictures[first..][..part.height()]
                    .iter()
                    .map(|picture| (!picture.is_empty()).then_some(&**picture))
                    .collect();
                let name = format!("{PHOTOS}{number:05}-{}.parquet", run.id());
                part.with_column(Column::new("picture".into(), shown))
                    .map_err(|error| Error::from_source(Step::Write, store.uri(&name), error))?;
                run.put(&name, table::to_parquet(&part, &store.uri(&name))?).await?;
            }
            let name = format!("{}-{}{}", STATE.0, run.id(), STATE.1);
            run.put(&name, state).await
        };
        let put = interrupt::race(Step::Write, put).await.flatten();
        run.or_release(put).await?;
        run.finish(&manifest).await
    }

    /// Reads what [`write`](Self::write) or `fruits train` wrote.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if there is no such folder, or no manifest in it; [`ErrorKind::Invalid`] if whatever wrote it did
    /// not finish, or a file is damaged.
    pub async fn read(location: &str) -> Result<Self> {
        interrupt::race(Step::Read, Self::read_from(&*store::open(location)?)).await?
    }

    async fn read_from(store: &dyn Store) -> Result<Self> {
        let finished = match output::open::<Manifest>(store).await {
            Ok(finished) => finished,
            Err(error) => return Err(holds::explain(store, Wanted::Classifier, error).await),
        };
        let uri = store.uri(STATE.0);
        let file = finished.read(store, STATE.0, STATE.0).await?;
        let (state, manifest) = (Tensors::read(&file, &uri)?, &finished.about);
        let (labels, width) = (manifest.labels.clone(), manifest.training.model.features);
        let centre = state.vector("centre")?;
        let (whitening, means) = (state.matrix("whitening", width)?, state.matrix("means", width)?);
        let numbers = centre.iter().chain(&whitening).chain(&means);
        let is_sound = centre.len() == width
            && whitening.nrows() == width
            && means.nrows() == labels.len()
            && labels.len() > 1
            && labels.is_sorted_by(|a, b| a < b)
            && numbers.into_iter().all(|number| number.is_finite())
            && manifest.temperature.is_finite()
            && manifest.temperature > 0.0
            && (0.0..=1.0).contains(&manifest.least_plausible)
            && manifest.familiarity.is_sound();
        if !is_sound {
            return Err(state.damaged("a number or a tensor of the right shape"));
        }

        let mut photos = DataFrame::default();
        for file in finished.files.iter().filter(|file| file.name.starts_with(PHOTOS)) {
            let part = table::from_parquet(file.read(store).await?, &store.uri(&file.name))?;
            photos
                .vstack_mut(&part)
                .map_err(|error| Error::from_source(Step::Read, store.uri(&file.name), error))?;
        }
        photos.rechunk_mut();
        let damaged = |message: String| Error::new(ErrorKind::Invalid, Step::Read, store.uri(PHOTOS), message);
        let pictures = pictures(&photos).map_err(|error| damaged(error.to_string()))?;
        let features = photos
            .select(["path", "label", "features"])
            .map_err(|error| damaged(error.to_string()))?;
        let features = Features::new(features, Vec::new(), manifest.training.clone())
            .map_err(|error| error.about(store.uri("")))?;
        if features.is_empty() {
            return Err(damaged("there is no photo in it".to_owned()));
        }
        Ok(Classifier(Arc::new(Trained {
            fitted: CosineClassifier::new(labels, centre, whitening, means),
            temperature: manifest.temperature,
            least_plausible: manifest.least_plausible,
            familiarity: manifest.familiarity,
            summary: manifest.measured.clone(),
            features,
            pictures,
        })))
    }
}

fn pictures(photos: &DataFrame) -> polars::prelude::PolarsResult<Vec<Bytes>> {
    let pictures = photos.column("picture")?.binary()?;
    Ok(pictures
        .iter()
        .map(|picture| picture.map(Bytes::copy_from_slice).unwrap_or_default())
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alike::Groups;
    use crate::recognise::tests::videos;

    #[tokio::test]
    async fn what_is_read_answers_as_what_was_written() {
        let photos = videos();
        let classifier = Classifier::train(&photos, &Groups::series(&photos)).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let location = folder.path().display().to_string();
        classifier.write(&location, IfExists::Refuse).await.unwrap();
        let again = Classifier::read(&location).await.unwrap();
        let some = photos.take(&[3, 50, 119]).unwrap();
        assert_eq!(
            again.identify(&some).unwrap().all(),
            classifier.identify(&some).unwrap().all()
        );
        assert_eq!(again.sentence(), classifier.sentence());
        assert_eq!(again.has_seen(&some), 3);

        let answers = again.identify(&some).unwrap();
        assert_eq!(answers.all()[0].nearest[0].path, photos.paths()[3]);
        assert_eq!(answers.table().shape(), (3, 7));
        let refused = classifier.write(&location, IfExists::Refuse).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::AlreadyExists);
        classifier.write(&location, IfExists::Replace).await.unwrap();
        let error = Features::read(&location).await.unwrap_err().to_string();
        assert!(error.contains("holds a classifier, not features"), "{error}");
    }

    #[test]
    fn numbers_are_read_to_the_last_bit() {
        let mut random = fastrand::Rng::with_seed(1);
        for _ in 0..10_000 {
            let number = 10.0 * random.f64();
            let json = serde_json::to_string(&number).unwrap();
            assert_eq!(serde_json::from_str::<f64>(&json).unwrap().to_bits(), number.to_bits());
        }
    }

    #[tokio::test]
    async fn features_that_were_made_otherwise_are_refused() {
        let photos = videos();
        let classifier = Classifier::train(&photos, &Groups::series(&photos)).await.unwrap();
        let mut model = photos.manifest().model.clone();
        model.views = crate::pixels::Views::Turned;
        let error = classifier.refuse_others(&model).unwrap_err().to_string();
        assert!(error.contains("of photos in one view, not in four views"), "{error}");
    }
}
