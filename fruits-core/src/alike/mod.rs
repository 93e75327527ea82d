//! Which photos are alike: groups that belong together, neighbours, and what may be wrong with a collection.

mod duplicates;
pub(crate) mod exact;
mod groups;
mod issues;
mod neighbours;
pub(crate) mod product;
mod search;
mod suspects;
#[cfg(test)]
mod tests;
mod thresholds;

pub use groups::Groups;
pub use issues::{Issue, IssueKind, Issues};
pub use neighbours::Neighbours;
pub use search::{Metric, Near, nearest, nearest_others};
pub use thresholds::Thresholds;
