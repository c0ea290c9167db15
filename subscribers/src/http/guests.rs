//! Who is connected. There is room for so many, and for so many of one address; the oldest that isn't being answered makes
//! room for the next, so that clients that say nothing, or read nothing, hold up nobody.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Connections at a time.
const ROOM: usize = 256;

/// Of one address.
const ROOM_OF_ONE: usize = 64;

#[derive(Debug)]
struct Guest {
    address: IpAddr,
    /// It has asked and waits for the page, which is no fault of its own.
    waits: bool,
    leave: Arc<Notify>,
}

/// All that are connected, in the order in which they came.
#[derive(Debug, Default)]
pub struct Guests {
    next: u64,
    guests: BTreeMap<u64, Guest>,
}

/// A place among them, which is given back when it is dropped.
#[derive(Debug)]
pub struct Place {
    guests: Arc<Mutex<Guests>>,
    id: u64,
    leave: Arc<Notify>,
}

fn lock(guests: &Mutex<Guests>) -> MutexGuard<'_, Guests> {
    guests.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Guests {
    /// A place for who comes from this address. `None` where all places are of those that are being answered.
    pub fn enter(guests: &Arc<Mutex<Guests>>, address: IpAddr) -> Option<Place> {
        // The IPv4 addresses of a socket for both families are their own.
        let address = address.to_canonical();
        let mut all = lock(guests);
        if all.guests.values().filter(|guest| guest.address == address).count() >= ROOM_OF_ONE {
            all.send_away(|guest| guest.address == address)?;
        }
        if all.guests.len() >= ROOM {
            all.send_away(|_| true)?;
        }
        let (id, leave) = (all.next, Arc::new(Notify::new()));
        all.next += 1;
        all.guests.insert(id, Guest { address, waits: false, leave: Arc::clone(&leave) });
        Some(Place { guests: Arc::clone(guests), id, leave })
    }

    /// Ends the oldest of those that say nothing or read nothing.
    fn send_away(&mut self, which: impl Fn(&Guest) -> bool) -> Option<()> {
        let (id, _) = self.guests.iter().find(|(_, guest)| !guest.waits && which(guest))?;
        let id = *id;
        self.guests.remove(&id)?.leave.notify_one();
        Some(())
    }
}

impl Place {
    /// Waits until the place is needed by another one.
    pub async fn is_needed(&self) {
        self.leave.notified().await;
    }

    /// Whether it has asked and waits for the page.
    pub fn waits(&self, waits: bool) {
        if let Some(guest) = lock(&self.guests).guests.get_mut(&self.id) {
            guest.waits = waits;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        lock(&self.guests).guests.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_needed(place: &Place) -> bool {
        !lock(&place.guests).guests.contains_key(&place.id)
    }

    fn address(n: usize) -> IpAddr {
        IpAddr::from([192, 0, 2, (n / ROOM_OF_ONE) as u8])
    }

    #[test]
    fn the_oldest_that_waits_for_nothing_makes_room() {
        let guests = Arc::default();
        let places: Vec<_> = (0..ROOM).map(|n| Guests::enter(&guests, address(n)).unwrap()).collect();
        places[0].waits(true);
        let _next = Guests::enter(&guests, address(ROOM)).unwrap();
        places[0].waits(false);
        places[2].waits(true);
        assert!(is_needed(&places[1]) && !is_needed(&places[0]));
        let _other = Guests::enter(&guests, address(ROOM)).unwrap();
        assert!(is_needed(&places[0]) && !is_needed(&places[2]));
    }

    #[test]
    fn who_is_being_answered_is_not_sent_away() {
        let guests = Arc::default();
        let places: Vec<_> = (0..ROOM).map(|n| Guests::enter(&guests, address(n)).unwrap()).collect();
        places.iter().for_each(|place| place.waits(true));
        assert!(Guests::enter(&guests, address(ROOM)).is_none());
        drop(places);
        assert!(Guests::enter(&guests, address(ROOM)).is_some());
    }

    #[test]
    fn one_address_takes_no_more_than_its_own_room() {
        let guests = Arc::default();
        let other = Guests::enter(&guests, address(ROOM)).unwrap();
        let places: Vec<_> = (0..=ROOM_OF_ONE).map(|_| Guests::enter(&guests, address(0)).unwrap()).collect();
        assert!(is_needed(&places[0]) && !is_needed(&places[1]) && !is_needed(&other));
        let mapped = Guests::enter(&guests, "::ffff:192.0.2.0".parse().unwrap()).unwrap();
        assert!(is_needed(&places[1]) && !is_needed(&mapped));
    }
}
