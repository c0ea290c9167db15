//! Runs during which others used the machine are repeated, where there is time for that.

use crate::results::{FOREIGN, Run};
use crate::roles::Pace;
use crate::run::run;
use crate::system::{Cell, System};

/// How many runs there were, and how many more of them there may be.
#[derive(Debug)]
pub struct Repeats {
    /// The part of all runs that may be repeats.
    share: f64,
    runs: usize,
    repeated: usize,
}

impl Repeats {
    pub fn new(share: f64) -> Repeats {
        Repeats { share, runs: 0, repeated: 0 }
    }

    /// A run, or the better of two.
    pub fn run(&mut self, system: &dyn System, cell: &Cell, pace: Pace) -> Run {
        let done = self.once(system, cell, pace);
        let may_repeat = (self.repeated + 1) as f64 <= self.share * (self.runs as f64).max(40.0);
        if !done.contaminated || done.lost.is_some() || !may_repeat {
            return done;
        }
        self.repeated += 1;
        let again = self.once(system, cell, pace);
        if again.lost.is_some() || again.foreign < done.foreign { again } else { done }
    }

    fn once(&mut self, system: &dyn System, cell: &Cell, pace: Pace) -> Run {
        self.runs += 1;
        let mut done = run(system, cell, pace).unwrap_or_else(|error| Run::lost(format!("{error:#}")));
        done.contaminated = done.foreign > FOREIGN;
        done
    }
}
