//! Whether the time of day, which events carry, can be right.

use super::finding::Finding;
use super::look::as_root;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The beginning of 2025: no build of this is older.
const BUILT_AFTER: Duration = Duration::from_secs(1_735_689_600);

pub fn findings(now: SystemTime) -> Vec<Finding> {
    let right = now.duration_since(UNIX_EPOCH).is_ok_and(|time| time >= BUILT_AFTER);
    let clock = match right {
        true => Finding::ok("clock", "the time of day, which events carry, is later than this program"),
        false => Finding::warning(
            "clock",
            "the time of day, which events carry, is earlier than this program",
            as_root("timedatectl set-ntp true"),
        ),
    };
    vec![clock]
}

#[cfg(test)]
mod tests {
    use super::super::finding::Status;
    use super::*;

    #[test]
    fn a_clock_that_was_never_set_is_told() {
        assert_eq!(findings(UNIX_EPOCH)[0].status, Status::Warning);
        assert_eq!(findings(UNIX_EPOCH + BUILT_AFTER)[0].status, Status::Ok);
    }
}
