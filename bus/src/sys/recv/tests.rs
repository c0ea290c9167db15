use super::*;
use bytes::buf::{Limit, UninitSlice};

fn pair() -> (NetlinkSocket, u32, NetlinkSocket, u32) {
    let mut to = NetlinkSocket::open(libc::NETLINK_USERSOCK as u32).unwrap();
    let mut from = NetlinkSocket::open(libc::NETLINK_USERSOCK as u32).unwrap();
    let (to_port, from_port) = (to.bind(0).unwrap(), from.bind(0).unwrap());
    (to, to_port, from, from_port)
}

#[test]
fn datagrams_keep_order_sender_and_bytes() {
    let (to, to_port, from, from_port) = pair();
    to.set_pass_credentials().unwrap();
    let mut batch = RecvBatch::<Vec<u8>>::new(4, 256);
    assert_eq!(batch.receive(&to).unwrap(), 0);
    // Three rounds, so that a length which a call left behind would show in the next.
    for round in 0u8..3 {
        for at in 0u8..6 {
            from.send_to(&vec![at; usize::from(at) + 1], to_port, 0, true).unwrap();
        }
        let mut seen = Vec::new();
        while batch.receive(&to).unwrap() > 0 {
            let datagrams = batch.iter_mut();
            seen.extend(datagrams.map(|(datagram, bytes)| (bytes.clone(), datagram.port, datagram.credentials)));
        }
        let credentials = Some(Credentials {
            pid: std::process::id(),
            uid: nix::unistd::getuid().as_raw(),
            gid: nix::unistd::getgid().as_raw(),
        });
        let want: Vec<_> = (0u8..6).map(|at| (vec![at; usize::from(at) + 1], from_port, credentials)).collect();
        assert_eq!(seen, want, "round {round}");
    }
}

#[test]
fn few_slots_are_offered_until_they_are_filled() {
    let (to, to_port, from, _) = pair();
    let mut batch = RecvBatch::<Vec<u8>>::new(16, 8).few_first(2);
    // What waits, what the next call takes of it, and whether it knows that there is no more.
    for (waiting, taken, drained) in
        [(9, 2, false), (0, 7, true), (3, 3, true), (2, 2, true), (2, 2, false), (0, 0, true)]
    {
        for _ in 0..waiting {
            from.send_to(&[1], to_port, 0, true).unwrap();
        }
        let received = batch.receive(&to).unwrap();
        assert_eq!((received, batch.is_drained()), (taken, drained), "{waiting} came");
    }
}

#[test]
fn as_many_are_taken_as_make_about_so_many_bytes() {
    let (to, to_port, from, _) = pair();
    let mut batch = RecvBatch::<Vec<u8>>::new(16, 8).few_first(2).about(24);
    for len in [[4; 2].as_slice(), &[8; 6], &[1; 16]].concat() {
        from.send_to(&vec![1; len], to_port, 0, true).unwrap();
    }
    // Few; as many of 4 bytes, of 8 and of 1 as make 24, as far as there are slots and they wait.
    let mut taken = Vec::new();
    while batch.receive(&to).unwrap() > 0 {
        taken.push(batch.iter_mut().len());
    }
    assert_eq!(taken, [2, 6, 3, 13]);
}

#[test]
fn lone_datagrams_are_taken_without_a_look_for_others_more_and_more_often() {
    let (to, to_port, from, _) = pair();
    let mut batch = RecvBatch::<Vec<u8>>::new(16, 8).few_first(4);
    let mut take = |waiting, expect_more| {
        for _ in 0..waiting {
            from.send_to(&[1], to_port, 0, true).unwrap();
        }
        if expect_more {
            batch.expect_more();
        }
        (batch.receive(&to).unwrap(), batch.is_drained())
    };
    let looks: Vec<usize> = (0..100).filter(|_| take(1, false) == (1, true)).collect();
    assert_eq!(looks, [0, 2, 6, 14, 30, 46, 62, 78, 94]);
    assert_eq!(take(1, true), (1, true));
    // More come: they are found at the latest when it looks again, and from then on it is offered all.
    let taken: Vec<_> = (0..17).map(|at| take(if at == 0 { 60 } else { 0 }, false).0).collect();
    assert_eq!(taken, [&[1; 15][..], &[4, 16]].concat());
    assert_eq!(take(0, false), (16, false));
}

#[test]
fn a_cut_datagram_says_so_and_the_next_is_whole() {
    let (to, to_port, from, _) = pair();
    let mut batch = RecvBatch::<Vec<u8>>::new(2, 8);
    from.send_to(&[1; 9], to_port, 0, true).unwrap();
    from.send_to(&[2; 8], to_port, 0, true).unwrap();
    assert_eq!(batch.receive(&to).unwrap(), 2);
    let seen: Vec<_> = batch.iter_mut().map(|(datagram, bytes)| (bytes.len(), datagram.truncated)).collect();
    assert_eq!(seen, [(8, true), (8, false)]);
    assert_eq!(batch.iter_mut().next().unwrap().0.credentials, None);
}

#[test]
fn whoever_keeps_a_datagram_has_it_for_good() {
    fn keep<B: Buffer>() {
        let (to, to_port, from, _) = pair();
        let mut batch = RecvBatch::<B>::new(2, 8);
        let mut kept = Vec::new();
        for round in 0u8..4 {
            from.send_to(&[round; 3], to_port, 0, true).unwrap();
            from.send_to(&[!round; 8], to_port, 0, true).unwrap();
            assert_eq!(batch.receive(&to).unwrap(), 2);
            // Of each second round; the others' are written over.
            for (_, bytes) in batch.iter_mut().filter(|_| round % 2 == 0) {
                kept.push(std::mem::replace(bytes, B::with_capacity(0)));
            }
        }
        let kept: Vec<&[u8]> = kept.iter().map(|bytes| &**bytes).collect();
        assert_eq!(kept, [&[0; 3][..], &[255; 8], &[2; 3], &[253; 8]]);
    }
    keep::<Vec<u8>>();
    keep::<BytesMut>();
}

/// It is safe to write a [`Buffer`], so it mustn't matter how large it says to be and is.
#[test]
fn no_more_is_received_than_a_buffer_has_room_for() {
    struct Short(Limit<Vec<u8>>);

    // SAFETY: it is what that is.
    unsafe impl BufMut for Short {
        fn remaining_mut(&self) -> usize {
            self.0.remaining_mut()
        }

        unsafe fn advance_mut(&mut self, count: usize) {
            // SAFETY: the caller's.
            unsafe { self.0.advance_mut(count) }
        }

        fn chunk_mut(&mut self) -> &mut UninitSlice {
            self.0.chunk_mut()
        }
    }

    impl Deref for Short {
        type Target = [u8];

        fn deref(&self) -> &[u8] {
            self.0.get_ref()
        }
    }

    impl Buffer for Short {
        fn with_capacity(bytes: usize) -> Self {
            Short(Vec::with_capacity(bytes).limit(4))
        }

        fn clear(&mut self) {
            *self = Short::with_capacity(self.0.get_ref().capacity());
        }
    }

    let (to, to_port, from, _) = pair();
    let mut batch = RecvBatch::<Short>::new(2, 8);
    for round in 0..2 {
        from.send_to(&[round; 8], to_port, 0, true).unwrap();
        assert_eq!(batch.receive(&to).unwrap(), 1);
        let (datagram, bytes) = batch.iter_mut().next().unwrap();
        assert_eq!((datagram.truncated, &**bytes), (true, &[round; 4][..]));
    }
}

#[test]
fn batches_go_from_thread_to_thread() {
    fn send<T: Send + Sync>(_: &T) {}
    send(&RecvBatch::<Vec<u8>>::new(1, 1));
}
