//! `nlbus doctor`: each finding is made to happen, named, and gone once its remedy was applied.

use crate::command::json;
use crate::host::{Host, Running, in_a_network_of_its_own, on_a_host};
use netlink_sys::{Socket, protocols::NETLINK_USERSOCK};
use serde_json::Value;
use std::process::Stdio;

/// What `nlbus doctor --json` found, and its exit status.
struct Visit {
    findings: Vec<Value>,
    code: Option<i32>,
}

impl Visit {
    fn of(doctor: Running) -> Visit {
        let ended = doctor.end();
        assert_eq!(ended.output.len(), 1, "{ended:?}");
        let findings = json(&ended.output[0]).as_array().expect("an array").clone();
        let problems = findings.iter().filter(|finding| finding["status"] == "problem").count();
        assert_eq!(ended.code, Some((problems > 0).into()), "{findings:?}");
        assert_eq!(ended.notes.len(), usize::from(problems > 0), "one line says so: {:?}", ended.notes);
        for finding in &findings {
            let is_ill = finding["status"] == "problem" || finding["status"] == "warning";
            assert_eq!(finding["remedy"].is_string(), is_ill, "{finding}");
        }
        Visit { findings, code: ended.code }
    }

    fn finding(&self, check: &str) -> &Value {
        let found = self.findings.iter().find(|finding| finding["check"] == check);
        found.unwrap_or_else(|| panic!("no {check}: {:?}", self.findings))
    }

    fn status(&self, check: &str) -> &str {
        self.finding(check)["status"].as_str().unwrap()
    }

    fn remedy(&self, check: &str) -> &str {
        self.finding(check)["remedy"].as_str().unwrap_or_else(|| panic!("{}", self.finding(check)))
    }
}

fn doctor(host: &Host) -> Visit {
    Visit::of(host.nlbus_with(&["doctor", "--json"], &[("NLBUS_BROKER", "auto")]))
}

/// Starts something through a program like setpriv(1) that changes what it is.
fn through(host: &Host, wrapper: &[&str], args: &[&str]) -> Running {
    let mut command = host.command(wrapper[0]);
    command.args(&wrapper[1..]).arg(env!("CARGO_BIN_EXE_nlbus")).args(args).stdin(Stdio::null());
    Running::start(&mut command, args)
}

/// Whether tests may become other users: not inside `unshare -Ur`, which knows one.
fn knows_other_users() -> bool {
    std::fs::read_to_string("/proc/self/uid_map").unwrap().contains("4294967295")
}

#[test]
fn without_a_broker_there_is_one_problem_and_its_remedy_mends_it() {
    on_a_host(|host| {
        let ill = doctor(host);
        assert_eq!((ill.code, ill.status("broker")), (Some(1), "problem"), "{:?}", ill.findings);
        assert_eq!(ill.findings.iter().filter(|finding| finding["status"] == "problem").count(), 1);
        let mut shell = host.shell(&format!("{} wait", ill.remedy("broker")));
        assert!(shell.next_line().starts_with("ready"));
        let well = doctor(host);
        for check in ["broker", "user broker", "publish", "subscribe", "drops"] {
            assert_eq!(well.status(check), "ok", "{}", well.finding(check));
        }
        let what = well.finding("user broker")["what"].as_str().unwrap();
        let pid = what.split("process ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap();
        host.shell(&format!("kill {pid}")).succeeds();
        shell.succeeds();
        assert_eq!(well.code, Some(0));
    });
}

#[test]
fn the_trial_leaves_nothing_behind_and_disturbs_nobody() {
    on_a_host(|host| {
        let _broker = host.broker();
        let sub = host.sub(&["#", "--count", "1"]);
        assert_eq!(doctor(host).status("subscribe"), "ok");
        host.nlbus(&["pub", "x", "after"]).succeeds();
        assert_eq!(sub.succeeds(), ["x 1 after"]);
        assert_eq!(host.nlbus(&["topics", "$doctor/#", "--json"]).succeeds(), Vec::<String>::new());
    });
}

#[test]
fn a_broker_that_is_stopped_is_continued() {
    on_a_host(|host| {
        let broker = host.broker();
        broker.signal("STOP");
        let ill = doctor(host);
        assert_eq!(ill.status("user broker"), "problem", "{:?}", ill.findings);
        assert_eq!(ill.remedy("user broker"), format!("kill -CONT {}", broker.pid()));
        host.shell(ill.remedy("user broker")).succeeds();
        assert_eq!(doctor(host).code, Some(0));
    });
}

#[test]
fn a_strangers_broker_is_named_and_can_be_believed() {
    on_a_host(|host| {
        if !knows_other_users() {
            return;
        }
        let mut broker = through(host, &["setpriv", "--reuid", "54321", "--clear-groups"], &["broker"]);
        broker.next_line();
        let ill = doctor(host);
        assert_eq!(ill.status("user broker"), "problem", "{:?}", ill.findings);
        assert!(ill.finding("user broker")["what"].as_str().unwrap().contains(&format!("process {}", broker.pid())));
        let healed = host.shell(&format!("{}; nlbus doctor --json", ill.remedy("user broker")));
        let healed = Visit::of(healed);
        assert_eq!((healed.code, healed.status("subscribe")), (Some(0), "ok"), "{:?}", healed.findings);
    });
}

#[test]
fn an_ordinary_user_is_told_what_he_may_not() {
    on_a_host(|host| {
        if !knows_other_users() {
            return;
        }
        let _broker = host.broker();
        let nobody = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "--inh-caps=-all"];
        let visit = Visit::of(through(host, &nobody, &["doctor", "--json"]));
        assert_eq!(visit.status("CAP_NET_ADMIN"), "warning");
        assert_eq!((visit.status("publish"), visit.status("subscribe")), ("ok", "problem"), "{:?}", visit.findings);
        assert_eq!(visit.status("network namespace"), "skipped", "process 1 is root's: {:?}", visit.findings);
        // The remedy is to be root, as this test is.
        assert_eq!(visit.remedy("subscribe"), "sudo -E nlbus doctor");
        assert_eq!(doctor(host).status("subscribe"), "ok");
    });
}

#[test]
fn a_network_namespace_has_a_bus_of_its_own() {
    in_a_network_of_its_own(|host| {
        let visit = doctor(host);
        let what = visit.finding("network namespace")["what"].as_str().unwrap().to_owned();
        assert!(what.contains("a bus of its own") || visit.status("network namespace") == "skipped", "{what}");
        assert_eq!(visit.status("broker"), "problem");
    });
}

#[test]
fn what_the_environment_has_wrong_is_unset() {
    on_a_host(|host| {
        let _broker = host.broker();
        for (name, value) in [("NLBUS_BROKER", "kernel"), ("NLBUS_BROKER_UID", "root"), ("NLBUS_PORT", "x")] {
            let ill = Visit::of(host.nlbus_with(&["doctor", "--json"], &[(name, value)]));
            assert_eq!(ill.remedy("broker"), format!("unset {name}"));
        }
        let healed = host.shell("NLBUS_BROKER=kernel; unset NLBUS_BROKER; nlbus doctor --json");
        assert_eq!(Visit::of(healed).status("broker"), "ok");
    });
}

#[test]
fn who_drops_datagrams_is_named() {
    on_a_host(|host| {
        let _broker = host.broker();
        host.nlbus(&["topic", "create", "x"]).succeeds();
        let group = json(&host.nlbus(&["topics", "x", "--json"]).succeeds()[0])["group"].as_u64().unwrap();
        let mut slow = Socket::new(NETLINK_USERSOCK).unwrap();
        slow.set_rx_buf_sz(4096_u32).unwrap();
        slow.bind_auto().unwrap();
        slow.add_membership(u32::try_from(group).unwrap()).unwrap();
        host.nlbus(&["pub", "x", &"x".repeat(4096), "--count", "20", "--ack"]).succeeds();
        let visit = doctor(host);
        assert_eq!(visit.status("drops"), "warning", "{:?}", visit.findings);
        assert_eq!(visit.remedy("drops"), "nlbus topic set TOPIC --history BYTES");
        assert_eq!(visit.code, Some(0), "a warning is no problem");
        drop(slow);
        assert_eq!(doctor(host).status("drops"), "ok");
    });
}

#[test]
fn what_cannot_be_read_is_skipped() {
    on_a_host(|host| {
        let _broker = host.broker();
        // Neither /proc nor /sys, nor any command to ask.
        let line = "mount -t tmpfs none /proc && mount -t tmpfs none /sys && PATH=/nowhere exec \"$0\" doctor --json";
        let visit = Visit::of(through(host, &["unshare", "-m", "sh", "-c", line], &[]));
        for check in ["kernel", "CAP_NET_ADMIN", "user namespace", "network namespace", "drops"] {
            assert_eq!(visit.status(check), "skipped", "{:?}", visit.findings);
        }
        assert_eq!(visit.status("subscribe"), "ok", "{:?}", visit.findings);
    });
}
