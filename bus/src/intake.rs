//! What a socket gave, on its way to the client. With the feature `faults`, for tests, things happen to it on the way
//! that sockets do under load, and worse; without, it is a straight way.

use bytes::Bytes;
use std::time::Instant;

#[cfg(any(test, feature = "faults"))]
pub(crate) use faulty::Faults;

/// One socket's way to the client.
#[derive(Debug, Default)]
pub(crate) struct Intake {
    #[cfg(any(test, feature = "faults"))]
    faults: Option<Faults>,
}

impl Intake {
    /// A way on which things happen.
    #[cfg(any(test, feature = "faults"))]
    pub(crate) fn with(faults: Faults) -> Intake {
        Intake { faults: Some(faults) }
    }

    /// A datagram came, cut or whole: `arrive` gets what arrives now.
    pub(crate) fn take(&mut self, datagram: Bytes, cut: bool, now: Instant, mut arrive: impl FnMut(Bytes, bool)) {
        #[cfg(any(test, feature = "faults"))]
        if let Some(faults) = &mut self.faults {
            faults.take(datagram, cut, now);
            return faults.release(now, arrive);
        }
        let _ = now;
        arrive(datagram, cut);
    }

    /// Time has passed: `arrive` gets what arrives now.
    pub(crate) fn pass(&mut self, now: Instant, arrive: impl FnMut(Bytes, bool)) {
        #[cfg(any(test, feature = "faults"))]
        if let Some(faults) = &mut self.faults {
            faults.release(now, arrive);
        }
        #[cfg(not(any(test, feature = "faults")))]
        let _ = (now, arrive);
    }

    /// When [`pass`](Intake::pass) wants to be called.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        #[cfg(any(test, feature = "faults"))]
        return self.faults.as_ref().and_then(Faults::deadline);
        #[cfg(not(any(test, feature = "faults")))]
        None
    }

    /// Datagrams that were dropped on the way, which a socket would have counted.
    pub(crate) fn drops(&self) -> u32 {
        #[cfg(any(test, feature = "faults"))]
        return self.faults.as_ref().map_or(0, Faults::drops);
        #[cfg(not(any(test, feature = "faults")))]
        0
    }

    /// From now on nothing more happens on the way.
    #[cfg(test)]
    pub(crate) fn calm(&mut self) {
        if let Some(faults) = &mut self.faults {
            faults.calm();
        }
    }

    /// Another socket: what was on its way from the old one doesn't arrive.
    pub(crate) fn clear(&mut self) {
        #[cfg(any(test, feature = "faults"))]
        if let Some(faults) = &mut self.faults {
            faults.clear();
        }
    }
}

#[cfg(any(test, feature = "faults"))]
mod faulty {
    use crate::wire::Messages;
    use bytes::Bytes;
    use fastrand::Rng;
    use std::time::{Duration, Instant};

    /// Of 100 datagrams so many are dropped, arrive late (and out of order), arrive cut and marked as such, or cut
    /// behind one of their messages, unmarked.
    const RATES: [u32; 4] = [6, 8, 3, 3];

    /// How late at most.
    const LATE: Duration = Duration::from_millis(300);

    /// What happens to datagrams: the same to the same ones for the same seed.
    #[derive(Debug)]
    pub(crate) struct Faults {
        random: Rng,
        drops: u32,
        calm: bool,
        /// What has yet to arrive, and when.
        held: Vec<(Instant, Bytes, bool)>,
    }

    impl Faults {
        pub(crate) fn new(seed: u64) -> Faults {
            Faults { random: Rng::with_seed(seed), drops: 0, calm: false, held: Vec::new() }
        }

        pub(super) fn take(&mut self, datagram: Bytes, cut: bool, now: Instant) {
            let fate = if self.calm { 100 } else { self.random.u32(..100) };
            let mut sum = 0;
            let fault = RATES.iter().position(|rate| {
                sum += rate;
                fate < sum
            });
            let held = match fault {
                Some(0) => {
                    self.drops = self.drops.wrapping_add(1);
                    return;
                }
                Some(1) => (now + LATE.mul_f64(self.random.f64()), datagram, cut),
                Some(2) => (now, datagram.slice(..self.random.usize(..datagram.len().max(1))), true),
                Some(3) => {
                    let ends: Vec<usize> = Messages::new(&datagram).flatten().map(|message| message.offset).collect();
                    // Not before the first message: nothing at all would be no datagram.
                    let end = self.random.choice(ends).filter(|end| *end > 0).unwrap_or(datagram.len());
                    (now, datagram.slice(..end), cut)
                }
                _ => (now, datagram, cut),
            };
            self.held.push(held);
        }

        pub(super) fn release(&mut self, now: Instant, mut arrive: impl FnMut(Bytes, bool)) {
            for (_, datagram, cut) in self.held.extract_if(.., |(due, ..)| *due <= now) {
                arrive(datagram, cut);
            }
        }

        pub(super) fn deadline(&self) -> Option<Instant> {
            self.held.iter().map(|(due, ..)| *due).min()
        }

        pub(super) fn drops(&self) -> u32 {
            self.drops
        }

        #[cfg(test)]
        pub(super) fn calm(&mut self) {
            self.calm = true;
        }

        pub(super) fn clear(&mut self) {
            self.held.clear();
            self.drops = 0;
        }
    }
}
