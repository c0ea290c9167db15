//! `nlbus record --pcapng` and the dissector: what tshark makes of a real capture, and of every message there is.

use crate::host::on_a_host;
use nix::errno::Errno;
use nlbus::wire::uapi::NETLINK_USERSOCK;
use nlbus::wire::{
    Header, Info, Refusal, ReplayEnd, ReplayRequest, TopicKey, TopicRecord, TopicRequest, TopicSettings, WillRequest,
    push_ack, push_info, push_info_request, push_lost, push_publish, push_refusal,
};
use nlbus::{BrokerKind, Content};
use pcap_file::DataLink;
use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketBlock;
use pcap_file::pcapng::blocks::interface_description::InterfaceDescriptionBlock;
use std::fs::File;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use tempfile::tempdir;

const DISSECTOR: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/wireshark/nlbus.lua");

/// What tshark says of a capture.
fn tshark(file: &Path, args: &[&str]) -> String {
    let mut command = Command::new("tshark");
    command.arg("-X").arg(format!("lua_script:{DISSECTOR}")).arg("-r").arg(file).args(args);
    let output = command.output().expect("tshark is needed: apt-get install tshark (scripts/need programs)");
    let (said, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && !errors.contains("Lua") && !said.contains("Lua Error"), "{errors}{said}");
    said.into_owned()
}

#[test]
fn a_capture_is_read_by_tshark() {
    on_a_host(|host| {
        let folder = tempdir().unwrap();
        let file = folder.path().join("events.pcapng");
        let _broker = host.broker();
        let mut record = host.nlbus(&["record", "#", "--pcapng", "-o", file.to_str().unwrap(), "--count", "3"]);
        assert_eq!(record.next_note(), "recording");
        let bus = host.connect();
        bus.publish_content_acked("a/ö", Content::Text, "two\nlines").unwrap();
        bus.publish_acked("a/ö", &[0, 0xff]).unwrap();
        bus.publish_content_acked("a/ö", Content::Json, "{}").unwrap();
        assert_eq!(record.end().code, Some(0));
        let fields = ["topic", "seq", "content", "text", "payload", "pid"].map(|field| format!("-enlbus.{field}"));
        let fields: Vec<_> = ["-T", "fields"].into_iter().chain(fields.iter().map(String::as_str)).collect();
        let pid = std::process::id();
        assert_eq!(
            tshark(&file, &fields).lines().collect::<Vec<_>>(),
            [
                format!("a/ö\t1\t1\ttwo\\nlines\t74776f0a6c696e6573\t{pid}"),
                format!("a/ö\t2\t0\t\t00ff\t{pid}"),
                format!("a/ö\t3\t3\t{{}}\t7b7d\t{pid}"),
            ]
        );
        let found = tshark(&file, &["-Y", "nlbus.topic == \"a/ö\" && nlbus.seq == 2"]);
        assert!(found.lines().count() == 1 && found.contains("EVENT a/ö #2, 2 bytes"), "{found}");
        let dates = tshark(&file, &["-T", "fields", "-e", "frame.time_epoch"]);
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
        assert!(dates.lines().all(|date| (now - 60.0..=now).contains(&date.parse().unwrap())), "{dates}");
        let comments = tshark(&file, &["-T", "fields", "-e", "frame.comment"]);
        assert!(comments.lines().next().unwrap().starts_with("recorded from the bus with epoch "), "{comments}");
    });
}

/// Writes datagrams as a netlink monitor would have seen them.
fn capture(file: &Path, datagrams: &[Vec<u8>]) {
    let mut writer = PcapNgWriter::new(File::create(file).unwrap()).unwrap();
    let interface = InterfaceDescriptionBlock { linktype: DataLink::NETLINK, snaplen: 0, options: Vec::new() };
    writer.write_pcapng_block(interface).unwrap();
    for datagram in datagrams {
        let mut packet = [4u16.to_be_bytes(), 824u16.to_be_bytes()].concat();
        packet.extend([0; 10]);
        packet.extend((NETLINK_USERSOCK as u16).to_be_bytes());
        packet.extend(datagram);
        let block = EnhancedPacketBlock {
            interface_id: 0,
            timestamp: Duration::ZERO,
            original_len: packet.len() as u32,
            data: packet.into(),
            options: Vec::new(),
        };
        writer.write_pcapng_block(block).unwrap();
    }
}

/// One of every message of the protocol, each with words that are to be said of it.
fn messages() -> Vec<(Vec<u8>, Vec<String>)> {
    let mut all = Vec::new();
    let mut add = |words: &[&str], push: &dyn Fn(&mut Vec<u8>)| {
        let mut datagram = Vec::new();
        push(&mut datagram);
        all.push((datagram, words.iter().map(|word| (*word).to_owned()).collect()));
    };
    let to = Header { seq: 7, portid: 9, ..Header::default() };
    add(&["PUBLISH jobs #0, 2 bytes; PUBLISH jobs #0, 1 bytes", "Topic: jobs", "Payload: 17"], &|out| {
        push_publish(out, 1, false, 0, Content::Text, "jobs", b"17");
        push_publish(out, 2, true, 0, Content::Text, "jobs", b"8");
    });
    add(&["PUBLISH jobs, 12 lost", "No event, but numbers that are lost: True", "Numbers lost: 12"], &|out| {
        push_lost(out, 1, true, 0, "jobs", 12);
    });
    add(&["INFO"], &|out| push_info_request(out, 7));
    add(
        &["BROKER: user (1)", "EPOCH: 77", "CLOCK_OFFSET_NS: -5", "LIMITS", "TOPIC_HISTORY: 4096", "PUBLISHED: 3"],
        &|out| {
            let mut info = Info::default();
            (info.epoch, info.broker, info.clock_offset_ns) = (77, BrokerKind::User, -5);
            (info.limits.topic_history, info.counters.published) = (4096, 3);
            push_info(out, to, &info);
        },
    );
    add(&["NAME: jobs", "MODE: 0640", "TYPE: Reading"], &|out| {
        let settings =
            TopicSettings { mode: Some(0o640), type_name: Some("Reading".parse().ok()), ..TopicSettings::default() };
        TopicRequest::Change { key: TopicKey::Name("jobs"), settings }.push(out, 7);
    });
    add(&["OP: LIST (1)", "CURSOR: 5", "SINCE: 6"], &|out| {
        TopicRequest::List { cursor: 5, since: Some(6) }.push(out, 7)
    });
    add(&["OP: DELETE (2)", "ID: 4"], &|out| TopicRequest::Delete(TopicKey::Id(4)).push(out, 7));
    add(&["NAME: jobs", "HEAD: 12", "GROUP: 5", "REPLAYED: 0"], &|out| {
        let mut record = TopicRecord::default();
        (record.id, record.name, record.group, record.head) = (4, "jobs".into(), 5, 12);
        record.push(out, to, false);
    });
    add(&["EPOCH: 77", "TOPIC: 4", "FROM: 2", "LIMIT: 3"], &|out| {
        ReplayRequest { epoch: 77, topic_id: 4, from: 2, limit: Some(3) }.push(out, 7);
    });
    add(&["FIRST: 1", "NEXT: 3", "HEAD: 9"], &|out| {
        ReplayEnd { topic_id: 4, first: 1, next: 3, head: 9 }.push(out, to)
    });
    add(&["TOPIC: gone", "CONTENT: text (1)", "PAYLOAD: 627965"], &|out| {
        WillRequest::Set { topic: "gone", content: 1, payload: b"bye" }.push(out, 7);
    });
    add(&["ERROR or ack error 13", "reason: not yours"], &|out| {
        push_refusal(out, to, 64, &Refusal::new(Errno::EACCES, "not yours"));
    });
    add(&["ERROR or ack ack", "sequence number: 12"], &|out| push_ack(out, to, 64, Some(12)));
    all
}

#[test]
fn every_message_is_dissected() {
    let folder = tempdir().unwrap();
    let file = folder.path().join("all.pcapng");
    for (datagram, words) in messages() {
        capture(&file, &[datagram]);
        let said = tshark(&file, &["-V", "-P"]);
        assert!(!said.contains("Malformed"), "{said}");
        for word in words {
            assert!(said.contains(&word), "no '{word}' in {said}");
        }
    }
}

#[test]
fn messages_cut_anywhere_are_malformed_and_no_more() {
    let folder = tempdir().unwrap();
    let file = folder.path().join("cut.pcapng");
    let cut: Vec<Vec<u8>> =
        messages().iter().flat_map(|(whole, _)| (1..whole.len()).map(|len| whole[..len].to_vec())).collect();
    capture(&file, &cut);
    // One that lies about its length, too.
    let said = tshark(&file, &["-V"]);
    assert!(said.contains("its length is"), "{}", &said[..1000]);
}
