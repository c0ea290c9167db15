//! How all that is there is listed: one request after the other, each with a number of its own, by which its answers are
//! told from those of a request before it. No I/O and no clock: what to ask next, or how long to wait, comes out.

use std::time::Duration;

/// What can be listed, in the order in which it is: names of links are needed for the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listing {
    /// Network links.
    Links,
    /// Addresses of links.
    Addresses,
    /// Routes.
    Routes,
}

/// A request to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// What is to be listed.
    pub listing: Listing,
    /// The sequence number that the request must have: its answers have it, too.
    pub seq: u32,
}

/// What follows when a request was answered to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Make this request.
    Ask(Request),
    /// All was listed.
    Complete,
    /// What was listed may have holes. List all of it again, after this time.
    Again(Duration),
    /// As `Again`; but all was asked for, so that what has holes is the best that can be had for now.
    Torn(Duration),
}

/// The wait before a listing is repeated, which doubles each time; and no more than the last.
const WAITS: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(10));

/// Listings with holes in a row, after which the next one goes on to its end: where links come and go all the time, each
/// one has.
const ENOUGH: u32 = 4;

/// The listing that is under way.
#[derive(Debug, Default)]
pub struct Listings {
    /// Of the newest request.
    seq: u32,
    asked: Option<Listing>,
    /// It may have holes.
    torn: bool,
    /// How often in a row it had.
    failures: u32,
}

impl Listings {
    /// Begins anew. Not while one is under way: the kernel runs one dump a socket and refuses a second one (`EBUSY`,
    /// `__netlink_dump_start`).
    pub fn begin(&mut self) -> Request {
        self.torn = false;
        self.ask(Listing::Links)
    }

    fn ask(&mut self, listing: Listing) -> Request {
        self.asked = Some(listing);
        // What the kernel says unasked has 0.
        self.seq = self.seq.checked_add(1).unwrap_or(1);
        Request { listing, seq: self.seq }
    }

    /// Whether a request waits for the end of its answer.
    pub fn is_under_way(&self) -> bool {
        self.asked.is_some()
    }

    /// Whether answers with this number are to the request that is under way.
    pub fn is_asked(&self, seq: u32) -> bool {
        self.asked.is_some() && self.seq == seq
    }

    /// What is listed may have holes. It is heard out all the same: until then, nothing else can be asked.
    pub fn tear(&mut self) {
        self.torn = true;
    }

    /// The answer ended, or the request was refused.
    pub fn ended(&mut self, refused: bool) -> Step {
        self.torn |= refused;
        let next = match self.asked.take() {
            Some(Listing::Links) => Some(Listing::Addresses),
            Some(Listing::Addresses) => Some(Listing::Routes),
            Some(Listing::Routes) | None => None,
        };
        match next {
            _ if refused => Step::Again(self.failed()),
            Some(_) if self.torn && self.failures < ENOUGH => Step::Again(self.failed()),
            Some(listing) => Step::Ask(self.ask(listing)),
            None if self.torn => Step::Torn(self.failed()),
            None => {
                self.failures = 0;
                Step::Complete
            }
        }
    }

    fn failed(&mut self) -> Duration {
        let wait = WAITS.0.saturating_mul(1 << self.failures.min(16)).min(WAITS.1);
        self.failures = self.failures.saturating_add(1);
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_request_has_a_number_of_its_own() {
        let mut listings = Listings::default();
        let first = listings.begin();
        assert_eq!(first.listing, Listing::Links);
        let Step::Ask(second) = listings.ended(false) else { panic!("{listings:?}") };
        assert!(listings.is_asked(second.seq) && !listings.is_asked(first.seq) && !listings.is_asked(0));
        let Step::Ask(third) = listings.ended(false) else { panic!("{listings:?}") };
        assert_eq!((second.listing, third.listing), (Listing::Addresses, Listing::Routes));
        assert_eq!(listings.ended(false), Step::Complete);
        assert!(!listings.is_under_way() && !listings.is_asked(third.seq));
    }

    #[test]
    fn the_number_0_is_the_kernels_own() {
        let mut listings = Listings { seq: u32::MAX, ..Listings::default() };
        assert_eq!(listings.begin().seq, 1);
    }

    #[test]
    fn a_listing_that_never_succeeds_is_asked_for_less_and_less() {
        let mut listings = Listings::default();
        let mut waits = Vec::new();
        for _ in 0..40 {
            listings.begin();
            let Step::Again(wait) = listings.ended(true) else { panic!("{listings:?}") };
            waits.push(wait);
        }
        assert!(waits.is_sorted() && waits[0] == WAITS.0 && waits[39] == WAITS.1, "{waits:?}");
        // Once it does, the next one is not put off.
        listings.begin();
        while listings.ended(false) != Step::Complete {}
        listings.begin();
        listings.tear();
        assert_eq!(listings.ended(false), Step::Again(WAITS.0));
    }

    #[test]
    fn a_listing_that_always_has_holes_is_heard_to_its_end_all_the_same() {
        let mut listings = Listings::default();
        for _ in 0..ENOUGH {
            listings.begin();
            listings.tear();
            assert!(matches!(listings.ended(false), Step::Again(_)), "{listings:?}");
        }
        listings.begin();
        listings.tear();
        assert!(matches!(listings.ended(false), Step::Ask(_)), "{listings:?}");
        assert!(matches!(listings.ended(false), Step::Ask(_)), "{listings:?}");
        assert!(matches!(listings.ended(false), Step::Torn(_)), "{listings:?}");
    }
}
