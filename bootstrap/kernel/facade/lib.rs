//! What notebook cells know as `fruits_core`.
//!
//! Every cell is a library of its own. Linked statically, each would carry its own copy of all statics, and a value made in one
//! cell could not use the tokio runtime of another. As one dynamic library, there is one copy; cells link faster, too.

pub use fruits_core::*;
pub use tokio;
