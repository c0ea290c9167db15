//! A million events at once, with a history that holds them all: for the user broker in `tests/suite/loss.rs`.

use crate::kernel::{KernelLog, reload};
use nlbus_tests::{Fixture, burst, cases};

cases![a_million_events_all_arrive_where_history_holds_them module_only alone];

fn a_million_events_all_arrive_where_history_holds_them() {
    const HISTORY: u64 = 400_000_000;
    reload(&format!("history={HISTORY}"));
    let mut log = KernelLog::from_now();
    let account = burst(&Fixture::new(), HISTORY);
    assert!(account.iter().all(|(lost, _)| *lost == 0), "{account:?}");
    assert!(account.iter().any(|(_, overruns)| *overruns > 0), "no socket was overrun: {account:?}");
    reload("");
    assert_eq!(log.loud(), Vec::<String>::new());
}
