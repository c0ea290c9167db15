//! `nlbus top` on a terminal.

use crate::host::{Host, on_a_host};
use crate::terminal::Terminal;
use nlbus::{Bus, Content};
use std::env;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// Does something while a bus has traffic: a fast topic, a slow one with large events, and one whose values have a type.
fn with_traffic(test: impl FnOnce(&Host, &Bus)) {
    on_a_host(|host| {
        let _broker = host.broker();
        let bus = host.connect();
        bus.topic_options("motors/1").type_name("Rpm".parse::<nlbus::TypeName>().unwrap()).create().unwrap();
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                for number in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    bus.publish_content_acked("sensors/fast", Content::Text, "21.5").unwrap();
                    if number % 10 == 0 {
                        bus.publish_acked("sensors/large", &[b'x'; 20_000]).unwrap();
                        bus.publish_content_acked("motors/1", Content::Json, "{\"rpm\":900}").unwrap();
                    }
                    thread::sleep(Duration::from_millis(5));
                }
            });
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| test(host, &bus)));
            stop.store(true, Ordering::Relaxed);
            result.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        });
    });
}

/// Keeps what a terminal shows as docs/screens/NAME.txt, where that is asked for; and checks that what was kept still has this line.
fn keep(name: &str, screen: &str, line: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/screens").join(name);
    if env::var_os("NLBUS_KEEP_SCREENS").is_some() {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, format!("{}\n", screen.trim_end())).unwrap();
    }
    let kept = fs::read_to_string(&file).unwrap();
    assert!(
        screen.contains(line) && kept.contains(line),
        "'{line}' is no longer in {}: NLBUS_KEEP_SCREENS=1\n{kept}",
        file.display()
    );
}

/// The topics of the table, in their order.
fn topics(screen: &str) -> Vec<&str> {
    // Events name topics, too.
    let table = screen.split("newest events").next().unwrap_or_default();
    let names = table.lines().filter_map(|line| line.split_whitespace().next());
    names
        .filter(|name| name.starts_with("sensors/") || name.starts_with("motors/") || name.starts_with("$SYS/"))
        .collect()
}

/// The first of them.
fn first(screen: &str) -> &str {
    topics(screen).first().copied().unwrap_or_default()
}

#[test]
fn topics_events_and_clients_are_shown_and_keys_obeyed() {
    with_traffic(|host, _| {
        let _sub = host.sub(&["sensors/#"]);
        let mut top = Terminal::start(host, &["top", "--interval", "100ms"], 80, 24);
        let screen = top.shows("rate", |screen| first(screen) == "sensors/fast" && screen.contains("motors/1 #"));
        for part in ["user broker at port", "motors/1 (Rpm)", "newest events", "{\"rpm\":900}", "clients", "nlbus"] {
            assert!(screen.contains(part), "{part}:\n{screen}");
        }
        keep(
            "top-80x24.txt",
            &screen,
            "TOPIC                          ▼EVENTS/S  BYTES/S     KEPT    BYTES  SUBS  DROPS",
        );
        top.types("b");
        top.shows("order by bytes", |screen| first(screen) == "sensors/large" && screen.contains("▼BYTES/S"));
        top.types("t");
        top.shows("order by name", |screen| first(screen) == "$SYS/clients");
        top.types("r");
        top.shows("order by name, reversed", |screen| first(screen) == "sensors/large" && screen.contains("▲TOPIC"));
        top.types("/motors/+\r");
        let screen = top.shows("filter", |screen| screen.contains("only motors/+") && first(screen) == "motors/1");
        assert!(!screen.contains("sensors/fast"), "{screen}");
        top.types("/\x7f\x7f\x7f\x7f\x7f\x7f\x7f\x7f\r");
        top.shows("all again", |screen| screen.contains("sensors/fast"));
        top.types("/a#\r");
        top.shows("error", |screen| screen.contains("stand for whole levels"));
        top.types("\x1b");
        top.shows("keys", |screen| screen.contains("h help"));
        top.types("h");
        let screen = top.shows("help", |screen| screen.contains("keys; any key goes on"));
        keep("top-help.txt", &screen, "t e b k s d   sort by topic, events/s, bytes/s, kept, subscribers, drops");
        top.types(" p");
        let paused = top.shows("pause", |screen| screen.contains("PAUSED") && !screen.contains("any key goes on"));
        thread::sleep(Duration::from_millis(400));
        assert_eq!(top.contents(), paused, "nothing moves, events neither");
        top.types("p12");
        let screen =
            top.shows("table alone", |screen| !screen.contains("clients─") && !screen.contains("newest events"));
        assert!(!screen.contains("PAUSED"), "{screen}");
        top.types("12");
        top.shows("more", |screen| screen.contains("newest events") && screen.contains("clients─"));
        for (columns, lines) in [(40, 10), (200, 50), (12, 3), (80, 24)] {
            top.resize(columns, lines);
            let is_as_wide =
                |screen: &str| lines < 4 || screen.lines().any(|line| line.contains("h help") || columns < 80);
            let screen = top.shows("picture", |screen| screen.contains("nlbus top") && is_as_wide(screen));
            if (columns, lines) == (40, 10) {
                let screen = top.shows("topics", |screen| screen.contains("sensors/") && !screen.contains("clients─"));
                keep("top-40x10.txt", &screen, "TOPIC");
            }
            assert!(screen.lines().all(|line| line.chars().count() <= columns.into()), "{screen}");
        }
        top.types("q");
        let (status, is_as_before, screen) = top.end();
        assert!(status.success() && is_as_before, "{status}: {screen}");
    });
}

#[test]
fn the_terminal_is_given_back_whatever_ends_it() {
    with_traffic(|host, _| {
        for signal in ["TERM", "INT", "HUP"] {
            let top = Terminal::start(host, &["top", "--interval", "100ms"], 80, 24);
            top.shows("picture", |screen| screen.contains("sensors/fast"));
            assert!(!top.is_as_before());
            top.signal(signal);
            let (status, is_as_before, screen) = top.end();
            assert!(status.code() == Some(130) && is_as_before, "{signal}: {status}: {screen}");
        }
        let mut top = Terminal::start(host, &["top", "--interval", "100ms"], 80, 24);
        top.shows("picture", |screen| screen.contains("sensors/fast"));
        top.types("\x03");
        assert_eq!(top.end().0.code(), Some(130), "Ctrl-C");
    });
}

#[test]
fn suspended_it_gives_the_terminal_back_and_takes_it_again() {
    with_traffic(|host, _| {
        let mut top = Terminal::start(host, &["top", "--interval", "100ms"], 80, 24);
        for suspend in ["\x1a", "TSTP"] {
            top.shows("picture", |screen| screen.contains("sensors/fast") && screen.contains("h help"));
            match suspend {
                "TSTP" => top.signal(suspend),
                typed => top.types(typed),
            }
            top.shows("nothing of it", |_| top.is_stopped() && top.is_as_before());
            top.signal("CONT");
        }
        top.shows("picture", |screen| screen.contains("sensors/fast") && screen.contains("h help"));
        top.types("q");
        assert!(top.end().1);
    });
}

#[test]
fn stopped_by_somebody_it_takes_the_terminal_again() {
    with_traffic(|host, _| {
        let mut top = Terminal::start(host, &["top", "--interval", "100ms"], 80, 24);
        top.shows("picture", |screen| screen.contains("sensors/fast"));
        top.signal("STOP");
        top.shows("stop", |_| top.is_stopped());
        // What a shell does then.
        top.make_sane();
        top.signal("CONT");
        top.shows("picture", |_| !top.is_sane());
        top.types("q");
        assert!(top.end().1);
    });
}

#[test]
fn a_flood_of_events_leaves_it_obedient() {
    on_a_host(|host| {
        let _broker = host.broker();
        let bus = host.connect();
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                let buffered = bus.buffered();
                let topics: Vec<_> = (0..500).map(|number| format!("flood/{number}")).collect();
                while !stop.load(Ordering::Relaxed) {
                    topics.iter().for_each(|topic| buffered.publish(topic, "x").unwrap());
                }
            });
            let mut top = Terminal::start(host, &["top", "--interval", "100ms"], 80, 24);
            top.shows("flood", |screen| screen.contains("flood/"));
            top.types("h");
            top.shows("help", |screen| screen.contains("any key goes on"));
            top.types(" q");
            let (status, ..) = top.end();
            stop.store(true, Ordering::Relaxed);
            assert!(status.success());
        });
    });
}

#[test]
fn a_broker_that_goes_is_told_of_and_the_next_one_shown() {
    on_a_host(|host| {
        let broker = host.broker();
        host.connect().publish_acked("before", "x").unwrap();
        let mut top = Terminal::start(host, &["top", "--interval", "100ms"], 80, 24);
        top.shows("topic", |screen| screen.contains("before"));
        drop(broker);
        top.shows("trouble", |screen| screen.contains("the broker is gone"));
        let _broker = host.broker();
        host.connect().publish_acked("after", "x").unwrap();
        top.shows("topic of the next broker", |screen| screen.contains("after") && !screen.contains("gone"));
        top.types("q");
        assert!(top.end().1);
    });
}

#[test]
fn without_a_terminal_there_is_text() {
    with_traffic(|host, _| {
        let refused = host.nlbus(&["top"]).fails(2);
        assert!(refused.contains("--batch"), "{refused}");
        let lines = host.nlbus(&["top", "--batch", "-n", "2", "--interval", "200ms", "sensors/+"]).succeeds();
        assert_eq!(lines.iter().filter(|line| line.ends_with("  sensors/fast")).count(), 2, "{lines:?}");
        assert!(!lines.iter().any(|line| line.contains("motors")), "{lines:?}");
        let ended = host.shell("nlbus top --batch --interval 100ms | head -1 > /dev/null; echo done").succeeds();
        assert_eq!(ended, ["done"]);
    });
}
