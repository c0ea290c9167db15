//! Clients and their wills: who is there is told, as the driver would tell of the kernel's list.

use super::*;
use crate::wire::ClientsAnnouncement;

fn will(topic: &str, payload: &[u8]) -> Vec<u8> {
    let mut datagram = Vec::new();
    WillRequest::Set { topic, content: NLBUS_CONTENT_TEXT, payload }.push(&mut datagram, 9);
    datagram
}

fn clear() -> Vec<u8> {
    let mut datagram = Vec::new();
    WillRequest::Clear.push(&mut datagram, 9);
    datagram
}

impl Bus {
    fn looking() -> Bus {
        let mut bus = Bus::quiet();
        bus.core.clients.can_look = true;
        bus
    }

    fn leaves(&mut self, port: u32, datagram: &[u8]) -> Result<(), Errno> {
        let answers = self.ask_as(port, datagram);
        assert_eq!(answers.len(), 1);
        read_answer(&answers[0]).result.map(drop).map_err(|refusal| refusal.errno)
    }

    /// The list has these; `there` are those who are there though it lacks them.
    fn look(&mut self, list: &[(u32, u64)], there: &[u32]) {
        let list: HashMap<u32, u64> = list.iter().copied().collect();
        self.drive(|core, now, _| core.looked(&list, |port| there.contains(&port), now));
    }

    fn bury(&mut self, drained: bool) -> Vec<(String, u32, Vec<u8>)> {
        self.drive(|core, now, mut out| core.bury(drained, now, &mut out));
        self.flush();
        let wills = self.events().into_iter().filter(|event| event.header.flags & NLBUS_EVENT_F_WILL != 0);
        wills.map(|event| (event.topic, event.header.portid, event.payload)).collect()
    }
}

#[test]
fn who_is_not_there_any_more_is_buried_once_all_is_taken() {
    let mut bus = Bus::looking();
    bus.leaves(50, &will("w/50", b"a")).unwrap();
    bus.leaves(51, &will("w/51", b"b")).unwrap();
    assert_eq!(bus.core.info().counters.wills, 2);
    bus.look(&[(50, 7), (51, 8), (99, 9)], &[]);
    assert_eq!(bus.bury(true), []);
    bus.look(&[(51, 8)], &[]);
    assert!(bus.core.clients.any_dying());
    assert_eq!(bus.bury(false), [], "what it sent may still wait");
    assert_eq!(bus.bury(true), [("w/50".into(), 50, b"a".to_vec())]);
    assert_eq!((bus.bury(true), bus.core.info().counters.wills), (vec![], 1));
    // Where others send without end, it waits for a second and no longer.
    bus.look(&[], &[]);
    bus.ms += 999;
    assert_eq!(bus.bury(false), []);
    bus.ms += 1;
    assert_eq!(bus.bury(false), [("w/51".into(), 51, b"b".to_vec())]);
}

#[test]
fn a_list_that_lacks_somebody_buries_nobody() {
    let mut bus = Bus::looking();
    bus.leaves(50, &will("w/50", b"a")).unwrap();
    for _ in 0..3 {
        bus.look(&[], &[50]);
        assert!(!bus.core.clients.any_dying());
    }
    bus.look(&[(50, 7)], &[]);
    bus.look(&[], &[50]);
    assert!(!bus.core.clients.any_dying());
    // Another socket has its port id.
    bus.look(&[(50, 8)], &[]);
    assert_eq!(bus.bury(true).len(), 1);
}

#[test]
fn what_is_taken_back_or_has_no_place_is_not_published() {
    let mut bus = Bus::looking();
    bus.leaves(50, &clear()).unwrap();
    bus.leaves(50, &will("w", b"a")).unwrap();
    bus.leaves(50, &will("w", b"b")).unwrap();
    assert_eq!(bus.core.info().counters.wills, 1);
    bus.leaves(50, &clear()).unwrap();
    bus.leaves(51, &will("w", b"c")).unwrap();
    // The bus closes meanwhile.
    bus.look(&[], &[]);
    bus.drive(|core, now, mut out| core.close(now, &mut out));
    assert_eq!((bus.bury(true), bus.core.info().counters.wills), (vec![], 0));
}

#[test]
fn without_the_kernels_list_there_are_no_wills() {
    let mut bus = Bus::quiet();
    assert_eq!(bus.leaves(50, &will("w", b"a")), Err(Errno::EOPNOTSUPP));
    assert_eq!(bus.leaves(50, &clear()), Ok(()));
    assert_eq!(bus.core.next_deadline(), None);
}

#[test]
fn comings_and_goings_share_events_that_add_up() {
    let mut bus = Bus::looking();
    let mut info = Vec::new();
    push_info_request(&mut info, 4);
    let mut said = Vec::new();
    let mut hear = |bus: &mut Bus| {
        bus.flush();
        let events = bus.events().into_iter().filter(|event| event.topic == NLBUS_SYS_CLIENTS);
        said.extend(events.map(|event| ClientsAnnouncement::read(&event.payload).unwrap()));
        said.len()
    };
    let send = |bus: &mut Bus, port: u32| {
        let sender = Sender { port, pid: 1, uid: 2, gid: 3, to: Endpoint::Request };
        bus.drive(|core, now, mut out| core.accept(&mut info.clone(), sender, now, &mut out));
    };
    send(&mut bus, 60);
    assert_eq!(hear(&mut bus), 1);
    (100..700).for_each(|port| send(&mut bus, port));
    assert_eq!(hear(&mut bus), 1, "not before 20 ms have passed");
    bus.ms += 20;
    assert_eq!(hear(&mut bus), 4);
    bus.look(&[(60, 1)], &[]);
    bus.ms += 20;
    assert_eq!(hear(&mut bus), 7);
    let counts: Vec<_> = said.iter().map(|said| (said.clients.len(), said.joined, said.left)).collect();
    let came = [(1, 1, 0), (256, 257, 0), (256, 513, 0), (88, 601, 0)];
    let went = [(256, 601, 256), (256, 601, 512), (88, 601, 600)];
    assert_eq!(counts, [&came[..], &went[..]].concat());
    assert_eq!(bus.core.info().counters.clients, 1);
}
