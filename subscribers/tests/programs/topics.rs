//! `nlbus topic` and what shows of it elsewhere: who may use topics, how much is kept of them, and their end.

use crate::command::json;
use crate::host::on_a_host;
use serde_json::Value;

#[test]
fn a_topics_history_can_be_set() {
    on_a_host(|host| {
        let _broker = host.broker();
        let created = host.nlbus(&["topic", "create", "x", "--history", "64KiB"]).succeeds();
        assert!(created[1].split_whitespace().any(|cell| cell == "65536"), "{created:?}");
        host.nlbus(&["topic", "set", "x", "--history", "1MiB"]).succeeds();
        let shown = json(&host.nlbus(&["topics", "x", "--json"]).succeeds()[0]);
        assert_eq!((&shown["history"], &shown["broadcast"]), (&Value::from(1 << 20), &Value::from(0)), "{shown}");
        let missing = host.nlbus(&["topic", "set", "y", "--history", "1"]).fails(1);
        assert!(missing.contains("'y'"), "{missing}");
        let refused = host.nlbus(&["topic", "create", "z", "--history", "1TiB"]).fails(1);
        assert!(refused.contains("'z'") && refused.contains("more than all histories may keep"), "{refused}");
        assert_eq!(
            host.nlbus(&["topics", "z", "--json"]).succeeds(),
            Vec::<String>::new(),
            "it was created all the same"
        );
    });
}

#[test]
fn topics_have_owners_groups_and_modes() {
    on_a_host(|host| {
        let _broker = host.broker();
        let create =
            ["topic", "create", "x", "--mode", "0640", "--owner", "root", "--group", "0", "--history", "64KiB"];
        let created = host.nlbus(&create).succeeds();
        assert!(created[1].contains("0640") && created[1].contains("root"), "{created:?}");
        // One that exists stays as it is, and says so.
        let again = host.nlbus(&["topic", "create", "x", "--mode", "0600"]).succeeds();
        assert!(again[1].contains("0640"), "{again:?}");
        host.nlbus(&["topic", "set", "x", "--mode", "622"]).succeeds();
        let shown = json(&host.nlbus(&["topics", "x", "--json"]).succeeds()[0]);
        assert_eq!((&shown["mode"], &shown["uid"], &shown["gid"]), (&"0622".into(), &0.into(), &0.into()), "{shown}");
        assert_eq!(shown["history"], 65536);
        for (args, word) in [
            (&["--mode", "0755"][..], "0640"),
            (&["--mode", "rw"], "0640"),
            (&["--owner", "no such user"], "user"),
            (&["--group", "no such group"], "group"),
            (&[], "--mode"),
        ] {
            let refused = host.nlbus(&[&["topic", "set", "x"], args].concat()).end();
            assert!(refused.code == Some(2) && refused.notes.join(" ").contains(word), "{args:?}: {refused:?}");
        }
        let own = host.nlbus(&["topic", "set", "$SYS/topics", "--mode", "0666"]).fails(1);
        assert!(own.contains("'$SYS/topics'"), "{own}");
        let missing = host.nlbus(&["topic", "rm", "y"]).fails(1);
        assert!(missing.contains("'y'"), "{missing}");
        host.nlbus(&["topic", "rm", "x"]).succeeds();
        assert_eq!(host.nlbus(&["topics", "x", "--json"]).succeeds(), Vec::<String>::new());
    });
}

#[test]
fn sub_says_which_topics_ended() {
    on_a_host(|host| {
        let _broker = host.broker();
        for topic in ["a", "b"] {
            host.nlbus(&["topic", "create", topic]).succeeds();
        }
        let (mut text, mut objects) = (host.sub(&["a", "#"]), host.sub(&["a", "#", "--json"]));
        host.nlbus(&["pub", "a", "hi"]).succeeds();
        host.nlbus(&["topic", "rm", "a"]).succeeds();
        host.nlbus(&["pub", "a", "ho"]).succeeds();
        assert_eq!(text.next_line(), "a 1 hi");
        assert_eq!(text.next_note(), "nlbus: topic 'a' ended after 1: deleted");
        assert_eq!(text.next_line(), "a 1 ho");
        assert_eq!(json(&objects.next_line())["payload"], "hi");
        assert_eq!(objects.next_line(), r#"{"ended":{"topic":"a","reason":"deleted"}}"#);
        assert_eq!(json(&objects.next_line())["payload"], "ho");
    });
}

#[test]
fn the_broker_gives_new_topics_the_mode_that_it_is_told() {
    on_a_host(|host| {
        let mut broker = host.nlbus(&["broker", "--topic-mode", "0660"]);
        assert!(broker.next_line().starts_with("ready"));
        host.nlbus(&["pub", "x", "hi"]).succeeds();
        assert_eq!(json(&host.nlbus(&["topics", "x", "--json"]).succeeds()[0])["mode"], "0660");
        assert_eq!(json(&host.nlbus(&["info", "--json"]).succeeds().join(""))["limits"]["topic_mode"], "0660");
        assert_eq!(host.nlbus(&["broker", "--topic-mode", "0777"]).end().code, Some(2));
    });
}

#[test]
fn the_broker_has_the_limits_that_it_is_told() {
    on_a_host(|host| {
        let told = ["--topics", "100", "--history", "8MiB", "--user-topics", "7", "--user-history", "1MiB"];
        let mut broker = host.nlbus(&[&["broker"][..], &told].concat());
        assert!(broker.next_line().starts_with("ready"));
        let limits = json(&host.nlbus(&["info", "--json"]).succeeds().join(""))["limits"].take();
        let numbers = ["topics", "history", "user_topics", "user_history", "user_queue", "user_private_groups"];
        assert_eq!(numbers.map(|key| limits[key].as_u64()), [100, 8 << 20, 7, 1 << 20, 0, 0].map(Some), "{limits}");
    });
}

#[test]
fn a_topic_says_what_its_values_are() {
    on_a_host(|host| {
        let _broker = host.broker();
        let created = host.nlbus(&["topic", "create", "x", "--type", "Reading"]).succeeds();
        assert!(created[1].contains("  Reading  "), "{created:?}");
        let type_of = |topic| json(&host.nlbus(&["topics", topic, "--json"]).succeeds()[0])["type"].clone();
        assert_eq!(type_of("x"), "Reading");
        host.nlbus(&["topic", "create", "x", "--type", "Other"]).succeeds();
        assert_eq!(type_of("x"), "Reading", "it has one");
        host.nlbus(&["topic", "set", "x", "--type", ""]).succeeds();
        assert_eq!(type_of("x"), Value::Null);
        host.nlbus(&["topic", "create", "x", "--type", "[u8; 4]"]).succeeds();
        assert_eq!(type_of("x"), "[u8; 4]", "it had none");
        let refused = host.nlbus(&["topic", "set", "x", "--type", "größer"]).end();
        assert!(refused.code == Some(2) && refused.notes[0].contains("printable ASCII"), "{refused:?}");
    });
}
