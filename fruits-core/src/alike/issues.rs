//! What may be wrong with a collection of photos.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::str::FromStr;

use polars::prelude::{Column, DataFrame, IntoColumn, ListBuilderTrait, ListStringChunkedBuilder};

use super::duplicates;
use super::groups::Groups;
use super::neighbours::not_finite;
use super::suspects::{Finding, Surroundings};
use super::thresholds::Thresholds;
use crate::error::{Error, ErrorKind, Result, Step};
use crate::features::Features;

/// What may be wrong with a photo.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum IssueKind {
    /// The network has seen the same pixels of another photo.
    Duplicate,
    /// Another photo is nearly the same picture: saved anew, resized, shifted or mirrored.
    NearDuplicate,
    /// It is more similar to photos of another label than to those of its own.
    Suspect,
    /// Its group is more similar to photos of another label than to those of its own label in other groups.
    SuspectGroup,
    /// It is far from all others.
    Outlier,
    /// It is in the photos that it shall be apart from, too, or nearly so.
    Leak,
}

impl IssueKind {
    /// All kinds, in the order in which they are told.
    pub const ALL: [IssueKind; 6] = [
        IssueKind::Duplicate,
        IssueKind::NearDuplicate,
        IssueKind::Suspect,
        IssueKind::SuspectGroup,
        IssueKind::Outlier,
        IssueKind::Leak,
    ];

    /// The kind as it stands in tables: `duplicate`, `near duplicate`, `suspect`, `suspect group`, `outlier`, `leak`.
    pub fn as_str(self) -> &'static str {
        match self {
            IssueKind::Duplicate => "duplicate",
            IssueKind::NearDuplicate => "near duplicate",
            IssueKind::Suspect => "suspect",
            IssueKind::SuspectGroup => "suspect group",
            IssueKind::Outlier => "outlier",
            IssueKind::Leak => "leak",
        }
    }
}

/// Photos of another collection that a photo is compared with.
const LEAK_CANDIDATES: usize = 5;

impl fmt::Display for IssueKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for IssueKind {
    type Err = String;

    /// The kind of this name, as [`as_str`](Self::as_str) says it.
    fn from_str(name: &str) -> std::result::Result<Self, String> {
        let all = || IssueKind::ALL.map(IssueKind::as_str).join(", ");
        IssueKind::ALL
            .into_iter()
            .find(|kind| kind.as_str() == name)
            .ok_or_else(|| format!("there are: {}", all()))
    }
}

/// Something that may be wrong, and what speaks for it.
#[derive(Debug, Clone, PartialEq)]
pub struct Issue {
    /// What it is.
    pub kind: IssueKind,
    /// The photos that it is about: rows of the features.
    pub rows: Vec<usize>,
    /// How strong the evidence is; what it means depends on the kind: see [`Issues::table`].
    pub score: f64,
    /// The label that the evidence has, of suspects.
    pub proposal: String,
    /// Paths of the photos that speak for it.
    pub evidence: Vec<String>,
}

/// What may be wrong with photos: duplicates, photos and groups that may have a wrong label, outliers.
///
/// ```no_run
/// use fruits_core::{Features, alike::Groups};
///
/// # async fn example() -> fruits_core::Result<()> {
/// let features = Features::read("features").await?;
/// let issues = features.issues(&Groups::series(&features)).await?;
/// println!("{}", issues.table());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Issues {
    features: Features,
    groups: Groups,
    issues: Vec<Issue>,
    others: Option<Features>,
    thresholds: Thresholds,
}

impl Features {
    /// Looks for what may be wrong with the photos, with the usual [thresholds](Thresholds). Photos are read where they lie, to compare pictures; of
    /// those that are gone, near duplicates are not found.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if a feature is not a finite number.
    pub async fn issues(&self, groups: &Groups) -> Result<Issues> {
        self.issues_with(groups, Thresholds::default()).await
    }

    /// As [`issues`](Self::issues), with other thresholds.
    ///
    /// # Errors
    /// As [`issues`](Self::issues).
    pub async fn issues_with(&self, groups: &Groups, thresholds: Thresholds) -> Result<Issues> {
        let around = Surroundings::new(self, groups).map_err(|stop| stop.because(|row| not_finite(self, row)))?;
        let paths = self.path_column();
        let path = |row: &usize| paths[*row].to_owned();
        let mut issues: Vec<Issue> = Vec::new();
        let same = duplicates::same(self);
        let mut alike = |kind, rows: Vec<usize>, score| {
            // Each photo but the first is one too many; the evidence is the others.
            for row in &rows {
                let evidence = rows.iter().filter(|other| *other != row).map(path).collect();
                issues.push(Issue {
                    kind,
                    rows: vec![*row],
                    score,
                    proposal: String::new(),
                    evidence,
                });
            }
        };
        let of_same: HashMap<usize, usize> = same
            .iter()
            .enumerate()
            .flat_map(|(group, rows)| rows.iter().map(move |row| (*row, group)))
            .collect();
        same.into_iter().for_each(|rows| alike(IssueKind::Duplicate, rows, 0.0));
        let is_same = |a: &usize, b: &usize| of_same.get(a).is_some_and(|group| of_same.get(b) == Some(group));
        let mut pairs = around.pairs(thresholds.similarity);
        pairs.retain(|(a, b)| !is_same(a, b));
        for (rows, levels) in duplicates::near(self, &pairs, thresholds.levels).await? {
            alike(IssueKind::NearDuplicate, rows, levels);
        }
        let photos = around.photos();
        let silent: HashSet<usize> = photos.iter().flat_map(|finding| finding.rows.iter().copied()).collect();
        let found = [
            (IssueKind::Suspect, photos),
            (IssueKind::SuspectGroup, around.groups(thresholds.margin, &silent)),
            (IssueKind::Outlier, around.outliers(thresholds.deviations)),
        ];
        for (kind, findings) in found {
            issues.extend(findings.into_iter().map(
                |Finding {
                     rows,
                     score,
                     proposal,
                     evidence,
                 }| Issue {
                    kind,
                    rows,
                    score,
                    proposal,
                    evidence: evidence.iter().map(path).collect(),
                },
            ));
        }
        Ok(Issues {
            features: self.clone(),
            groups: groups.clone(),
            issues,
            others: None,
            thresholds,
        })
    }
}

impl Issues {
    /// Looks also for what of these photos is in others that they shall be apart from, such as test photos in those for training: the same
    /// features, or nearly the same picture.
    ///
    /// # Errors
    /// As [`Features::search`].
    pub async fn against(mut self, others: &Features) -> Result<Self> {
        let near = others.search(&self.features, LEAK_CANDIDATES)?;
        let pairs: Vec<(usize, usize)> = near.pairs(self.thresholds.similarity);
        let found = duplicates::between(&self.features, others, &pairs, self.thresholds.levels).await?;
        let paths = others.path_column();
        for same in found.chunk_by(|(a, ..), (b, ..)| a == b) {
            self.issues.push(Issue {
                kind: IssueKind::Leak,
                rows: vec![same[0].0],
                score: same[0].2,
                proposal: String::new(),
                evidence: same.iter().map(|(_, other, _)| paths[*other].to_owned()).collect(),
            });
        }
        self.others = Some(others.clone());
        Ok(self)
    }

    /// The photos that these were held [against](Self::against).
    pub fn others(&self) -> Option<&Features> {
        self.others.as_ref()
    }

    /// Fails if there are issues of one of these kinds.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if there are.
    pub fn refuse(&self, kinds: &[IssueKind]) -> Result<()> {
        let counts = self.counts().into_iter().filter(|(kind, _)| kinds.contains(kind));
        let found: Vec<String> = counts.map(|(kind, count)| format!("{count} {kind}")).collect();
        if found.is_empty() {
            return Ok(());
        }
        let message = format!("issues were found: {}", found.join(", "));
        Err(Error::new(
            ErrorKind::Invalid,
            Step::Input,
            &self.features.manifest().source,
            message,
        ))
    }

    /// All that was found, the kinds one after the other, of each the strongest first.
    pub fn all(&self) -> &[Issue] {
        &self.issues
    }

    /// The features that were looked at.
    pub fn features(&self) -> &Features {
        &self.features
    }

    /// The groups that were taken for not independent.
    pub fn groups(&self) -> &Groups {
        &self.groups
    }

    /// How many issues there are of each kind that there is.
    pub fn counts(&self) -> Vec<(IssueKind, usize)> {
        let count = |kind| (kind, self.issues.iter().filter(|issue| issue.kind == kind).count());
        IssueKind::ALL
            .map(count)
            .into_iter()
            .filter(|(_, count)| *count > 0)
            .collect()
    }

    /// A row a photo and issue: `path`, `label`, `issue`, `score`, `proposal`, `evidence` (list of paths).
    ///
    /// The score is, of near duplicates and leaks, the largest difference of the pictures in levels, of duplicates 0; of suspects, by how much the cosine of
    /// the other label is larger; of outliers, standard deviations: see [`Thresholds`].
    pub fn table(&self) -> DataFrame {
        let (paths, labels) = (self.features.path_column(), self.features.label_column());
        let rows: Vec<(usize, &Issue)> = self
            .issues
            .iter()
            .flat_map(|issue| issue.rows.iter().map(move |row| (*row, issue)))
            .collect();
        let text = |name: &str, of: &dyn Fn(&(usize, &Issue)) -> String| {
            Column::new(name.into(), rows.iter().map(of).collect::<Vec<_>>())
        };
        let mut evidence = ListStringChunkedBuilder::new("evidence".into(), rows.len(), 4 * rows.len());
        for (_, issue) in &rows {
            evidence.append_values_iter(issue.evidence.iter().map(String::as_str));
        }
        let columns = vec![
            text("path", &|(row, _)| paths[*row].to_owned()),
            text("label", &|(row, _)| labels[*row].to_owned()),
            text("issue", &|(_, issue)| issue.kind.as_str().to_owned()),
            Column::new(
                "score".into(),
                rows.iter().map(|(_, issue)| issue.score).collect::<Vec<_>>(),
            ),
            text("proposal", &|(_, issue)| issue.proposal.clone()),
            evidence.finish().into_column(),
        ];
        DataFrame::new_infer_height(columns).expect("columns of one length")
    }
}
