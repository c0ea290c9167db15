//! Which topics a program follows, and from where on: arguments that several programs take.

use crate::end::End;
use nlbus::{Filter, Start};

/// Topics to follow: all, unless others are given.
#[derive(Debug, Clone, clap::Args)]
pub struct Topics {
    /// Topics, or filters with '+' for one level and '#' for all that follow.
    #[arg(value_name = "FILTER", default_value = "#")]
    pub filters: Vec<Filter>,
    /// Leave out topics that match; can be given several times.
    #[arg(long, value_name = "FILTER")]
    pub exclude: Vec<Filter>,
}

/// Refuses a number to start from where several topics may match, for each counts for itself.
///
/// # Errors
/// [`End::Usage`].
pub fn check_start(start: Start, filters: &[Filter]) -> Result<(), End> {
    match (start, filters.iter().find(|filter| filter.is_wildcard())) {
        (Start::From(_), Some(filter)) => {
            let why = "a sequence number to start from needs exact topics";
            Err(End::Usage(format!("--start seq=N with '{filter}': {why}")))
        }
        _ => Ok(()),
    }
}
