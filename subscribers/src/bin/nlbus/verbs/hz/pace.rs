//! How often a topic's events come.

use std::collections::VecDeque;

/// The times of a topic's last events.
#[derive(Debug)]
pub struct Pace {
    window: usize,
    times: VecDeque<u64>,
    /// Events since the last figures, and those lost since the beginning.
    new: u64,
    lost: u64,
}

/// What they come to. Of intervals only where there are two events at least.
#[derive(Debug, Default, PartialEq)]
pub struct Figures {
    /// Events a second, on average.
    pub rate: Option<f64>,
    /// The shortest time between two of them, in nanoseconds.
    pub min_ns: Option<u64>,
    /// The longest.
    pub max_ns: Option<u64>,
    /// The standard deviation of these times, of all of them and not of a sample.
    pub stddev_ns: Option<u64>,
    /// How many events that is of.
    pub window: usize,
    /// How many came since the last figures.
    pub new: u64,
    /// How many were lost since the beginning.
    pub lost: u64,
}

impl Pace {
    /// Of this many events.
    pub fn new(window: usize) -> Pace {
        Pace { window, times: VecDeque::new(), new: 0, lost: 0 }
    }

    /// One came at this time, in nanoseconds.
    pub fn event(&mut self, time_ns: u64) {
        self.times.push_back(time_ns);
        if self.times.len() > self.window {
            self.times.pop_front();
        }
        self.new += 1;
    }

    /// Some are missing: the time that they leave is none between two events.
    pub fn lost(&mut self, events: u64) {
        self.lost = self.lost.saturating_add(events);
        self.times.clear();
    }

    /// The figures of now.
    pub fn figures(&mut self) -> Figures {
        let (window, new, lost) = (self.times.len(), std::mem::take(&mut self.new), self.lost);
        let mut figures = Figures { window, new, lost, ..Figures::default() };
        let count = window.saturating_sub(1) as f64;
        if let (Some(first), Some(last), true) = (self.times.front(), self.times.back(), window > 1) {
            let gaps = || self.times.iter().zip(self.times.iter().skip(1)).map(|(a, b)| b.saturating_sub(*a));
            let span = last.saturating_sub(*first) as f64;
            let mean = span / count;
            let variance = gaps().map(|gap| (gap as f64 - mean).powi(2)).sum::<f64>() / count;
            // Events that were numbered in one go have one time.
            figures.rate = (span > 0.0).then(|| count / span * 1e9);
            (figures.min_ns, figures.max_ns) = (gaps().min(), gaps().max());
            figures.stddev_ns = Some(variance.sqrt().round() as u64);
        }
        figures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(times: &[u64], window: usize) -> Figures {
        let mut pace = Pace::new(window);
        times.iter().for_each(|time| pace.event(*time));
        pace.figures()
    }

    #[test]
    fn figures_are_of_the_times_between_events() {
        let seen = figures(&[0, 100_000_000, 300_000_000, 600_000_000], 10);
        assert_eq!((seen.rate, seen.min_ns, seen.max_ns), (Some(5.0), Some(100_000_000), Some(300_000_000)));
        assert_eq!((seen.stddev_ns, seen.window, seen.new), (Some(81_649_658), 4, 4));
    }

    #[test]
    fn only_the_window_counts() {
        let seen = figures(&[0, 1, 2, 1_000_000_002, 2_000_000_002], 3);
        assert_eq!((seen.rate, seen.min_ns, seen.stddev_ns, seen.window), (Some(1.0), Some(1_000_000_000), Some(0), 3));
    }

    #[test]
    fn one_event_has_no_rate_and_events_of_one_time_neither() {
        assert_eq!(figures(&[5], 10), Figures { window: 1, new: 1, ..Figures::default() });
        let seen = figures(&[5, 5, 5], 10);
        assert_eq!((seen.rate, seen.min_ns, seen.max_ns), (None, Some(0), Some(0)));
        assert_eq!(figures(&[], 10), Figures::default());
    }

    #[test]
    fn a_loss_begins_the_window_anew() {
        let mut pace = Pace::new(10);
        pace.event(0);
        pace.lost(5);
        pace.event(1_000);
        pace.event(1_010);
        let seen = pace.figures();
        assert_eq!((seen.max_ns, seen.lost, seen.new, seen.window), (Some(10), 5, 3, 2));
        assert_eq!((pace.figures().new, pace.figures().lost), (0, 5));
    }
}
