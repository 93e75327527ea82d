//! From features to "which fruit is this": splits, a classifier, and an evaluation that can be trusted.
//!
//! Photos of one group, such as the frames of a video, are near twins. Whoever tests with frames whose neighbours were for training measures how
//! well they are remembered: on 91 kinds of fruit, 99.8 % of photos are right when they are split by chance, and 72 % when whole videos are
//! left out. [`Features::recognition`](crate::Features::recognition) measures both.

mod evaluation;
mod logistic;
mod splits;

pub use evaluation::{Evaluation, Recognition};
pub use logistic::{LogisticParams, LogisticRegression, LogisticValidParams};
pub use splits::{Split, Splits};
