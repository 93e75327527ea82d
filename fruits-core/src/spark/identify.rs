//! Recognition on a cluster: each task answers for some photos, or for some files of features.

use std::time::Instant;

use super::extract::{progress, written};
use super::protocol::{Outcome, Work};
use super::{Spark, wrong_answer};
use crate::error::{Failure, Result, Step};
use crate::extract::{self, Extraction};
use crate::features::Features;
use crate::interrupt;
use crate::output::{self, IfExists};
use crate::pixels::Limits;
use crate::recognise::{AnswersWriter, Classifier, Identified, Recogniser};
use crate::store;

impl Spark {
    /// What the photos below a location are, or those whose features lie there, written to another one: as
    /// [`Recogniser::identify_to`](crate::Recogniser::identify_to). The classifier is read by each task, from a location that all nodes reach.
    ///
    /// ```no_run
    /// use fruits_core::{IfExists, Spark};
    ///
    /// # async fn example() -> fruits_core::Result<()> {
    /// let spark = Spark::emr("j-0123456789ABC", "s3://fruits/scratch")?.executors(8);
    /// let identified = spark
    ///     .identify_to("s3://fruits/classifier", "s3://fruits/Test", "s3://fruits/answers", IfExists::Refuse)
    ///     .await?;
    /// println!("{} photos, {} of them unknown", identified.photos, identified.unknown);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Recogniser::identify_to`](crate::Recogniser::identify_to) and [`run_to`](Self::run_to). Then there is no output; what tasks have written
    /// stays in the way until a run with [`IfExists::Replace`] removes it.
    pub async fn identify_to(
        &self,
        classifier: &str,
        photos: &str,
        out: &str,
        if_exists: IfExists,
    ) -> Result<Identified> {
        let classifier = store::open(classifier)?.uri("");
        for location in [&classifier, photos, out] {
            self.cluster.check_reach(location)?;
        }
        let recogniser = Recogniser::new(&Classifier::read(&classifier).await?)?;
        let mut writer = AnswersWriter::begin(out, if_exists).await?;
        let all = self.answer(&recogniser, classifier, photos, &mut writer).await;
        writer.finish(all).await
    }

    /// Has the answers written by tasks; gives back where the photos lie, and which failed.
    async fn answer(
        &self,
        recogniser: &Recogniser,
        classifier: String,
        photos: &str,
        writer: &mut AnswersWriter,
    ) -> Result<(String, Vec<Failure>)> {
        let store = store::open(photos)?;
        let are_features = output::is_there(&*store).await;
        let work = Work::Identify {
            classifier,
            source: store.uri(""),
            are_features,
            destination: writer.run().store().uri(""),
            run: writer.run().id().to_owned(),
            limits: Limits::default(),
        };
        let exchange = self.cluster.exchange().await?;
        let (source, sizes, photos_of_each, mut failures) = match are_features {
            true => {
                let scan = Features::scan(photos).await?;
                recogniser.classifier().refuse_others(&scan.manifest().model)?;
                let mut parts = scan.manifest().parts.as_slice();
                let sizes = self.divide_parts(&exchange, &work, parts).await?;
                let photos = sizes.iter().map(|size| parts.split_off(..*size).unwrap_or_default());
                let photos = photos.map(|parts| parts.iter().map(|part| part.rows).sum()).collect();
                (scan.manifest().source.clone(), sizes, photos, scan.failures().await?)
            }
            false => {
                let mut extraction = Extraction::open(photos, recogniser.network())?;
                extraction.look().await?;
                let Extraction { photos, failures, .. } = extraction;
                let divided = self.divide(&exchange, photos, &store, failures, &work);
                let (sizes, failures) = interrupt::race(Step::List, divided).await??;
                (store.uri(""), sizes.clone(), sizes, failures)
            }
        };
        let (made, failed, start) = (
            writer.run().made_in(AnswersWriter::PARTS)?,
            failures.len(),
            Instant::now(),
        );
        let mut show = self.is_shown.then(extract::show);
        let look = async || {
            if let Some(show) = &mut show {
                let done = written(&*made, &photos_of_each).await;
                show(&progress(done, 0, failed, &photos_of_each, start));
            }
        };
        let answers = self.run(exchange, &sizes, self.deadline, look).await?;
        for (answer, expected) in answers.into_iter().zip(&photos_of_each) {
            let Outcome::Identified {
                photos,
                unknown,
                files,
                failures: of_these,
            } = answer.result
            else {
                return Err(wrong_answer(answer.task));
            };
            if photos + of_these.len() != *expected {
                return Err(wrong_answer(answer.task));
            }
            writer.add(photos, unknown, files);
            failures.extend(of_these);
        }
        Ok((source, failures))
    }
}
