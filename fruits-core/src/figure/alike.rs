//! Photos beside those that are like them: neighbours, and what may be wrong.

use futures::stream::{self, StreamExt};
use maud::{Markup, html};

use super::ContactSheet;
use super::contact::photo;
use crate::alike::{Issue, IssueKind, Issues, Neighbours};
use crate::store::Store;
use crate::thumbnail::{photos_of, thumbnail};

/// Side of a photo that an issue is about, and of one that speaks for it, in pixels.
const SIDE: u32 = 96;
const EVIDENCE_SIDE: u32 = 64;
/// Photos shown of a group, and of the evidence.
const PHOTOS: usize = 3;
/// A row: photos, words, photos.
pub(super) const ROW: &str = "display: flex; flex-wrap: wrap; gap: 6px 16px; align-items: center; padding: 8px 0; border-bottom: 1px solid #8884";
pub(super) const WORDS: &str = "flex: 1 1 220px; overflow-wrap: anywhere; line-height: 1.35";
/// Rows whose photos are read at the same time.
pub(super) const ROWS_AHEAD: usize = 8;

impl Neighbours {
    /// The first so many photos, each beside its neighbours, the nearest first. Photos that are gone leave an empty frame.
    pub async fn contact_sheet(&self, photos: usize) -> ContactSheet {
        let (queries, found) = (self.queries(), self.found());
        let stores = [
            photos_of(&queries.manifest().source).await,
            photos_of(&found.manifest().source).await,
        ];
        let (paths, labels) = (queries.path_column(), queries.label_column());
        let found_paths = found.path_column();
        let card = async |row: usize| {
            let about = pictures(stores[0].as_deref(), std::iter::once(paths[row]), SIDE, labels[row]).await;
            let near = self.of(row).into_iter().map(|near| found_paths[near]);
            let near = pictures(stores[1].as_deref(), near, EVIDENCE_SIDE, "neighbour").await;
            html! {
                div style=(ROW) {
                    div { (about) }
                    div style=(WORDS) { strong { (labels[row]) } br; small { (paths[row]) } }
                    div { (near) }
                }
            }
        };
        let shown = stream::iter(0..queries.len().min(photos)).map(card);
        let shown: Vec<Markup> = shown.buffered(ROWS_AHEAD).collect().await;
        let more = queries.len() - shown.len();
        let page = html! { div { @for card in &shown { (card) } @if more > 0 { p { "and " (more) " more photos" } } } };
        ContactSheet::of(
            page.into_string(),
            format!("{} photos and their neighbours", queries.len()),
        )
    }
}

impl Issues {
    /// Up to so many issues of each kind, the strongest first, with the photos that speak for them. Photos that are gone leave an empty frame.
    pub async fn contact_sheet(&self, per_kind: usize) -> ContactSheet {
        let store = photos_of(&self.features().manifest().source).await;
        let others = match self.others() {
            Some(others) => photos_of(&others.manifest().source).await,
            None => None,
        };
        let mut sections = Vec::new();
        let mut description = String::new();
        for kind in IssueKind::ALL {
            let issues: Vec<&Issue> = self
                .all()
                .iter()
                .filter(|issue| issue.kind == kind && self.is_first(issue))
                .collect();
            if issues.is_empty() {
                continue;
            }
            let count = issues.len();
            description += &format!("{}: {count}\n", heading(kind));
            let shown = stream::iter(issues.into_iter().take(per_kind)).map(|issue| {
                let evidence = if kind == IssueKind::Leak { &others } else { &store };
                self.card([store.as_deref(), evidence.as_deref()], issue)
            });
            let shown: Vec<Markup> = shown.buffered(ROWS_AHEAD).collect().await;
            sections.push(html! {
                h3 { (heading(kind)) " " small { (count) } }
                @for card in &shown { (card) }
                @if count > shown.len() { p { "and " (count - shown.len()) " more" } }
            });
        }
        let page = html! { div { @for section in &sections { (section) } @if sections.is_empty() { p { "Nothing was found." } } } };
        ContactSheet::of(page.into_string(), description)
    }

    /// Of photos that are alike, one stands for all.
    fn is_first(&self, issue: &Issue) -> bool {
        let is_pair = matches!(issue.kind, IssueKind::Duplicate | IssueKind::NearDuplicate);
        let path = self.features().path_column()[issue.rows[0]];
        !is_pair || issue.evidence.iter().all(|other| path < other.as_str())
    }

    /// One issue. The stores are those of its photos, and of what speaks for it.
    async fn card(&self, stores: [Option<&dyn Store>; 2], issue: &Issue) -> Markup {
        let (paths, labels) = (self.features().path_column(), self.features().label_column());
        let label = labels[issue.rows[0]];
        let about = issue.rows.iter().take(PHOTOS).map(|row| paths[*row]);
        let about = pictures(stores[0], about, SIDE, label).await;
        let evidence = issue.evidence.iter().take(PHOTOS).map(String::as_str);
        let evidence = pictures(stores[1], evidence, EVIDENCE_SIDE, &issue.proposal).await;
        let more = issue.rows.len().saturating_sub(PHOTOS);
        html! {
            div style=(ROW) {
                div { (about) @if more > 0 { small { " and " (more) " more" } } }
                div style=(WORDS) {
                    strong { (label) } @if !issue.proposal.is_empty() { " → " strong { (issue.proposal) } } br;
                    small { (paths[issue.rows[0]]) br; (explanation(issue)) }
                }
                div { (evidence) }
            }
        }
    }
}

pub(super) async fn pictures<'a>(
    store: Option<&dyn Store>,
    paths: impl Iterator<Item = &'a str>,
    side: u32,
    label: &str,
) -> Markup {
    let mut shown = Vec::new();
    for path in paths {
        let picture = match store {
            Some(store) => thumbnail(store, path, side).await.ok(),
            None => None,
        };
        shown.push(photo(picture.as_deref(), label, path, side));
    }
    html! { @for picture in &shown { (picture) } }
}

fn heading(kind: IssueKind) -> &'static str {
    match kind {
        IssueKind::Duplicate => "Duplicates",
        IssueKind::NearDuplicate => "Near duplicates",
        IssueKind::Suspect => "Photos that may have a wrong label",
        IssueKind::SuspectGroup => "Groups of photos that may have a wrong label",
        IssueKind::Outlier => "Photos that are far from all others",
        IssueKind::Leak => "Photos that are in both collections",
    }
}

fn explanation(issue: &Issue) -> String {
    let score = issue.score;
    match issue.kind {
        IssueKind::Duplicate => "the same pixels as the photos beside it".to_owned(),
        IssueKind::NearDuplicate => format!("differs from the photos beside it by {score:.1} of 255 levels at most"),
        IssueKind::Suspect => {
            format!("cosine larger by {score:.3} to the photos beside it than to those of its label")
        }
        IssueKind::SuspectGroup => format!(
            "{} photos; cosine larger by {score:.3} to photos as those beside them than to those of its label in other groups",
            issue.rows.len()
        ),
        IssueKind::Outlier => {
            format!("farther from the nearest photos, those beside it, than usual: by {score:.1} standard deviations")
        }
        IssueKind::Leak => "is like the photos beside it, of the other collection".to_owned(),
    }
}
