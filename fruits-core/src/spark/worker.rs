//! What runs inside a task of Spark.

use std::io::{BufRead, Write};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use tokio::sync::mpsc;
use tracing::info;

use super::protocol::{Answer, Item, Order, Outcome, PROTOCOL, Work, from_line, to_line};
use crate::error::{Error, ErrorKind, Result, Step};
use crate::extract::Extraction;
use crate::features::{self, Features, FeaturesWriter, Part};
use crate::folder::Photo;
use crate::mobilenet::MobileNetV2;
use crate::pca::Moments;
use crate::recognise::{AnswersWriter, Classifier, Recogniser};
use crate::store::{self, Store};

/// Lines that are read before those ahead of them are worked on.
const LINES_AHEAD: usize = 1024;
/// How often to look whether Spark is still there.
const LOOK: Duration = Duration::from_secs(1);

/// Serves one task: an order on standard input, the answer on standard output. What `fruits worker` does.
///
/// # Errors
/// If the order is not of this version, its lines did not come whole, or the store as a whole fails. Photos that fail are part of the answer.
pub async fn work() -> Result<()> {
    let mut lines = lines();
    let Some(first) = lines.next().await else {
        return Ok(()); // Spark starts a worker for an empty partition, too
    };
    let order: Order = from_line(&first?)?;
    if order.protocol != PROTOCOL {
        let message = format!(
            "the order is of version {}, this worker knows version {PROTOCOL}: driver and workers need the same fruits",
            order.protocol
        );
        return Err(Error::new(ErrorKind::Unsupported, Step::Spark, "protocol", message));
    }
    let answer = tokio::select! {
        answer = serve(order, lines) => answer?,
        () = orphaned() => {
            let message = "Spark is gone";
            return Err(Error::new(ErrorKind::Io, Step::Spark, "", message));
        }
    };
    writeln!(std::io::stdout(), "{}", to_line(&answer)?)
        .map_err(|error| Error::from_source(Step::Spark, "answer", error))
}

async fn serve(order: Order, lines: BoxStream<'static, Result<String>>) -> Result<Answer> {
    let items: Vec<String> = lines.take(order.items + 1).try_collect().await?;
    if items.len() != order.items {
        let message = format!("{} of {} lines came", items.len(), order.items);
        let task = format!("task {}", order.task);
        return Err(Error::new(ErrorKind::Invalid, Step::Spark, task, message));
    }
    info!("task {}: {} items", order.task, items.len());
    let result = match order.work {
        Work::Extract {
            source,
            destination,
            run,
            model,
            weights,
            limits,
            max_failures,
            is_resumed,
        } => {
            let mut writer = FeaturesWriter::of_task(store::open(&destination)?, run, order.task);
            writer.run().look().await?;
            let store = store::open(&source)?;
            let photos: Vec<Photo> = items.iter().map(|line| photo(&*store, line)).collect::<Result<_>>()?;
            let earlier = match photos.first() {
                Some(first) if is_resumed => {
                    let mut earlier = writer.earlier(&store.uri(""), &model).await?;
                    earlier.skip_to(first).await?;
                    Some(earlier)
                }
                _ => None,
            };
            let network = match weights {
                Some(weights) => MobileNetV2::from_file(weights)?.made_like(&model)?,
                None => MobileNetV2::like(&model)?,
            };
            let photos = stream::iter(photos).map(Ok).boxed();
            let extraction = Extraction::of(store, photos, order.items, network)
                .limits(limits)
                .max_failures(max_failures)
                .checkpoint(Duration::MAX); // parts end where their rows are full and nowhere else
            let (failures, manifest) = extraction.write_parts(&mut writer, earlier).await?;
            let (parts, files) = writer.written();
            Outcome::Extracted {
                photos: manifest.photos,
                reused: manifest.reused,
                parts,
                files,
                failures,
                timings: manifest.timings,
            }
        }
        Work::Moments { features, width } => {
            let store = store::open(&features)?;
            let mut moments = Moments::empty(width);
            for line in &items {
                let part: Part = from_line(line)?;
                moments.merge(&Moments::of_rows(
                    features::read_part(&*store, &part, width).await?.view(),
                ))?;
            }
            Outcome::Moments(BASE64_STANDARD.encode(moments.to_bytes()))
        }
        Work::Identify {
            classifier,
            source,
            are_features,
            destination,
            run,
            limits,
        } => {
            let mut writer = AnswersWriter::of_task(store::open(&destination)?, run, order.task);
            writer.run().look().await?;
            let recogniser = Recogniser::new(&Classifier::read(&classifier).await?)?.limits(limits);
            let failures = match are_features {
                true => {
                    let parts = items.iter().map(|line| from_line(line)).collect::<Result<_>>()?;
                    let scan = Features::scan(&source).await?;
                    let classifier = recogniser.classifier();
                    classifier.identify_parts(scan.some_parts(parts), &mut writer).await?;
                    Vec::new()
                }
                false => {
                    let store = store::open(&source)?;
                    let photos: Vec<_> = items.iter().map(|line| photo(&*store, line)).collect();
                    let network = recogniser.network().clone();
                    let extraction = Extraction::of(store, stream::iter(photos).boxed(), order.items, network);
                    recogniser.identify_photos(extraction, &mut writer).await?.0
                }
            };
            let (photos, unknown, files) = writer.written();
            Outcome::Identified {
                photos,
                unknown,
                files,
                failures,
            }
        }
    };
    Ok(Answer {
        protocol: PROTOCOL,
        task: order.task,
        items: items.len(),
        result,
    })
}

fn photo(store: &dyn Store, line: &str) -> Result<Photo> {
    let Item {
        key,
        size,
        version,
        label,
    } = from_line(line)?;
    Ok(Photo {
        path: store.uri(&key),
        label,
        key,
        size,
        version,
    })
}

/// The lines of standard input. A thread reads them, so that nothing else waits for it.
fn lines() -> BoxStream<'static, Result<String>> {
    let (sender, receiver) = mpsc::channel(LINES_AHEAD);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            let line = line.map_err(|error| Error::from_source(Step::Spark, "standard input", error));
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    store::receive(receiver)
}

/// Waits until the process that started this one has ended: nobody would read the answer.
async fn orphaned() {
    let parent = std::os::unix::process::parent_id();
    while std::os::unix::process::parent_id() == parent {
        tokio::time::sleep(LOOK).await;
    }
}
