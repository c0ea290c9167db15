//! What the simulation's broker never does: refuse what it should not, and be left waiting.

mod moves;

use super::answers::ReplayPage;
use super::*;
use crate::batch::Batch;
use crate::delivery::{Cause, Delivery};
use crate::event::Event;
use crate::flow::Wake;
use crate::inlet::{Outlet, Overflow, inlet};
use crate::sequence::Cursor;
use crate::topic::Filter;
use crate::wire::{
    Content, EventHeader, Header, Message, Messages, ReplayEnd, ReplayRequest, TopicPageEnd, TopicRecord, push_event,
    push_info_request, push_refusal,
};
use crossbeam_channel::{Receiver, bounded};
use nix::errno::Errno;
use nix::time::{ClockId, clock_gettime};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

const TOPIC: u32 = 4;

struct World {
    client: Client,
    now: Instant,
    head: u64,
    /// The oldest event that is kept.
    first: u64,
}

impl World {
    fn new(head: u64) -> World {
        World { client: Client::new(1), now: Instant::now(), head, first: 1 }
    }

    fn open(&mut self, capacity: usize) -> (Receiver<Batch>, Receiver<Result<Opened, Refused>>) {
        let (inlet, outlet) = inlet(Overflow::CatchUp, capacity, Arc::new(|| ()));
        let (opener, opened) = bounded(1);
        let filter = Filter::new("#").unwrap();
        self.client.open(Opening { filter, start: Start::All, resume: None, type_name: None, inlet, opener }, self.now);
        (outlet.batches, opened)
    }

    /// So many events, of which the client learns by a check of heads alone.
    fn publish(&mut self, events: u64) {
        self.head += events;
        self.client.missed(self.now);
        self.answer(None);
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
        (topic.id, topic.name, topic.group, topic.head, topic.first) = (TOPIC, "a".into(), 3, self.head, self.first);
        topic.mode = 0o666;
        topic.push(reply, to, true);
        TopicPageEnd::new(TOPIC, 1, 0, None).push(reply, to);
    }

    fn replay(&self, request: &Message<'_>, reply: &mut Vec<u8>) -> u64 {
        let ReplayRequest { from, limit, .. } = ReplayRequest::check(request.body).unwrap();
        let begin = from.max(self.first);
        let end = self.head.min(begin + u64::from(limit.unwrap()).min(10) - 1);
        let header = Header { kind: NLBUS_MSG_EVENT, flags: NLM_F_MULTI, ..request.header };
        for seq in begin..=end {
            let event = EventHeader { seq, topic_id: TOPIC, content: Content::Text.to_wire(), ..Default::default() };
            push_event(reply, header, &event, "a", b"x");
        }
        ReplayEnd { topic_id: TOPIC, first: self.first, next: end + 1, head: self.head }.push(reply, request.header);
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

/// Why it fell behind first is no longer why it misses something.
#[test]
fn what_goes_by_while_a_channel_is_full_is_that_channels_loss() {
    let mut world = World::new(5);
    let (batches, _opened) = world.open(2);
    world.answer(None);
    assert_eq!(batches.try_iter().flatten().count(), 2, "it began in the past, and has no room for more");
    (world.head, world.first) = (10, 9);
    world.client.room(world.now);
    world.answer(None);
    let lost: Vec<_> = batches
        .try_iter()
        .flatten()
        .filter_map(|it| if let Delivery::Lost(it) = it { Some(it) } else { None })
        .collect();
    assert_eq!(lost.iter().map(|lost| (lost.from, lost.to, lost.cause)).collect::<Vec<_>>(), [(3, 8, Cause::Overflow)]);
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
fn a_group_is_left_when_those_who_might_have_needed_it_have_found_something_else() {
    let mut world = World::new(5);
    let (_batches, opened) = world.open(100);
    world.answer(None);
    let (inlet, _outlet) = inlet(Overflow::CatchUp, 1, Arc::new(|| ()));
    let (opener, other) = bounded(1);
    let filter = Filter::new("other/#").unwrap();
    world.client.open(Opening { filter, start: Start::Live, resume: None, type_name: None, inlet, opener }, world.now);
    world.client.close(opened.try_recv().unwrap().unwrap().id);
    assert!(!world.client.registry.topics.is_empty(), "the other one may match it");
    let mut left = false;
    while let Some(output) = world.client.next_output() {
        left |= output == Output::Leave(3);
        world.answer_one(output, &mut None);
    }
    assert!(other.try_recv().unwrap().is_ok());
    assert!(left && world.client.registry.topics.is_empty());
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
fn a_batch_that_is_kept_leaves_the_rest_of_the_room_in_use() {
    let mut world = World::new(2);
    let (batches, _opened) = world.open(3);
    world.answer(None);
    let kept = batches.try_recv().unwrap();
    world.publish(98);
    for round in 1..=20 {
        assert_eq!(batches.try_recv().expect("one more, in the place that is left").count(), 1, "{round}");
        world.client.room(world.now);
        world.answer(None);
    }
    assert_eq!(kept.len(), 2);
}

#[test]
fn little_room_is_used_in_the_end_even_if_nothing_more_is_given_back() {
    let mut world = World::new(0);
    let (batches, _opened) = world.open(8);
    world.answer(None);
    (0..9).for_each(|_| world.publish(1));
    assert_eq!(batches.len(), 8);
    drop(batches.try_recv().unwrap());
    world.client.room(world.now);
    assert_eq!(world.answer(None), [0; 0], "there is much to read, and so much more room to come");
    let kept: Vec<Batch> = batches.try_iter().collect();
    world.now = world.client.deadline().unwrap();
    world.client.tick(world.now);
    assert_eq!((world.answer(None).len(), kept.len(), batches.len()), (1, 7, 1));
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

/// An event that comes live.
fn live(client: &mut Client, topic_id: u32, seq: u64) {
    let mut datagram = Vec::new();
    let header = EventHeader { seq, topic_id, ..Default::default() };
    push_event(&mut datagram, Header { kind: NLBUS_MSG_EVENT, seq: 1, ..Default::default() }, &header, "a", b"");
    client.events(&datagram.into(), false, Instant::now());
    client.finish(Instant::now());
}

/// A subscription to so many topics, from id `first` on, of which it has seen nothing yet.
fn follow(client: &mut Client, overflow: Overflow, first: u32, topics: u32) -> (SubId, Outlet) {
    follow_awake(client, overflow, first, topics, Arc::new(|| ()))
}

fn follow_awake(client: &mut Client, overflow: Overflow, first: u32, topics: u32, wake: Wake) -> (SubId, Outlet) {
    let (inlet, outlet) = inlet(overflow, 1, wake);
    let opening = Opening {
        filter: Filter::new("#").unwrap(),
        start: Start::All,
        resume: None,
        type_name: None,
        inlet,
        opener: bounded(1).0,
    };
    let id = client.registry.insert(Subscriber::new(opening, 1));
    for topic in first..first + topics {
        let record =
            TopicRecord { id: topic, name: topic.to_string(), group: 3, head: 9, mode: 0o666, ..Default::default() };
        client.registry.track(&record, &mut client.outputs);
        client.registry.follow(id, topic, 0);
    }
    (id, outlet)
}

/// Which topics are asked for, a round of replays after the other, none of which gets anybody to the head.
fn asked_for(client: &mut Client, rounds: usize) -> Vec<u32> {
    let round = |_| {
        let pages = client.registry.plan_replays();
        pages.iter().for_each(|page| client.registry.replay_is_over(page.topic_id));
        pages
    };
    (0..rounds).flat_map(round).map(|page| page.topic_id).collect()
}

#[test]
fn topics_that_fall_behind_again_and_again_wait_for_the_others() {
    let mut client = Client::new(1);
    let (_id, _outlet) = follow(&mut client, Overflow::DropNewest, 1, 200);
    let asked = asked_for(&mut client, 30);
    let again = |topic| asked.iter().enumerate().filter(move |(_, asked)| **asked == topic).map(|(at, _)| at);
    for topic in 1..=200 {
        assert!(again(topic).count() >= 2, "{topic}: {asked:?}");
        assert!(again(topic).zip(again(topic).skip(1)).all(|(at, next)| next - at == 200), "{topic}: {asked:?}");
    }
}

#[test]
fn a_subscription_that_is_behind_in_much_does_not_hold_up_one_that_is_behind_in_little() {
    let mut client = Client::new(1);
    let (_id, _outlet) = follow(&mut client, Overflow::DropNewest, 1, 200);
    asked_for(&mut client, 5);
    let (_other, _its_outlet) = follow(&mut client, Overflow::CatchUp, 500, 1);
    let asked = asked_for(&mut client, 1);
    assert!(asked.contains(&500), "{asked:?}");
}

/// Processor time that events of another topic take, a datagram each.
fn cost_of_events(client: &mut Client) -> Duration {
    let (_id, _outlet) = follow(client, Overflow::Latest, 1_000_000, 1);
    let cpu_time = || Duration::from(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap());
    let start = cpu_time();
    (1..=300).for_each(|seq| live(client, 1_000_000, seq));
    cpu_time() - start
}

/// Answers a replay with the one event that it begins with.
fn answer_replay(client: &mut Client, page: ReplayPage) {
    let mut reply = Vec::new();
    let header = EventHeader { seq: page.from, topic_id: page.topic_id, ..Default::default() };
    push_event(&mut reply, Header { kind: NLBUS_MSG_EVENT, ..Default::default() }, &header, "a", b"");
    let reply = Bytes::from(reply);
    let end = ReplayEnd { topic_id: page.topic_id, first: 1, next: page.from + 1, head: 9 };
    client.replayed(page, 0..reply.len(), end, &reply);
    client.registry.flush();
}

#[test]
fn who_is_stalled_costs_the_others_nothing() {
    let mut client = Client::new(1);
    let (_id, outlet) = follow(&mut client, Overflow::CatchUp, 1, 20_000);
    // One event: its consumer is full.
    for page in client.registry.plan_replays() {
        answer_replay(&mut client, page);
    }
    assert_eq!((outlet.batches.len(), client.registry.plan_replays().len()), (1, 0));
    let cost = cost_of_events(&mut client);
    assert!(cost < Duration::from_millis(60), "{cost:?} for 300 datagrams");
    // And it goes on when there is room.
    drop(outlet.batches.recv().unwrap());
    client.room(Instant::now());
    assert!(client.outputs.iter().any(|output| matches!(output, Output::Send(_))));
}

#[test]
fn room_that_live_events_took_first_is_waited_for_again() {
    let wakes = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&wakes);
    let wake: Wake = Arc::new(move || {
        count.fetch_add(1, Ordering::SeqCst);
    });
    let mut client = Client::new(1);
    let (_id, outlet) = follow_awake(&mut client, Overflow::CatchUp, 1, 2, wake);
    let other = &mut client.registry.topics.get_mut(&2).unwrap().follows[0];
    (other.cursor, other.behind) = (Cursor::after(9), None);
    let page = client.registry.plan_replays()[0];
    assert_eq!(page.topic_id, 1);
    answer_replay(&mut client, page);
    assert_eq!(client.registry.plan_replays(), []);
    drop(outlet.batches.recv().unwrap());
    assert_eq!(wakes.load(Ordering::SeqCst), 1);
    // Before the client gets to look for the room.
    live(&mut client, 2, 10);
    client.room(Instant::now());
    drop(outlet.batches.recv().unwrap());
    assert_eq!(wakes.load(Ordering::SeqCst), 2, "nobody looks for room any more");
    client.room(Instant::now());
    assert!(client.outputs.iter().any(|output| matches!(output, Output::Send(_))));
}

#[test]
fn one_event_at_a_time_is_of_each_topic_in_turn() {
    // A multiple of what is asked for at a time, 9, so that the same ones would come first each time.
    const TOPICS: u32 = 198;
    let mut client = Client::new(1);
    let (_id, outlet) = follow(&mut client, Overflow::CatchUp, 1, TOPICS);
    let (mut seen, mut replays) = (Vec::new(), 0);
    while seen.len() < 594 {
        let pages = client.registry.plan_replays();
        replays += pages.len();
        pages.into_iter().for_each(|page| answer_replay(&mut client, page));
        seen.extend(outlet.batches.recv().unwrap().filter_map(|it| it.event().map(Event::topic_id)));
        client.registry.look_for_room(Instant::now());
    }
    for round in seen.chunks_mut(TOPICS as usize) {
        round.sort_unstable();
        assert!(round.iter().copied().eq(1..=TOPICS), "{round:?}");
    }
    assert!(replays < 594 * 10, "{replays} replays for 594 events");
}

#[test]
fn an_answer_that_is_lost_does_not_stop_one_who_has_little_room() {
    let mut client = Client::new(1);
    let (_id, outlet) = follow(&mut client, Overflow::CatchUp, 1, 200);
    for page in client.registry.plan_replays().into_iter().skip(2) {
        answer_replay(&mut client, page);
    }
    for _ in 0..50 {
        assert!(outlet.batches.try_recv().is_ok());
        client.registry.look_for_room(Instant::now());
        for page in client.registry.plan_replays() {
            answer_replay(&mut client, page);
        }
    }
}

#[test]
fn what_a_closed_subscription_was_behind_in_costs_nothing() {
    let mut client = Client::new(1);
    let (_live, _outlet) = follow(&mut client, Overflow::CatchUp, 1, 20_000);
    for topic in client.registry.topics.values_mut() {
        topic.follows[0].cursor = Cursor::after(9);
        topic.follows[0].behind = None;
    }
    let (stalled, _its_outlet) = follow(&mut client, Overflow::CatchUp, 1, 20_000);
    client.finish(Instant::now());
    client.close(stalled);
    let cost = cost_of_events(&mut client);
    assert!(cost < Duration::from_millis(60), "{cost:?} for 300 datagrams");
}
