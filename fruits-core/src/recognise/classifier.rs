//! A classifier that is kept: what it was trained with, how sure it may be, and what it knows.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use linfa::DatasetBase;
use linfa::traits::Fit;
use ndarray::{Array1, ArrayView1, ArrayView2, Axis};

use super::calibration;
use super::evaluation::{Tests, answers};
use super::familiarity::{Familiarity, Signs, near};
use super::recognition::Summary;
use super::{
    Answer, Answers, AnswersWriter, Classify, CosineClassifier, Evaluation, NearPhoto, Recognition, Splits,
    WhitenedCosine,
};
use crate::alike::{Groups, Near};
use crate::error::{Error, ErrorKind, Result, Step};
use crate::extractor::Model;
use crate::features::Features;
use crate::interrupt;
use crate::thumbnail::{jpeg, photos_of, small};

/// Side of the pictures that are kept, in pixels.
const SIDE: u32 = 96;
/// Pictures that are read at the same time.
const AT_ONCE: usize = 16;

/// A classifier, with what an answer that can be trusted needs: how often it is right about photos taken apart, a temperature for its
/// probabilities, and the photos that it knows. Clones share all of it.
///
/// ```no_run
/// use fruits_core::prelude::*;
///
/// # async fn example() -> fruits_core::Result<()> {
/// let model = MobileNetV2::imagenet()?.with_views(Views::Turned).with_texture(true);
/// let features = ImageFolder::open("photos").await?.features(&model).await?;
/// let classifier = Classifier::train(&features, &Groups::series(&features)).await?;
/// println!("{}", classifier.sentence());
/// classifier.write("classifier", IfExists::Refuse).await?;
///
/// let answer = Recogniser::new(&classifier)?.identify_at("photo.jpg").await?;
/// println!("{answer}"); // Pear 87.1 %, Quince 9.0 %, …
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Classifier(pub(super) Arc<Trained>);

#[derive(Debug)]
pub(super) struct Trained {
    pub fitted: CosineClassifier,
    pub temperature: f64,
    /// The probability from which a label is plausible.
    pub least_plausible: f64,
    pub familiarity: Familiarity,
    pub summary: Summary,
    /// The photos that it was trained with.
    pub features: Features,
    /// Small JPEGs of them, empty where there is none.
    pub pictures: Vec<Bytes>,
}

impl Classifier {
    /// Trains a [`WhitenedCosine`] with all of these photos, after it has measured how well that goes: in five folds by chance and in five by
    /// group, as [`Features::recognition`] does. The latter calibrate its probabilities, and say how familiar photos are that were left out.
    /// Small pictures of the photos are kept with it, of those that can be read.
    ///
    /// # Errors
    /// As [`Features::recognition`].
    pub async fn train(features: &Features, groups: &Groups) -> Result<Self> {
        Ok(Self::train_and_measure(features, groups).await?.0)
    }

    /// As [`train`](Self::train), and what was measured.
    ///
    /// # Errors
    /// As [`train`](Self::train).
    pub async fn train_and_measure(features: &Features, groups: &Groups) -> Result<(Self, Recognition)> {
        let recognition = features.recognition(groups)?;
        let targets: Array1<String> = features.labels().into();
        let fitted = WhitenedCosine::new().fit(&DatasetBase::new(features.matrix().view(), targets))?;
        let trained = Trained {
            fitted,
            temperature: recognition.by_group().temperature(),
            least_plausible: recognition.by_group().least_plausible(),
            familiarity: recognition.by_group().familiarity(),
            summary: recognition.summary(),
            features: features.clone(),
            pictures: interrupt::race(Step::Read, pictures(features)).await?,
        };
        Ok((Classifier(Arc::new(trained)), recognition))
    }

    /// The network whose features it takes.
    pub fn model(&self) -> &Model {
        &self.0.features.manifest().model
    }

    /// The labels that it knows.
    pub fn labels(&self) -> &[String] {
        self.0.fitted.labels()
    }

    /// The photos that it was trained with.
    pub fn features(&self) -> &Features {
        &self.0.features
    }

    /// How well it recognises, in a sentence.
    pub fn sentence(&self) -> String {
        self.0.summary.sentence()
    }

    /// What was measured of it.
    pub fn summary(&self) -> &Summary {
        &self.0.summary
    }

    /// What it says of photos.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if their features were not made as those that it was trained with.
    pub fn identify(&self, features: &Features) -> Result<Answers> {
        self.refuse_others(&features.manifest().model)?;
        Ok(Answers {
            source: features.manifest().source.clone(),
            answers: self.answers(features.matrix().view(), &features.path_column())?,
            failures: features.failures().to_vec(),
        })
    }

    /// Writes what it says of features, part by part.
    pub(crate) async fn identify_parts(
        &self,
        mut parts: BoxStream<'static, Result<Features>>,
        writer: &mut AnswersWriter,
    ) -> Result<()> {
        while let Some(part) = parts.try_next().await? {
            writer.push(self.identify(&part)?.all()).await?;
        }
        Ok(())
    }

    /// What it says of the rows of features.
    pub(super) fn answers(&self, features: ArrayView2<f32>, paths: &[&str]) -> Result<Vec<Answer>> {
        let scores = self.0.fitted.scores(features)?;
        let near = near(features, self.0.features.matrix().view())?;
        let (known_paths, known_labels) = (self.0.features.path_column(), self.0.features.label_column());
        let photo = |near: Near| NearPhoto {
            path: known_paths[near.row].to_owned(),
            label: known_labels[near.row].to_owned(),
            similarity: near.score,
            picture: Some(self.0.pictures[near.row].clone()).filter(|picture| !picture.is_empty()),
        };
        let rows = paths.iter().zip(scores.outer_iter()).zip(near);
        let answer = |((path, scores), near): ((&&str, ArrayView1<f64>), Vec<Near>)| {
            let answers = answers(scores.to_owned(), self.0.temperature);
            let known = self.0.familiarity.of(Signs::new(&near, scores));
            Answer {
                path: (*path).to_owned(),
                plausible: calibration::plausible(&answers, self.0.least_plausible),
                answers: answers
                    .into_iter()
                    .map(|(label, probability)| (self.labels()[label].clone(), probability))
                    .collect(),
                known,
                is_unknown: self.0.familiarity.is_strange(known),
                nearest: near.into_iter().map(photo).collect(),
            }
        };
        Ok(rows.map(answer).collect())
    }

    /// How often it is right about photos that it was not trained with, and whose labels are known. Photos of labels that it does not know are left
    /// out. Intervals are by groups.
    ///
    /// # Errors
    /// As [`identify`](Self::identify); [`ErrorKind::Invalid`] if it knows none of the labels.
    pub fn evaluate(&self, features: &Features, groups: &Groups) -> Result<Evaluation> {
        self.refuse_others(&features.manifest().model)?;
        let known = |label: &&str| self.labels().binary_search_by(|own| own.as_str().cmp(label)).ok();
        let (rows, own): (Vec<usize>, Vec<usize>) = features
            .label_column()
            .iter()
            .enumerate()
            .filter_map(|(row, label)| Some((row, known(label)?)))
            .unzip();
        if rows.is_empty() {
            let message = format!(
                "it knows none of the labels, such as {:?}",
                features.label_column().first().unwrap_or(&"")
            );
            return Err(Error::new(ErrorKind::Invalid, Step::Recognise, "classifier", message));
        }
        let matrix = features.matrix().select(Axis(0), &rows);
        let scores = self.0.fitted.scores(matrix.view())?;
        let signs = Signs::all(matrix.view(), scores.view(), self.0.features.matrix().view())?;
        let tests = Tests { rows, scores, signs };
        let splits = Splits::elsewhere(features, groups)?;
        Ok(Evaluation::new(
            features,
            splits,
            self.labels().to_vec(),
            tests,
            own,
            self.0.temperature,
        ))
    }

    /// How many of these photos it was trained with: those with the same features, to the last bit.
    pub fn has_seen(&self, features: &Features) -> usize {
        let bits = |row: ArrayView1<f32>| row.iter().map(|number| number.to_bits()).collect::<Vec<_>>();
        let own: HashSet<Vec<u32>> = self.0.features.matrix().outer_iter().map(bits).collect();
        features
            .matrix()
            .outer_iter()
            .filter(|row| own.contains(&bits(*row)))
            .count()
    }

    /// Fails unless features of a model are of the kind that it was trained with.
    pub(crate) fn refuse_others(&self, model: &Model) -> Result<()> {
        match self.model().difference(model) {
            None => Ok(()),
            Some(difference) => {
                let message = format!("it was trained with features {difference} as these are");
                Err(Error::new(ErrorKind::Invalid, Step::Recognise, "classifier", message))
            }
        }
    }
}

/// Small pictures of photos, empty ones of those that cannot be read.
async fn pictures(features: &Features) -> Vec<Bytes> {
    let Some(store) = photos_of(&features.manifest().source).await else {
        return vec![Bytes::new(); features.len()];
    };
    let picture = async |path: &str| match small(&*store, path, SIDE).await {
        Ok(picture) => jpeg(&picture).unwrap_or_default(),
        Err(_) => Bytes::new(),
    };
    stream::iter(features.path_column())
        .map(picture)
        .buffered(AT_ONCE)
        .collect()
        .await
}
