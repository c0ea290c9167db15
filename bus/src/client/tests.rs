//! What the simulation's broker never does: refuse what it should not, and be left waiting.

use super::*;
use crate::batch::Batch;
use crate::inlet::{Overflow, inlet};
use crate::topic::Filter;
use crate::wire::{
    Content, EventHeader, Header, Message, ReplayEnd, ReplayRequest, TopicPageEnd, TopicRecord, push_event,
    push_info_request, push_refusal,
};
use crossbeam_channel::{Receiver, bounded};
use nix::errno::Errno;
use std::sync::Arc;

const TOPIC: u32 = 4;

struct World {
    client: Client,
    now: Instant,
    head: u64,
}

impl World {
    fn new(head: u64) -> World {
        World { client: Client::new(1), now: Instant::now(), head }
    }

    fn open(&mut self, capacity: usize) -> (Receiver<Batch>, Receiver<Result<Opened, Refused>>) {
        let (inlet, outlet) = inlet(Overflow::CatchUp, capacity, Arc::new(|| ()));
        let (opener, opened) = bounded(1);
        let filter = Filter::new("#").unwrap();
        self.client.open(Opening { filter, start: Start::All, resume: None, inlet, opener }, self.now);
        (outlet.batches, opened)
    }

    /// Answers what the client asks for, with `refuse`, if any, the first replay. Returns where the replays began.
    fn answer(&mut self, mut refuse: Option<Errno>) -> Vec<u64> {
        let mut from = Vec::new();
        while let Some(output) = self.client.next_output() {
            from.extend(self.answer_one(output, &mut refuse));
        }
        from
    }

    fn answer_one(&mut self, output: Output, refuse: &mut Option<Errno>) -> Option<u64> {
        let Output::Send(request) = output else { return None };
        let message = Messages::new(&request).next().unwrap().unwrap();
        let (to, mut reply, mut from) = (message.header, Vec::new(), None);
        match (to.kind, refuse.take_if(|_| to.kind == NLBUS_MSG_REPLAY)) {
            (_, Some(errno)) => push_refusal(&mut reply, to, 16, &Refusal::new(errno, "not now")),
            (NLBUS_MSG_TOPIC, None) => self.list(to, &mut reply),
            (NLBUS_MSG_REPLAY, None) => from = Some(self.replay(&message, &mut reply)),
            _ => return None,
        }
        self.client.replies(&reply.into(), self.now);
        from
    }

    fn list(&self, to: Header, reply: &mut Vec<u8>) {
        let mut topic = TopicRecord::default();
        (topic.id, topic.name, topic.group, topic.head, topic.first) = (TOPIC, "a".into(), 3, self.head, 1);
        topic.push(reply, to, true);
        TopicPageEnd::new(TOPIC, 1, None).push(reply, to);
    }

    fn replay(&self, request: &Message<'_>, reply: &mut Vec<u8>) -> u64 {
        let ReplayRequest { from, limit, .. } = ReplayRequest::check(request.body).unwrap();
        let end = self.head.min(from + u64::from(limit.unwrap()).min(10) - 1);
        let header = Header { kind: NLBUS_MSG_EVENT, flags: NLM_F_MULTI, ..request.header };
        for seq in from..=end {
            let event = EventHeader { seq, topic_id: TOPIC, content: Content::Text.to_wire(), ..Default::default() };
            push_event(reply, header, &event, "a", b"x");
        }
        ReplayEnd { topic_id: TOPIC, first: 1, next: end + 1, head: self.head }.push(reply, request.header);
        from
    }
}

#[test]
fn a_replay_that_is_refused_for_want_of_memory_is_made_again() {
    let mut world = World::new(5);
    let (batches, _opened) = world.open(100);
    assert_eq!(world.answer(Some(Errno::ENOMEM)), [0; 0]);
    assert!(batches.is_empty());
    world.now = world.client.deadline().unwrap();
    world.client.tick(world.now);
    assert_eq!(world.answer(None), [1]);
    assert_eq!(batches.try_iter().flatten().count(), 5);
}

#[test]
fn a_handle_that_gave_up_waiting_leaves_nothing_behind() {
    let mut world = World::new(5);
    drop(world.open(100));
    world.answer(None);
    assert!(world.client.registry.subscribers.is_empty() && world.client.registry.topics.is_empty());
    assert_eq!(world.client.heard, None);
}

#[test]
fn one_who_takes_an_event_at_a_time_does_not_hold_up_the_others() {
    let mut world = World::new(1000);
    let (slow, _opened) = world.open(1);
    let (quick, _opened) = world.open(1000);
    let (mut slow_got, mut quick_got, mut pages) = (0, 0, 0);
    while quick_got < 1000 {
        if let Some(output) = world.client.next_output() {
            pages += world.answer_one(output, &mut None).into_iter().count();
        }
        slow_got += slow.try_iter().flatten().count();
        quick_got += quick.try_iter().flatten().count();
        world.client.room(world.now);
        assert!(pages < 300, "{slow_got} and {quick_got} in {pages} pages");
    }
    assert!(slow_got > 50, "nor do they hold it up: {slow_got}");
}

#[test]
fn what_is_in_a_group_that_can_not_be_joined_comes_out_of_history() {
    let mut world = World::new(2);
    let (batches, opened) = world.open(100);
    let mut joins = 0;
    while let Some(output) = world.client.next_output() {
        match output {
            Output::Join(3) => {
                joins += 1;
                world.client.join_failed(3, Errno::ENOMEM, world.now);
            }
            output => drop(world.answer_one(output, &mut None)),
        }
    }
    assert!(opened.try_recv().unwrap().is_ok());
    assert_eq!((joins, batches.try_iter().flatten().count()), (1, 2));
    world.head = 5;
    world.now += Duration::from_secs(10);
    world.client.tick(world.now);
    assert!(world.client.outputs.contains(&Output::Join(3)), "it is tried again");
    world.answer(None);
    assert_eq!(batches.try_iter().flatten().count(), 3);
}

#[test]
fn a_request_that_found_no_room_is_sent_again_as_long_as_it_is_waited_for() {
    let mut world = World::new(0);
    let (reply, _answer) = bounded(1);
    let deadline = world.now + Duration::from_secs(5);
    let write = |seq| {
        let mut frame = Vec::new();
        push_info_request(&mut frame, seq);
        frame
    };
    world.client.ask(write, reply, deadline);
    let mut sent = 0;
    while let Some(Output::Send(datagram)) = world.client.next_output() {
        sent += 1;
        world.client.unsent(datagram, world.now);
        world.now = world.client.deadline().unwrap();
        world.client.tick(world.now);
    }
    assert!((200..=251).contains(&sent), "{sent} times in 5 s");
    assert_eq!((world.now, world.client.deadline()), (deadline, None));
}
