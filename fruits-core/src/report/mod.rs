//! Pages: about features and their PCA, about what may be wrong, about recognition. Each is one HTML file that needs no network.

mod recognition;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::alike::Issues;
use crate::error::{Error, ErrorKind, Result, Step};
use crate::features::{Features, FeaturesScan};
use crate::figure::scree::{THRESHOLDS, percent};
use crate::pca::Pca;
use crate::{store, table};

/// Photos shown of each label.
const SAMPLES: usize = 5;
/// Photos that a page about features shows; of more it shows an even sample.
const PHOTOS: usize = 50_000;
/// Failures that are listed; more are counted.
const FAILURES_SHOWN: usize = 200;

/// Issues of a kind that are shown; more are counted.
const ISSUES_SHOWN: usize = 200;

/// Names of what [`Issues::write`] writes.
const TABLE: &str = "issues.parquet";
const PAGE: &str = "report.html";

const STYLE: &str = include_str!("report.css");

/// A page about features and their PCA: summary, labels with sample photos, scree plot, the photos to look around in, failures, timings.
///
/// ```no_run
/// use fruits_core::{Features, Pca, Report};
///
/// # async fn example() -> fruits_core::Result<()> {
/// let features = Features::read("features").await?;
/// let report = Report::new(&features, &Pca::fit(&features)?).await?;
/// report.write("report.html").await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    html: String,
}

impl Report {
    /// Makes the page. Sample photos are read where they lie; those that are gone leave an empty frame.
    ///
    /// # Errors
    /// If the PCA was not fitted to features of this kind, or keeps fewer than two components.
    pub async fn new(features: &Features, pca: &Pca) -> Result<Self> {
        Self::of(features, features.len(), pca).await
    }

    /// As [`new`](Self::new), about features that lie at a location. Of more than 50,000 photos the page shows an even
    /// [sample](FeaturesScan::sample), and says so; the PCA is as it was fitted, to all for example.
    ///
    /// # Errors
    /// As [`new`](Self::new) and [`FeaturesScan::read`].
    pub async fn of_scan(scan: &FeaturesScan, pca: &Pca) -> Result<Self> {
        Self::of(&scan.sample(PHOTOS).await?, scan.len(), pca).await
    }

    /// About all of so many photos, or some of them.
    async fn of(features: &Features, photos: usize, pca: &Pca) -> Result<Self> {
        let sheet = features.contact_sheet(SAMPLES).await;
        let (scree, explorer) = (pca.scree()?, pca.explore(features).await?);
        Ok(Self::page(
            features,
            "Image features and PCA",
            html! {
                (summary(features, photos, pca))
                section {
                    h2 { "How many components?" }
                    figure { (PreEscaped(scree.svg())) }
                    (thresholds(pca))
                }
                section {
                    h2 { "The photos along the components" }
                    p.note { "Point at a photo to see it. The legend hides labels; the wheel zooms; dragging moves, or turns in space." }
                    figure { (PreEscaped(explorer.frame())) }
                }
                section {
                    h2 { "Labels" }
                    (PreEscaped(sheet.html()))
                }
                (failures(features))
                (notes(features))
                (provenance(features))
            },
        ))
    }

    /// A page about what may be wrong with photos: how many issues there are of each kind, and up to 200 of each with the photos that speak for
    /// them.
    pub async fn of_issues(issues: &Issues) -> Self {
        let features = issues.features();
        let sheet = issues.contact_sheet(ISSUES_SHOWN).await;
        Self::page(
            features,
            "What may be wrong",
            html! {
                section.tiles {
                    (tile(&features.len().to_string(), "photos"))
                    @for (kind, count) in issues.counts() { (tile(&count.to_string(), kind.as_str())) }
                }
                p.note { (issues.groups()) ". Photos of one group are expected to be alike." }
                section { (PreEscaped(sheet.html())) }
            },
        )
    }

    fn page(features: &Features, title: &str, body: Markup) -> Self {
        let source = &features.manifest().source;
        let page = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    title { "Fruits: " (source) }
                    style { (PreEscaped(STYLE)) }
                }
                body {
                    header {
                        h1 { (title) }
                        p { code { (source) } }
                    }
                    main { (body) }
                }
            }
        };
        Report {
            html: page.into_string(),
        }
    }

    /// The page as HTML text.
    pub fn html(&self) -> &str {
        &self.html
    }

    /// Writes the page to a file. One that ends in `.html` or `.htm` is replaced, another one is not.
    ///
    /// # Errors
    /// If the file cannot be written; [`ErrorKind::AlreadyExists`] if it may not be replaced.
    pub async fn write(&self, path: &str) -> Result<()> {
        let is_page = [".html", ".htm"].iter().any(|end| path.to_lowercase().ends_with(end));
        if !is_page && store::is_file(path).await {
            let message = "there is a file that is no report; give another name, such as report.html";
            return Err(Error::new(ErrorKind::AlreadyExists, Step::Write, path, message));
        }
        store::write(path, self.html.clone().into()).await
    }
}

impl Issues {
    /// Writes `issues.parquet`, the [table](Issues::table), and then `report.html`, the [page](Report::of_issues), to a folder or prefix. Earlier
    /// ones are replaced.
    ///
    /// # Errors
    /// If they cannot be written.
    pub async fn write(&self, location: &str) -> Result<()> {
        let store = store::open(location)?;
        let table = table::to_parquet(&self.table(), &store.uri(TABLE))?;
        let page = Report::of_issues(self).await;
        store.put(TABLE, table).await?;
        store.put(PAGE, page.html.into()).await
    }
}

fn summary(features: &Features, photos: usize, pca: &Pca) -> Markup {
    let rate = features
        .manifest()
        .photos_per_second()
        .filter(|_| !features.manifest().is_partial);
    html! {
        section.tiles {
            (tile(&photos.to_string(), "photos"))
            (tile(&features.by_label().len().to_string(), if photos > features.len() { "labels in the sample" } else { "labels" }))
            (tile(&features.failures().len().to_string(), "failures"))
            @if let Some(rate) = rate { (tile(&format!("{rate:.1}"), "photos/s")) }
            (tile(&pca.components_for(0.9999).to_string(), "components for 99.99\u{a0}%"))
        }
        @if photos > features.len() {
            p.note { "Figures and labels show an even sample: " (features.len()) " of the " (photos) " photos." }
        }
    }
}

fn tile(value: &str, name: &str) -> Markup {
    html! { div.tile { strong { (value) } span { (name) } } }
}

fn thresholds(pca: &Pca) -> Markup {
    let most = pca.explained_variance().len();
    html! {
        table {
            thead { tr { th { "Share of the variance" } th.number { "Components" } th.number { "Share of those there are" } } }
            tbody {
                @for share in THRESHOLDS {
                    @let k = pca.components_for(share);
                    tr {
                        td { (percent(share)) " %" }
                        td.number { (k) }
                        td.number { (format!("{:.0} %", 100.0 * k as f64 / most as f64)) }
                    }
                }
            }
        }
        p.note {
            (pca.n()) " photos of " (pca.mean().len()) " features have " (most) " components"
            @if most == pca.n() - 1 { ": one less than photos. So k at 99.99 % mostly counts photos; more photos raise it." }
            @else { "." }
        }
    }
}

fn failures(features: &Features) -> Markup {
    let failures = features.failures();
    html! {
        section {
            h2 { "Failures" }
            @if failures.is_empty() {
                p { "Every photo has features." }
            } @else {
                table {
                    thead { tr { th { "Photo" } th { "Step" } th { "Why" } } }
                    tbody {
                        @for failure in failures.iter().take(FAILURES_SHOWN) {
                            tr { td.path { (failure.path) } td { (failure.step) } td { (failure.message) } }
                        }
                    }
                }
                @if failures.len() > FAILURES_SHOWN {
                    p.note { "and " (failures.len() - FAILURES_SHOWN) " more" }
                }
            }
        }
    }
}

/// What was left out, and labels that may not be as people mean them.
fn notes(features: &Features) -> Markup {
    let sentences = features.manifest().survey.sentences();
    html! {
        @if !sentences.is_empty() {
            section {
                h2 { "The folder" }
                ul { @for sentence in sentences { li { (sentence) } } }
            }
        }
    }
}

fn provenance(features: &Features) -> Markup {
    let manifest = features.manifest();
    let seconds = |seconds: f64| format!("{seconds:.2} s");
    html! {
        section {
            h2 { "How it was made" }
            dl {
                dt { "Network" } dd { (manifest.model.name) ", weights SHA-256 " code { (manifest.model.weights_sha256) } }
                dt { "Pixels" } dd { (manifest.model.preprocessing) "; photos " (manifest.model.decoding) ", " (manifest.model.sight()) }
                dt { "Time" } dd {
                    (seconds(manifest.timings.elapsed)) " in all; network " (seconds(manifest.timings.infer))
                    ", decoding " (seconds(manifest.timings.decode)) " (sums over threads), waiting for bytes "
                    (seconds(manifest.timings.read)) " (sum over reads)"
                }
                dt { "Software" } dd { "fruits-core " (manifest.version) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::tests::features;

    #[tokio::test]
    async fn a_page_of_some_of_the_photos_says_so() {
        let names: Vec<String> = (0..6).map(|row| format!("/none/{}/{row}", row % 2)).collect();
        let labels: Vec<String> = (0..6).map(|row| (row % 2).to_string()).collect();
        let matrix = ndarray::Array2::from_shape_fn((6, 3), |(i, j)| (i * i + j * i) as f32);
        let sample = features(&names, &labels, &matrix);
        let pca = Pca::fit(&sample).unwrap();
        let (all, some) = (
            Report::of(&sample, 6, &pca).await.unwrap(),
            Report::of(&sample, 1_000_000, &pca).await.unwrap(),
        );
        let sentence = "an even sample: 6 of the 1000000 photos";
        assert!(some.html().contains(sentence) && some.html().contains("labels in the sample"));
        assert!(!all.html().contains("even sample") && !all.html().contains("in the sample"));
        assert_eq!(all, Report::new(&sample, &pca).await.unwrap());
    }
}
