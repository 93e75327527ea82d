//! From a photo's bytes to an answer.

use std::fmt;

use ndarray::ArrayView2;

use super::answers::AnswersWriter;
use super::{Answer, Answers, Classifier, Identified};
use crate::error::{Error, ErrorKind, Failure, Result, Step};
use crate::extract::Extraction;
use crate::extractor::FeatureExtractor;
use crate::features::{Features, Manifest};
use crate::folder::Photo;
use crate::interrupt;
use crate::mobilenet::MobileNetV2;
use crate::output::{self, IfExists};
use crate::pixels::{Limits, network_input_with};
use crate::store::{self, Length};

/// A classifier and the network whose features it takes. Clones share both.
#[derive(Clone)]
pub struct Recogniser {
    classifier: Classifier,
    network: MobileNetV2,
    limits: Limits,
}

impl Recogniser {
    /// With the network that made the features that the classifier was trained with.
    ///
    /// # Errors
    /// As [`MobileNetV2::like`].
    pub fn new(classifier: &Classifier) -> Result<Self> {
        Self::with_network(classifier, MobileNetV2::like(classifier.model())?)
    }

    /// With a network of one's own, such as one with other weights.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if its features are not as those that the classifier was trained with.
    pub fn with_network(classifier: &Classifier, network: MobileNetV2) -> Result<Self> {
        classifier.refuse_others(network.model())?;
        Ok(Recogniser {
            classifier: classifier.clone(),
            network,
            limits: Limits::default(),
        })
    }

    /// Bounds the size of a photo; a larger one is an error, or a failure of many photos.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// What to expect of its answers, for people who only ask.
    pub fn expectation(&self) -> String {
        self.classifier.summary().expectation()
    }

    /// The network.
    pub(crate) fn network(&self) -> &MobileNetV2 {
        &self.network
    }

    /// The classifier.
    pub fn classifier(&self) -> &Classifier {
        &self.classifier
    }

    /// What the photo in these bytes is, by all cores. Its path is what the answer says.
    ///
    /// # Errors
    /// As [`decode`](crate::pixels::decode).
    pub fn identify(&self, photo: &[u8], path: &str) -> Result<Answer> {
        self.answer(photo, path, |network, pixels| network.features(pixels))
    }

    /// As [`identify`](Self::identify), with the network run by this thread alone: for who has many photos at once.
    ///
    /// # Errors
    /// As [`decode`](crate::pixels::decode).
    pub fn identify_alone(&self, photo: &[u8], path: &str) -> Result<Answer> {
        self.answer(photo, path, |network, pixels| network.extract(pixels))
    }

    /// What the photo at a path or `s3://` address is.
    ///
    /// # Errors
    /// If it cannot be read; as [`decode`](crate::pixels::decode).
    pub async fn identify_at(&self, path: &str) -> Result<Answer> {
        let (folder, name) = store::split(path)?;
        let store = store::open(folder)?;
        let get = store.get(name, Length::AtMost(self.limits.bytes));
        let bytes = interrupt::race(Step::Read, get).await??;
        let (own, path) = (self.clone(), store.uri(name));
        let work = move || own.identify(&bytes, &path).map_err(|error| error.about(path));
        tokio::task::spawn_blocking(work)
            .await
            .unwrap_or_else(|panic| Err(Error::from_source(Step::Recognise, "", std::io::Error::other(panic))))
    }

    /// What the photos below a location are, or those whose features lie there. Those that cannot be read are [failures](Answers::failures).
    ///
    /// # Errors
    /// As [`Features::read_or_extract`] and [`Classifier::identify`].
    pub async fn identify_all(&self, location: &str) -> Result<Answers> {
        let features = Features::read_or_extract(location, || Ok(self.network.clone())).await?;
        self.classifier.identify(&features)
    }

    /// As [`identify_all`](Self::identify_all), and writes the answers while they come, as [`Answers::write`] does, so that memory does not grow
    /// with the number of photos.
    ///
    /// # Errors
    /// As [`identify_all`](Self::identify_all) and [`Answers::write`]. Then nothing is left at the location.
    pub async fn identify_to(&self, location: &str, out: &str, if_exists: IfExists) -> Result<Identified> {
        let mut writer = AnswersWriter::begin(out, if_exists).await?;
        let all = interrupt::race(Step::Recognise, self.answer_all(location, &mut writer)).await;
        writer.finish(all.flatten()).await
    }

    /// Writes the answers; gives back where the photos lie, and which failed.
    async fn answer_all(&self, location: &str, writer: &mut AnswersWriter) -> Result<(String, Vec<Failure>)> {
        if output::is_there(&*store::open(location)?).await {
            let scan = Features::scan(location).await?;
            self.classifier.identify_parts(scan.parts(), writer).await?;
            return Ok((scan.manifest().source.clone(), scan.failures().await?));
        }
        let extraction = Extraction::open(location, &self.network)?.show_progress();
        let (failures, manifest) = self.identify_photos(extraction, writer).await?;
        Ok((manifest.source, failures))
    }

    pub(crate) async fn identify_photos(
        &self,
        extraction: Extraction,
        writer: &mut AnswersWriter,
    ) -> Result<(Vec<Failure>, Manifest)> {
        let answer = async |photos: &[Photo], features: ArrayView2<'_, f32>| {
            let paths: Vec<&str> = photos.iter().map(|photo| photo.path.as_str()).collect();
            writer.push(&self.classifier.answers(features, &paths)?).await
        };
        extraction.limits(self.limits).run_parts(answer).await
    }

    fn answer(
        &self,
        photo: &[u8],
        path: &str,
        features: fn(&MobileNetV2, &[image::RgbImage]) -> Result<ndarray::Array2<f32>>,
    ) -> Result<Answer> {
        let model = self.network.model();
        let pixels = network_input_with(photo, model.decoding, &self.limits)?;
        let features = features(&self.network, &[pixels])?;
        let mut answers = self.classifier.answers(features.view(), &[path])?;
        answers
            .pop()
            .ok_or_else(|| Error::new(ErrorKind::Invalid, Step::Recognise, path, "there is no answer"))
    }
}

impl fmt::Debug for Recogniser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Recogniser ({} labels, {:?})",
            self.classifier.labels().len(),
            self.network
        )
    }
}
