//! What a user may have at most, however many namespaces he makes. What a quota does where there is one bus, the suite asks.

use crate::kernel::reload;
use nix::mount::{MsFlags, mount, umount};
use nix::unistd::setuid;
use nlbus::Bus;
use nlbus::wire::uapi::NLBUS_EVENT_F_NO_WAIT;
use nlbus::wire::{Content, push_publish};
use nlbus_tests::{
    Args, Child, Endpoint, Fixture, Place, Role, become_another, cases, hear, payload, say, value, wait_for,
};
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

cases![
    making_namespaces_multiplies_nothing module_only alone,
    all_within_a_namespace_count_as_who_made_it module_only alone,
    all_within_a_namespace_that_root_made_count_as_one module_only alone,
    many_users_in_many_namespaces_have_a_limit_together module_only alone,
    a_user_cannot_use_up_the_private_groups module_only alone,
    there_are_so_many_wills_and_no_more module_only alone,
    what_users_leave_is_for_the_privileged module_only alone,
    what_users_leave_of_history_is_for_the_privileged module_only alone,
    histories_of_all_buses_count_together module_only alone,
    a_user_cannot_fill_the_queue module_only alone,
    who_is_killed_while_he_waits_for_room_leaves_nothing_behind module_only alone,
    what_is_kept_is_charged_to_the_cgroup_of_who_published_it module_only alone,
];

pub(crate) const ROLES: &[(&str, Role)] = &[("gusher", gusher), ("subordinate", subordinate)];

const NOBODY: &str = "uid=65534";
const SOMEBODY: &str = "uid=65533";

/// A client who is these words.
fn client(fixture: &Fixture, who: &[&str]) -> Child {
    let mut child = fixture.spawn("client", &who.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
    child.expect("ready");
    child
}

/// What it answers.
fn ask(client: &mut Child, line: &str) -> String {
    client.say(line);
    client.line()
}

fn creates(client: &mut Child, line: &str) {
    let said = ask(client, &format!("create {line}"));
    assert!(said.starts_with("topic "), "{line}: {said}");
}

/// Is refused it, with an error that names the topic and the limit.
fn is_refused(client: &mut Child, what: &str, errno: &str, limit: &str) {
    let said = ask(client, what);
    let topic = what.split(' ').nth(1).expect("a topic");
    assert!(said.starts_with(&format!("refused {errno} ")), "{what}: {said}");
    assert!(said.contains(topic) && said.contains(limit), "{what}: {said}");
}

/// Neither user namespaces nor network namespaces, which have a bus of their own each.
fn making_namespaces_multiplies_nothing() {
    reload("topics=64 user_topics=3");
    let fixture = Fixture::new();
    let mut plain = client(&fixture, &[NOBODY]);
    let mut mapped = client(&fixture, &[NOBODY, "userns=true"]);
    let mut apart = client(&fixture, &[NOBODY, "userns=true", "netns=true"]);
    creates(&mut plain, "a/0");
    creates(&mut mapped, "a/1");
    creates(&mut apart, "a/2");
    for client in [&mut plain, &mut mapped, &mut apart] {
        is_refused(client, "create a/3", "EDQUOT", "user_topics");
        is_refused(client, "publish a/3", "EDQUOT", "user_topics");
    }
    // Others have theirs, and who is privileged as many as there are.
    let mut other = client(&fixture, &[SOMEBODY]);
    creates(&mut other, "b/0");
    let bus = fixture.connect();
    for at in 0..5 {
        bus.create_topic(&format!("c/{at}")).unwrap();
    }
    // What is given away still counts for who made it; what is deleted doesn't, once it is over.
    bus.topic_options("a/0").owner(65533).set().unwrap();
    is_refused(&mut plain, "create a/3", "EDQUOT", "user_topics");
    bus.delete_topic("a/0").unwrap();
    wait_for("room for another one", || ask(&mut apart, "create a/3").starts_with("topic ").then_some(()));
    is_refused(&mut plain, "create a/4", "EDQUOT", "user_topics");
    // What a bus had goes with it.
    apart.end();
    wait_for("room for another one", || ask(&mut plain, "create a/4").starts_with("topic ").then_some(()));
    creates(&mut plain, "a/5");
    is_refused(&mut plain, "create a/6", "EDQUOT", "user_topics");
}

/// Becomes somebody who makes a user namespace, says `made`, and when it is mapped becomes user 1 in there. Then it says `ready`,
/// and of each topic that it is told to create what became of that.
fn subordinate(place: Place, args: &Args) {
    become_another(place, args);
    say(format_args!("made"));
    hear();
    setuid(1.into()).expect("to be another user of one's own namespace");
    let bus = place.connect();
    say(format_args!("ready"));
    loop {
        match bus.create_topic(&hear()) {
            Ok(_) => say(format_args!("created")),
            Err(error) => say(format_args!("{error}")),
        }
    }
}

/// Whichever of his subordinate users somebody is: he can have thousands of them.
fn all_within_a_namespace_count_as_who_made_it() {
    reload("topics=64 user_topics=3");
    let fixture = Fixture::new();
    let mut inside = fixture.spawn("subordinate", &[NOBODY.to_owned(), "userns=true".to_owned()]);
    inside.expect("made");
    fs::write(format!("/proc/{}/uid_map", inside.pid()), "0 65534 1\n1 100000 1000\n").unwrap();
    inside.say("mapped");
    inside.expect("ready");
    for at in 0..2 {
        assert_eq!(ask(&mut inside, &format!("a/{at}")), "created");
    }
    let mut plain = client(&fixture, &[NOBODY]);
    creates(&mut plain, "a/2");
    is_refused(&mut plain, "create a/3", "EDQUOT", "user_topics");
    let said = ask(&mut inside, "a/3");
    assert!(said.contains("a/3") && said.contains("user_topics"), "{said}");
    assert_eq!(fixture.connect().topic("a/0").unwrap().map(|topic| topic.uid), Some(100_000));
    // Who has that uid outside is somebody else.
    creates(&mut client(&fixture, &["uid=100000"]), "b");
}

/// To whoever is in there the namespace is given, as a container is: in it one may be whom one likes.
fn all_within_a_namespace_that_root_made_count_as_one() {
    reload("topics=64 user_topics=3");
    let fixture = Fixture::new();
    let mut contained = client(&fixture, &["uid=0", "userns=true"]);
    let mut another = client(&fixture, &["uid=0", "userns=true"]);
    for at in 0..3 {
        creates(&mut contained, &format!("a/{at}"));
    }
    is_refused(&mut contained, "create a/3", "EDQUOT", "user_topics");
    creates(&mut another, "b/0");
    // Nor are they root.
    fixture.connect().create_topic("c").unwrap();
}

/// Four times what one bus may have: who can be many users doesn't get as many buses' worth.
fn many_users_in_many_namespaces_have_a_limit_together() {
    const TOPICS: usize = 32;
    reload(&format!("topics={TOPICS} user_topics={TOPICS}"));
    let fixture = Fixture::new();
    let mut all = Vec::new();
    let (mut created, mut refusal) = (0, String::new());
    for uid in 60_000..60_008 {
        let mut user = client(&fixture, &[&format!("uid={uid}"), "userns=true", "netns=true"]);
        // As many as his bus leaves to users: less than he may have.
        while refusal.is_empty() {
            let said = ask(&mut user, &format!("create a/{created}"));
            if said.contains("all users together") {
                refusal = said;
            } else if said.starts_with("refused ENOSPC ") {
                break;
            } else {
                assert!(said.starts_with("topic "), "{said}");
                created += 1;
            }
        }
        all.push(user);
    }
    assert!(refusal.starts_with("refused ENOSPC ") && refusal.contains("(module parameter topics)"), "{refusal}");
    assert_eq!(created, 4 * TOPICS);
    fixture.connect().create_topic("roots").unwrap();
    // Who is gone makes room.
    all.swap_remove(0).end();
    let mut another = client(&fixture, &["uid=60009"]);
    wait_for("room for another one", || ask(&mut another, "create b").starts_with("topic ").then_some(()));
}

fn there_are_so_many_wills_and_no_more() {
    reload("wills=8 user_wills=2");
    let fixture = Fixture::new();
    let bus = fixture.connect();
    let limits = bus.info().unwrap().limits;
    assert_eq!((limits.wills, limits.user_wills), (8, 2));
    let mut clients: Vec<Child> = (0..3).map(|_| client(&fixture, &[NOBODY])).collect();
    for client in &mut clients[..2] {
        assert_eq!(ask(client, "will w/a"), "left");
    }
    let said = ask(&mut clients[2], "will w/a");
    assert!(said.starts_with("refused EDQUOT ") && said.contains("user_wills"), "{said}");
    // One that takes the place of another is none too many.
    assert_eq!(ask(&mut clients[0], "will w/b"), "left");
    // Not for making a namespace.
    let mut elsewhere = client(&fixture, &[NOBODY, "userns=true", "netns=true"]);
    let said = ask(&mut elsewhere, "will w/a");
    assert!(said.starts_with("refused EDQUOT "), "{said}");
    // Users leave the privileged an eighth.
    let mut others: Vec<Child> = (0..3).map(|at| client(&fixture, &[&format!("uid={}", 2000 + at)])).collect();
    for other in &mut others {
        assert_eq!(ask(other, "will w/a"), "left");
    }
    let mut more: Vec<Child> = (0..3).map(|at| client(&fixture, &[&format!("uid={}", 3000 + at)])).collect();
    assert_eq!(ask(&mut more[0], "will w/a"), "left");
    assert_eq!(ask(&mut more[1], "will w/a"), "left");
    let said = ask(&mut more[2], "will w/a");
    assert!(said.starts_with("refused ENOSPC ") && said.contains("parameter wills"), "{said}");
    bus.set_will("w/a", "x").unwrap();
    // Who goes makes room; but root took some of what was for all.
    clients[1].kill();
    more[0].kill();
    wait_for("room", || (ask(&mut clients[2], "will w/a") == "left").then_some(()));
}

fn a_user_cannot_use_up_the_private_groups() {
    reload("groups=32 private_groups=16 user_private_groups=2");
    let fixture = Fixture::new();
    let mut plain = client(&fixture, &[NOBODY]);
    let mut mapped = client(&fixture, &[NOBODY, "userns=true"]);
    creates(&mut plain, "a/0 mode=0600");
    creates(&mut plain, "a/1");
    assert!(ask(&mut mapped, "set a/1 mode=0640").starts_with("topic "));
    for what in ["create a/2 mode=0600", "set a/1 mode=0600"] {
        is_refused(&mut plain, what, "EDQUOT", "user_private_groups");
    }
    // They aren't given back.
    assert_eq!(ask(&mut plain, "delete a/0"), "deleted");
    is_refused(&mut plain, "create a/0 mode=0600", "EDQUOT", "user_private_groups");
    creates(&mut plain, "a/0");
    let mut other = client(&fixture, &[SOMEBODY]);
    creates(&mut other, "b mode=0600");
    let bus = fixture.connect();
    for at in 0..3 {
        bus.topic_options(&format!("c/{at}")).mode(0o600).create_new().unwrap();
    }
    let info = bus.info().unwrap();
    assert_eq!((info.limits.user_private_groups, info.counters.private_groups), (2, 6));
}

/// However many users come together.
fn what_users_leave_is_for_the_privileged() {
    reload("groups=32 private_groups=8 topics=16 user_topics=16 user_private_groups=8");
    let fixture = Fixture::new();
    let mut plain = client(&fixture, &[NOBODY]);
    for at in 0..7 {
        creates(&mut plain, &format!("a/{at} mode=0600"));
    }
    is_refused(&mut plain, "create a/7 mode=0600", "ENOSPC", "private_groups");
    // 14 of 16, with the broker's own four.
    for at in 7..10 {
        creates(&mut plain, &format!("a/{at}"));
    }
    is_refused(&mut plain, "create a/10", "ENOSPC", "16 topics");
    let bus = fixture.connect();
    bus.topic_options("root").mode(0o600).create_new().unwrap();
    bus.create_topic("root/2").unwrap();
    let error = bus.create_topic("root/3").unwrap_err().to_string();
    assert!(error.contains("16 topics"), "{error}");
}

/// Of histories, too: else many small ones could take the place of a large one.
fn what_users_leave_of_history_is_for_the_privileged() {
    const HISTORY: u64 = 1 << 20;
    reload(&format!("history={HISTORY} topic_history={} user_history={HISTORY}", HISTORY / 8));
    let fixture = Fixture::new();
    let bus = fixture.connect();
    for _ in 0..7 {
        bus.publish_acked("root", &[7; 10_000]).unwrap();
    }
    let roots = bus.topic("root").unwrap().unwrap();
    assert!(roots.bytes <= HISTORY / 8, "{roots:?}");
    let mut plain = client(&fixture, &[NOBODY]);
    for number in 0..120 {
        let said = ask(&mut plain, &format!("publish a/{} bytes=10000", number % 40));
        assert!(said.starts_with("published "), "{said}");
    }
    let counters = bus.info().unwrap().counters;
    assert!(counters.history <= HISTORY && counters.evicted > 0, "{counters:?}");
    assert_eq!(bus.topic("root").unwrap(), Some(roots));
    // Who has more than that part gives, too, when it is his turn.
    let bytes = |prefix: &str| {
        let topics = bus.topics().unwrap().into_iter().filter(|topic| topic.name.starts_with(prefix));
        topics.map(|topic| topic.bytes).sum::<u64>()
    };
    for number in 0..60 {
        bus.publish_acked(&format!("root/{}", number % 8), &[7; 10_000]).unwrap();
    }
    let (users, roots) = (bytes("a/"), bytes("root"));
    assert!(users + roots <= HISTORY && users > HISTORY / 3 && roots > HISTORY / 3, "{users} {roots}");
}

/// A user's own give, of the largest first; nobody else's.
fn histories_of_all_buses_count_together() {
    const LIMIT: u64 = 256 * 1024;
    reload(&format!("user_history={LIMIT} topic_history={LIMIT}"));
    let fixture = Fixture::new();
    let bus = fixture.connect();
    assert_eq!(bus.info().unwrap().limits.user_history, LIMIT);
    for _ in 0..10 {
        bus.publish_acked("root", &[7; 10_000]).unwrap();
    }
    let before = bus.info().unwrap().counters.history;
    let kept = |bus: &Bus, topic: &str| bus.topic(topic).unwrap().map(|topic| topic.head + 1 - topic.first);
    let fills = |client: &mut Child, topic: &str, events: u64, bytes: u64| {
        for _ in 0..events {
            let said = ask(client, &format!("publish {topic} bytes={bytes}"));
            assert!(said.starts_with("published "), "{topic}: {said}");
        }
    };

    // On another bus, of which nothing is seen from here but that there is less room.
    let mut apart = client(&fixture, &[NOBODY, "userns=true", "netns=true"]);
    fills(&mut apart, "far", 5, 10_000);
    let mut plain = client(&fixture, &[NOBODY]);
    fills(&mut plain, "small", 5, 1000);
    fills(&mut plain, "large", 40, 10_000);
    let after = bus.info().unwrap().counters.history;
    assert!(after - before + 50_000 <= LIMIT, "{before} {after}");
    assert!(kept(&bus, "large").is_some_and(|kept| kept > 5), "{:?}", kept(&bus, "large"));
    assert_eq!((kept(&bus, "small"), kept(&bus, "root")), (Some(5), Some(10)));
    // The newest of each topic stays, and where these alone are far too many, there is no more.
    let said = (0..200).map(|at| ask(&mut plain, &format!("publish n/{at} bytes=60000")));
    let refused = said.filter(|said| said.starts_with("refused EDQUOT ") && said.contains("user_history")).count();
    assert!((110..195).contains(&refused), "{refused} refused");
    assert_eq!(kept(&bus, "root"), Some(10));
    let held = bus.info().unwrap().counters.history - before;
    assert!(held <= LIMIT + (4 << 20) + 70_000, "{held}");
}

/// Becomes somebody and publishes as much as it can until it is told to stop; says `ready` first and `sent=` in the end.
fn gusher(place: Place, args: &Args) {
    become_another(place, args);
    let raw = place.raw();
    let stop = AtomicBool::new(false);
    let mut frame = Vec::new();
    push_publish(&mut frame, 1, false, 0, Content::Opaque, "gush", &payload(1, 1, 60_000));
    let mut sent = 0;
    say(format_args!("ready"));
    thread::scope(|scope| {
        scope.spawn(|| {
            hear();
            stop.store(true, Ordering::Relaxed);
        });
        while !stop.load(Ordering::Relaxed) {
            raw.send(Endpoint::Publish, &frame);
            sent += 1;
        }
    });
    say(format_args!("sent={sent}"));
    process::exit(0); // what is behind a test's end, loading the module anew, isn't for a child
}

/// So many of them.
fn gush(fixture: &Fixture, who: &[&str], count: usize) -> Vec<Child> {
    let words: Vec<_> = who.iter().map(|word| (*word).to_owned()).collect();
    let start = |_| {
        let mut child = fixture.spawn("gusher", &words);
        child.expect("ready");
        child
    };
    (0..count).map(start).collect()
}

/// Whether it is in the one sleep of a publisher's that no signal but a fatal one ends.
fn sleeps_killably(child: &Child) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", child.pid())).unwrap();
    let state = stat.rsplit(") ").next().expect("what follows its name");
    state.starts_with('D')
}

/// Of what he leaves somebody who doesn't wait has his part.
fn a_user_cannot_fill_the_queue() {
    const SHARE: u64 = 256 * 1024;
    reload(&format!("queue={} user_queue={SHARE}", 4 * SHARE));
    let fixture = Fixture::new();
    let bus = fixture.connect();
    assert_eq!(bus.info().unwrap().limits.user_queue, SHARE);
    bus.create_topic("gush").unwrap();
    let mut gushers = gush(&fixture, &[NOBODY], 10);
    let mut other = fixture.socket_of(&[SOMEBODY]);
    let mut frame = Vec::new();
    push_publish(&mut frame, 1, true, NLBUS_EVENT_F_NO_WAIT, Content::Opaque, "other", &payload(2, 1, 30_000));
    let mut most = 0;
    for number in 1..=300 {
        most = most.max(bus.info().unwrap().counters.queue);
        let ack = other.ask(Endpoint::Publish, &frame).answer();
        assert_eq!(ack.result, Ok(Some(number)), "who doesn't wait");
    }
    gushers.iter_mut().for_each(|child| child.say("stop"));
    let sent: u64 = gushers.iter_mut().map(|child| value(&child.line(), "sent")).sum();
    println!("    {sent} events of ten processes at once; at most {most} bytes were seen in the queue");
    // Room is given back a little after the ack.
    let other_has = 32 * 1024;
    assert!(most > 0 && most <= SHARE + other_has, "{most} of {SHARE}");
    wait_for("an empty queue", || (bus.info().unwrap().counters.queue == 0).then_some(()));
    // None of it was lost, nor is any of the share.
    assert_eq!(bus.topic("gush").unwrap().map(|topic| topic.head), Some(sent));
    let mut plain = client(&fixture, &[NOBODY]);
    let said = ask(&mut plain, "publish gush bytes=60000");
    assert!(said.starts_with("published "), "{said}");
}

/// Neither in a line nor of the room that he had: of a user that is his own while he waits for some in the queue, which root
/// fills meanwhile.
fn who_is_killed_while_he_waits_for_room_leaves_nothing_behind() {
    /// More datagrams than there is room for of a user.
    const KILLED: u64 = 8;
    const LEAST: u64 = 256 * 1024;
    reload(&format!("queue={LEAST} user_queue={LEAST}"));
    let fixture = Fixture::new();
    let bus = fixture.connect();
    bus.create_topic("gush").unwrap();
    // What is known of who has nothing is forgotten, and with it what was counted wrong.
    creates(&mut client(&fixture, &[NOBODY]), "his");
    let mut filling = gush(&fixture, &[], 10);
    let refused = || bus.info().unwrap().counters.refused;
    for who in [&[NOBODY][..], &[]] {
        let before = refused();
        wait_for("some to be killed while they wait", || {
            let mut victim = gush(&fixture, who, 1).remove(0);
            wait_for("it to wait", || sleeps_killably(&victim).then_some(()));
            victim.kill();
            (refused() - before >= KILLED).then_some(())
        });
        let mut after = client(&fixture, who);
        for _ in 0..10 {
            let said = ask(&mut after, "publish gush bytes=60000");
            assert!(said.starts_with("published "), "{said}");
        }
    }
    filling.iter_mut().for_each(Child::kill);
    wait_for("an empty queue", || (bus.info().unwrap().counters.queue == 0).then_some(()));
}

/// Whoever reads it: so a limit of his memory bounds what he has the kernel keep.
fn what_is_kept_is_charged_to_the_cgroup_of_who_published_it() {
    const EVENTS: u64 = 50;
    const BYTES: u64 = 60_000;
    reload("");
    let fixture = Fixture::new();
    let groups = ControlGroups::mount();
    let (mut publisher, mut reader) = (client(&fixture, &[NOBODY]), client(&fixture, &[SOMEBODY]));
    creates(&mut publisher, &format!("kept history={}", 2 * EVENTS * BYTES));
    let (of_publisher, of_reader) = (groups.hold("publisher", &publisher), groups.hold("reader", &reader));
    let before = [groups.memory(of_publisher), groups.memory(of_reader)];
    assert_eq!(ask(&mut reader, "subscribe kept"), "subscribed");
    for seq in 1..=EVENTS {
        let said = ask(&mut publisher, &format!("publish kept bytes={BYTES}"));
        assert!(said.starts_with("published "), "{said}");
        assert_eq!(ask(&mut reader, "next"), format!("kept {seq}"));
    }
    let grown = |group, before| groups.memory(group).saturating_sub(before);
    let (published, read) = (grown(of_publisher, before[0]), grown(of_reader, before[1]));
    println!("    {} bytes kept: the publisher's memory grew by {published}, the reader's by {read}", EVENTS * BYTES);
    assert!(published >= EVENTS * BYTES && read < EVENTS * BYTES / 2);
}

/// The hierarchy of control groups, with the memory controller; gone when dropped, but for what is charged to the groups.
struct ControlGroups(PathBuf);

impl ControlGroups {
    fn mount() -> ControlGroups {
        let at = env::temp_dir().join("nlbus-cgroups");
        fs::create_dir_all(&at).unwrap();
        mount(None::<&Path>, &at, Some("cgroup2"), MsFlags::empty(), None::<&Path>).expect("to mount cgroup2");
        fs::write(at.join("cgroup.subtree_control"), "+memory").expect("the memory controller");
        ControlGroups(at)
    }

    /// Puts a process into a group of its own. Returns the group's name.
    fn hold<'a>(&self, group: &'a str, process: &Child) -> &'a str {
        let at = self.0.join(group);
        fs::create_dir(&at).unwrap();
        fs::write(at.join("cgroup.procs"), process.pid().to_string()).unwrap();
        group
    }

    /// Bytes that are charged to a group.
    fn memory(&self, group: &str) -> u64 {
        fs::read_to_string(self.0.join(group).join("memory.current")).unwrap().trim().parse().unwrap()
    }
}

impl Drop for ControlGroups {
    fn drop(&mut self) {
        let groups = fs::read_dir(&self.0).into_iter().flatten().flatten().filter(|entry| entry.path().is_dir());
        for group in groups {
            // Only what holds nobody any more can be removed.
            let _ = fs::remove_dir(group.path());
        }
        let _ = umount(&self.0);
        let _ = fs::remove_dir(&self.0);
    }
}
