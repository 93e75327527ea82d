//! Photos, and groups of photos, whose nearest others say another label; and photos that are far from everything.

use std::collections::{BTreeMap, HashSet};

use super::groups::Groups;
use super::search::{Metric, Near, Nearest, Rows, Stop};
use crate::features::Features;

/// Nearest photos of a label that speak for it.
const VOICES: usize = 3;
/// Nearest photos of the label in other groups, and of other labels, that are heard.
const OWN: usize = 10;
const OTHERS: usize = 20;
/// Photos of a group that are shown as evidence.
const EVIDENCE: usize = 3;

// What a pair of photos is to each other.
const SAME_GROUP: usize = 0;
const SAME_LABEL: usize = 1;
const OTHER_LABEL: usize = 2;

/// The nearest photos of each photo: of its label in its group, of its label in other groups, of other labels.
pub(super) struct Surroundings<'a> {
    features: &'a Features,
    groups: &'a Groups,
    labels: Vec<&'a str>,
    nearest: Vec<[Vec<Near>; 3]>,
}

/// Something that does not fit.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Finding {
    /// The photos that it is about.
    pub rows: Vec<usize>,
    pub score: f64,
    /// The label that the evidence has.
    pub proposal: String,
    pub evidence: Vec<usize>,
}

impl<'a> Surroundings<'a> {
    pub fn new(features: &'a Features, groups: &'a Groups) -> Result<Self, Stop> {
        let labels = features.label_column();
        let matrix = features.matrix().view();
        let terms = Metric::Cosine.terms(matrix)?;
        let nearest = Nearest::new(Metric::Cosine, features.len(), [VOICES, OWN, OTHERS]);
        nearest.meet_each_other(&Rows::new(matrix, 0, &terms), |i, j| {
            Some(match (labels[i] == labels[j], groups.of(i) == groups.of(j)) {
                (true, true) => SAME_GROUP,
                (true, false) => SAME_LABEL,
                (false, _) => OTHER_LABEL,
            })
        })?;
        Ok(Surroundings {
            features,
            groups,
            nearest: nearest.finish(),
            labels,
        })
    }

    /// Photos that are more similar to photos of another label than to those of their own, by the mean cosine of the three nearest of each.
    pub fn photos(&self) -> Vec<Finding> {
        let mut found: Vec<Finding> = (0..self.features.len()).filter_map(|row| self.photo(row)).collect();
        found.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.rows.cmp(&b.rows)));
        found
    }

    fn photo(&self, row: usize) -> Option<Finding> {
        let [same_group, same_label, others] = &self.nearest[row];
        let mut own: Vec<Near> = same_group.iter().chain(same_label).copied().collect();
        own.sort();
        own.truncate(VOICES);
        // A label with one photo has nothing that the photo could be compared with.
        let own = mean(&own)?;
        let mut by_label: BTreeMap<&str, Vec<Near>> = BTreeMap::new();
        for near in others {
            by_label.entry(self.labels[near.row]).or_default().push(*near);
        }
        let mut best: Option<(f64, &str, Vec<Near>)> = None;
        for (label, mut voices) in by_label {
            voices.truncate(VOICES);
            let Some(other) = mean(&voices).filter(|_| voices.len() == VOICES) else {
                continue;
            };
            if best.as_ref().is_none_or(|(best, ..)| other > *best) {
                best = Some((other, label, voices));
            }
        }
        let (other, label, voices) = best?;
        (other > own).then(|| Finding {
            rows: vec![row],
            score: other - own,
            proposal: label.to_owned(),
            evidence: voices.into_iter().map(|near| near.row).collect(),
        })
    }

    /// Groups that are more similar to photos of another label than to those of their own in other groups: by the mean, over the group's photos,
    /// of the cosine of the nearest. Only those by at least `margin`. Photos that are suspects themselves, `silent`, are no evidence: one that is
    /// filed elsewhere would speak for that label in its own group.
    pub fn groups(&self, margin: f64, silent: &HashSet<usize>) -> Vec<Finding> {
        let mut found: Vec<Finding> = self
            .groups
            .rows()
            .into_iter()
            .filter_map(|rows| self.group(rows, margin, silent))
            .collect();
        found.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.rows.cmp(&b.rows)));
        found
    }

    fn group(&self, rows: Vec<usize>, margin: f64, silent: &HashSet<usize>) -> Option<Finding> {
        let label = self.labels[*rows.first()?];
        let is_one_label = rows.iter().all(|row| self.labels[*row] == label);
        if rows.len() < VOICES || !is_one_label {
            return None;
        }
        let heard = |near: &&Near| !silent.contains(&near.row);
        let first = |row: &usize| {
            let own = &self.nearest[*row][SAME_LABEL];
            // If all that were kept are silent, others may be as near as the last of them.
            let last = own.last().filter(|_| own.len() == OWN);
            own.iter().find(heard).or(last).map(|near| near.score)
        };
        let own = rows.iter().map(first).sum::<Option<f64>>()? / rows.len() as f64;
        // Of a label that is not among the nearest others of a photo, the farthest of these stands for it.
        let mut by_label: BTreeMap<&str, (f64, Vec<Near>)> = BTreeMap::new();
        let mut floor = 0.0;
        for row in &rows {
            let others = &self.nearest[*row][OTHER_LABEL];
            let last = others.last()?.score;
            floor += last;
            let mut seen: Vec<&str> = Vec::new();
            for near in others.iter().filter(heard) {
                let label = self.labels[near.row];
                if !seen.contains(&label) {
                    seen.push(label);
                    let (more, nearest) = by_label.entry(label).or_default();
                    *more += near.score - last;
                    nearest.push(*near);
                }
            }
        }
        let best = by_label.into_iter().max_by(|(_, (a, _)), (_, (b, _))| a.total_cmp(b));
        let (proposal, (more, mut nearest)) = best?;
        let score = (floor + more) / rows.len() as f64 - own;
        nearest.sort();
        nearest.dedup_by_key(|near| near.row);
        nearest.truncate(EVIDENCE);
        (score >= margin).then(|| Finding {
            rows,
            score,
            proposal: proposal.to_owned(),
            evidence: nearest.into_iter().map(|near| near.row).collect(),
        })
    }

    /// Photos that are far from all others. The score is how many standard deviations the logarithm of the distance (one less the mean
    /// cosine of the three nearest photos) lies above the median of all; both are taken from quartiles, so that outliers do not
    /// move them. Only those with a score of at least `deviations`.
    pub fn outliers(&self, deviations: f64) -> Vec<Finding> {
        let far = |row: usize| {
            let mut near: Vec<Near> = self.nearest[row].iter().flatten().copied().collect();
            near.sort();
            near.truncate(VOICES);
            mean(&near).map(|similarity| ((1.0 - similarity).max(1e-9).ln(), near))
        };
        let all: Vec<Option<(f64, Vec<Near>)>> = (0..self.features.len()).map(far).collect();
        let mut sorted: Vec<f64> = all.iter().flatten().map(|(far, _)| *far).collect();
        sorted.sort_by(f64::total_cmp);
        let quantile = |share: f64| sorted[(share * (sorted.len() - 1) as f64) as usize];
        if sorted.is_empty() || quantile(0.75) <= quantile(0.25) {
            return Vec::new();
        }
        // The quartiles of a normal distribution lie 1.349 standard deviations apart.
        let deviation = (quantile(0.75) - quantile(0.25)) / 1.349;
        let finding = |(row, far): (usize, Option<(f64, Vec<Near>)>)| {
            let (far, near) = far?;
            let score = (far - quantile(0.5)) / deviation;
            (score >= deviations).then(|| Finding {
                rows: vec![row],
                score,
                proposal: String::new(),
                evidence: near.into_iter().map(|near| near.row).collect(),
            })
        };
        let mut found: Vec<Finding> = all.into_iter().enumerate().filter_map(finding).collect();
        found.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.rows.cmp(&b.rows)));
        found
    }

    /// Pairs of photos that may be the same picture: the nearest others of each, whose cosine is at least `similarity`, of other groups, or of
    /// the same features. The lower row first, each once.
    pub fn pairs(&self, similarity: f64) -> Vec<(usize, usize)> {
        let mut pairs: Vec<(usize, usize)> = Vec::new();
        for (row, nearest) in self.nearest.iter().enumerate() {
            for near in nearest.iter().flatten().filter(|near| near.score >= similarity) {
                pairs.push((row.min(near.row), row.max(near.row)));
            }
        }
        pairs.sort_unstable();
        pairs.dedup();
        let matrix = self.features.matrix();
        pairs.retain(|&(a, b)| self.groups.of(a) != self.groups.of(b) || matrix.row(a) == matrix.row(b));
        pairs
    }
}

fn mean(near: &[Near]) -> Option<f64> {
    (!near.is_empty()).then(|| near.iter().map(|near| near.score).sum::<f64>() / near.len() as f64)
}
