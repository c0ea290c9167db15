//! The C header and the Rust mirror of it are the same: every constant, in both directions, every size and offset.
//! The C compiler says what the header means; frames written in Rust are read back through the header's structs.

use nlbus::kernel::{self, Cpu, Link, LinkAction, Module, ModuleAction, Name, OutOfMemory, Reboot, RebootAction};
use nlbus::wire::uapi::{ALL, STRINGS};
use nlbus::wire::{
    ClientNews, ClientsAnnouncement, EventHeader, Header, Heartbeat, LostNumbers, Messages, MovedTopic,
    TopicsAnnouncement, push_event, push_lost,
};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// Names of the header that Rust has no use for: guards, ends of enums, and what stands for nothing.
fn only_in_c(name: &str) -> bool {
    name.starts_with('_') || name.ends_with("_UNSPEC")
}

fn header() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../kmod/include/uapi/linux/nlbus.h")
}

/// Compiles and runs a C program that includes the header, and returns what it prints.
fn run_c(name: &str, declarations: &str, body: &str) -> String {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("abi-{name}"));
    fs::create_dir_all(&folder).unwrap();
    let (source, program) = (folder.join("abi.c"), folder.join("abi"));
    let text = format!(
        "#include <stddef.h>\n#include <stdio.h>\n#include <string.h>\n#include <linux/genetlink.h>\n\
         #include <linux/netlink.h>\n#include <linux/nlbus.h>\n#include <linux/nlbus_events.h>\n{declarations}\nint main(void)\n{{\n{body}\treturn 0;\n}}\n"
    );
    fs::write(&source, text).unwrap();
    let compiler = env::var("CC").unwrap_or_else(|_| "cc".into());
    let include = header().ancestors().nth(2).unwrap().to_owned();
    let compiled = Command::new(&compiler)
        .args(["-std=gnu11", "-Wall", "-Wextra", "-Werror", "-I"])
        .args([&include, Path::new("-o"), &program, &source])
        .output()
        .unwrap_or_else(|error| panic!("can't run the C compiler {compiler}: {error}"));
    assert!(compiled.status.success(), "{}\n{}", source.display(), String::from_utf8_lossy(&compiled.stderr));
    let ran = Command::new(&program).output().unwrap();
    assert!(ran.status.success(), "{ran:?}");
    String::from_utf8(ran.stdout).unwrap()
}

/// Lines `name value` as a map.
fn values(printed: &str) -> BTreeMap<&str, &str> {
    printed.lines().map(|line| line.split_once(' ').unwrap()).collect()
}

/// The names that the header defines, with `#define` or in an enum.
fn defined() -> BTreeSet<String> {
    let mut text = fs::read_to_string(header()).unwrap();
    while let Some(start) = text.find("/*") {
        let end = text[start..].find("*/").expect("a comment ends") + start + 2;
        text.replace_range(start..end, " ");
    }
    let mut names = BTreeSet::new();
    let mut in_enum = false;
    for line in text.lines().map(str::trim) {
        in_enum = (in_enum || line.starts_with("enum")) && !line.starts_with('}');
        let rest = match line.strip_prefix("#define") {
            Some(rest) => rest.trim(),
            None if in_enum => line,
            None => continue,
        };
        let name: String = rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
        if name.trim_start_matches('_').starts_with("NLBUS_") {
            names.insert(name);
        }
    }
    names
}

#[test]
fn constants_have_the_values_that_the_header_says() {
    let mut body = String::new();
    for (name, _) in ALL {
        // A complement of an int: only the 16 bits of nla_type count.
        let cast = if *name == "NLA_TYPE_MASK" { "(__u16)" } else { "" };
        writeln!(body, "\tprintf(\"{name} %llu\\n\", (unsigned long long){cast}({name}));").unwrap();
    }
    for (name, _) in STRINGS {
        writeln!(body, "\tprintf(\"{name} %s\\n\", {name});").unwrap();
    }
    let printed = run_c("constants", "", &body);
    let c = values(&printed);
    let rust = ALL.iter().map(|(name, value)| (*name, value.to_string()));
    let rust = rust.chain(STRINGS.iter().map(|(name, value)| (*name, (*value).to_owned())));
    let different: Vec<_> = rust
        .filter(|(name, value)| c.get(name) != Some(&value.as_str()))
        .map(|(name, value)| (name, value, c.get(name)))
        .collect();
    assert!(different.is_empty(), "name, in Rust, in C: {different:#?}");
    assert_eq!(c.len(), ALL.len() + STRINGS.len());
}

#[test]
fn the_header_has_no_constant_that_rust_lacks() {
    let names = defined();
    assert!(
        names.len() > 100 && names.contains("NLBUS_WILL_A_PAYLOAD") && names.contains("NLBUS_VERSION"),
        "{names:?}"
    );
    let known: BTreeSet<&str> =
        ALL.iter().map(|(name, _)| *name).chain(STRINGS.iter().map(|(name, _)| *name)).collect();
    let missing: Vec<_> = names.iter().filter(|name| !only_in_c(name) && !known.contains(name.as_str())).collect();
    assert!(missing.is_empty(), "in the header, not in wire::uapi: {missing:#?}");
}

/// DESIGN and header have these numbers in prose; here the compiler says them.
#[test]
fn structs_have_their_sizes_and_offsets() {
    type Fields = &'static [(&'static str, usize)];
    let structs: [(&str, usize, Fields); 7] = [
        (
            "nlbus_event_hdr",
            nlbus::wire::EVENT_HDRLEN,
            &[
                ("seq", 0),
                ("time_ns", 8),
                ("topic_id", 16),
                ("portid", 20),
                ("pid", 24),
                ("uid", 28),
                ("topic_len", 32),
                ("flags", 34),
                ("content", 36),
                ("reserved", 38),
            ],
        ),
        ("nlbus_lost", LostNumbers::LEN, &[("count", 0)]),
        (
            "nlbus_sys_heartbeat",
            Heartbeat::LEN,
            &[
                ("epoch", 0),
                ("uptime_ns", 8),
                ("published", 16),
                ("overruns", 24),
                ("change", 32),
                ("last_id", 40),
                ("moved", 44),
            ],
        ),
        ("nlbus_sys_topics", TopicsAnnouncement::LEN, &[("last_id", 0), ("moved", 4), ("count", 12)]),
        ("nlbus_sys_topic", MovedTopic::LEN, &[("id", 0), ("end", 4)]),
        ("nlbus_sys_clients", ClientsAnnouncement::LEN, &[("joined", 0), ("left", 8), ("count", 16)]),
        ("nlbus_sys_client", ClientNews::LEN, &[("portid", 0), ("pid", 4), ("uid", 8), ("left", 12)]),
    ];
    let (mut body, mut want) = (String::new(), BTreeMap::new());
    for (name, size, fields) in structs {
        writeln!(body, "\tprintf(\"{name} %zu\\n\", sizeof(struct {name}));").unwrap();
        want.insert(name.to_owned(), size.to_string());
        for (field, offset) in fields {
            writeln!(body, "\tprintf(\"{name}.{field} %zu\\n\", offsetof(struct {name}, {field}));").unwrap();
            want.insert(format!("{name}.{field}"), offset.to_string());
        }
    }
    let printed = run_c("structs", "", &body);
    let seen: BTreeMap<_, _> = values(&printed).into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
    assert_eq!(seen, want);
}

/// What Rust writes, C reads: a different number in each field.
#[test]
fn frames_written_in_rust_are_read_by_c() {
    let header = EventHeader {
        seq: 0x1111_2222_3333_4444,
        time_ns: 0x5555_6666_7777_8888,
        topic_id: 0x9999_aaaa,
        portid: 0xbbbb_cccc,
        pid: 0xdddd_eeee,
        uid: 0x0102_0304,
        flags: 0x0506,
        content: 0x0708,
    };
    let mut event = Vec::new();
    push_event(
        &mut event,
        Header { kind: 0x11, flags: 2, seq: 3, portid: 4 },
        &header,
        "a/topic/of/17/chr",
        b"payload",
    );
    let mut lost = Vec::new();
    push_lost(&mut lost, 5, true, 8, "a/topic", 0x8765_4321);
    let beat =
        Heartbeat { epoch: 0x1111_2222, uptime_ns: 2, published: 3, overruns: 4, change: 5, last_id: 6, moved: 7 };
    let topics = vec![MovedTopic { id: 8, end: 0x9999_0000_0009 }, MovedTopic { id: 10, end: 11 }];
    let topics = TopicsAnnouncement { last_id: 12, moved: 0x1313_0000_0013, topics };
    let declarations = format!(
        "static const unsigned char event[] = {{ {} }};\nstatic const unsigned char lost[] = {{ {} }};\n\
         static const unsigned char beat[] = {{ {} }};\nstatic const unsigned char topics[] = {{ {} }};\n",
        list(&event),
        list(&lost),
        list(&beat.to_bytes()),
        list(&topics.to_bytes())
    );
    let body = r#"
	struct nlmsghdr nlh;
	struct nlbus_event_hdr e;
	struct nlbus_sys_heartbeat b;
	struct nlbus_sys_topics t;
	struct nlbus_sys_topic named[2];
	const unsigned char *topic = event + NLMSG_HDRLEN + sizeof(e), *payload;

	memcpy(&nlh, event, sizeof(nlh));
	memcpy(&e, event + NLMSG_HDRLEN, sizeof(e));
	memcpy(&b, beat, sizeof(b));
	memcpy(&t, topics, sizeof(t));
	memcpy(named, topics + sizeof(t), sizeof(named));
	payload = topic + (e.topic_len + NLBUS_TOPIC_ALIGNTO - 1) / NLBUS_TOPIC_ALIGNTO * NLBUS_TOPIC_ALIGNTO;
	printf("message %u %x %x %x %x\n", nlh.nlmsg_len, nlh.nlmsg_type, nlh.nlmsg_flags, nlh.nlmsg_seq, nlh.nlmsg_pid);
	printf("event %llx %llx %x %x %x %x %u %x %x %x\n", (unsigned long long)e.seq, (unsigned long long)e.time_ns,
	       e.topic_id, e.portid, e.pid, e.uid, e.topic_len, e.flags, e.content, e.reserved);
	printf("topic %.*s\n", e.topic_len, topic);
	printf("payload %.*s\n", (int)(event + nlh.nlmsg_len - payload), payload);
	memcpy(&e, lost + NLMSG_HDRLEN, sizeof(e));
	payload = lost + NLMSG_HDRLEN + sizeof(e) + 8;
	printf("lost %d %x %llx\n", e.flags == (NLBUS_EVENT_F_LOST | NLBUS_EVENT_F_NO_WAIT), e.content,
	       (unsigned long long)((const struct nlbus_lost *)payload)->count);
	printf("beat %llx %llu %llu %llu %llu %u %llu\n", (unsigned long long)b.epoch, (unsigned long long)b.uptime_ns,
	       (unsigned long long)b.published, (unsigned long long)b.overruns, (unsigned long long)b.change, b.last_id,
	       (unsigned long long)b.moved);
	printf("topics %u %llx %llu, %u %llx, %u %llx\n", t.last_id, (unsigned long long)t.moved,
	       (unsigned long long)t.count, named[0].id, (unsigned long long)named[0].end, named[1].id,
	       (unsigned long long)named[1].end);
"#;
    let len = Messages::new(&event).next().unwrap().unwrap().body.len() + 16;
    let want = format!(
        "message {len} 11 2 3 4\n\
         event 1111222233334444 5555666677778888 9999aaaa bbbbcccc ddddeeee 1020304 17 506 708 0\n\
         topic a/topic/of/17/chr\npayload payload\nlost 1 0 87654321\nbeat 11112222 2 3 4 5 6 7\n\
         topics 12 131300000013 2, 8 999900000009, 10 b\n"
    );
    assert_eq!(run_c("frames", &declarations, body), want);
}

/// What C has in memory is what Rust encodes, field by field: so it decodes it, too.
#[test]
fn kernel_events_are_values() {
    const CONFIG: bincode::config::Configuration<bincode::config::LittleEndian, bincode::config::Fixint> =
        bincode::config::standard().with_little_endian().with_fixed_int_encoding();
    fn hex(value: &impl Serialize) -> String {
        let bytes = bincode::serde::encode_to_vec(value, CONFIG).unwrap();
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }
    fn name<const N: usize>(text: &str) -> Name<N> {
        let mut bytes = [0; N];
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        bytes.into()
    }
    let long = "m".repeat(63);
    let link = Link { ifindex: 0x0102, flags: 0x0304_0506, mtu: 1500, action: LinkAction::Renamed, name: name("eth0") };
    let events = [
        ("link", kernel::LINK, hex(&link)),
        ("module", kernel::MODULE, hex(&Module { action: ModuleAction::Unloading, name: name(&long) })),
        ("cpu", kernel::CPU, hex(&Cpu { cpu: 0x0102, online: true })),
        ("reboot", kernel::REBOOT, hex(&Reboot { action: RebootAction::PowerOff })),
        ("oom", kernel::OOM, hex(&OutOfMemory { free_bytes: 0x0102_0304_0506, total_bytes: 0x0708_0000_0000 })),
    ];
    let declarations = "static void print(const char *name, const char *topic, const void *event, size_t len)\n{\n\
                        \tconst unsigned char *byte = event;\n\n\tprintf(\"%s %s \", name, topic);\n\
                        \twhile (len--)\n\t\tprintf(\"%02x\", *byte++);\n\tprintf(\"\\n\");\n}\n";
    let body = format!(
        r#"
	struct nlbus_link_event link = {{
		.ifindex = 0x0102, .flags = 0x03040506, .mtu = 1500, .action = NLBUS_LINK_RENAMED, .name = "eth0",
	}};
	struct nlbus_module_event module = {{ .action = NLBUS_MODULE_UNLOADING, .name = "{long}" }};
	struct nlbus_cpu_event cpu = {{ .cpu = 0x0102, .online = 1 }};
	struct nlbus_reboot_event reboot = {{ .action = NLBUS_REBOOT_POWER_OFF }};
	struct nlbus_oom_event oom = {{ .free_bytes = 0x010203040506, .total_bytes = 0x070800000000 }};

	print("link", NLBUS_EVENTS_LINK, &link, sizeof(link));
	print("module", NLBUS_EVENTS_MODULE, &module, sizeof(module));
	print("cpu", NLBUS_EVENTS_CPU, &cpu, sizeof(cpu));
	print("reboot", NLBUS_EVENTS_REBOOT, &reboot, sizeof(reboot));
	print("oom", NLBUS_EVENTS_OOM, &oom, sizeof(oom));
"#
    );
    let want: String = events.iter().map(|(name, topic, bytes)| format!("{name} {topic} {bytes}\n")).collect();
    assert_eq!(run_c("events", declarations, &body), want);
    // And all that may happen, by number.
    let body = "\tprintf(\"%d %d %d %d %d, %d %d, %d %d %d\\n\", NLBUS_LINK_ADDED, NLBUS_LINK_REMOVED, NLBUS_LINK_UP, \
                NLBUS_LINK_DOWN, NLBUS_LINK_RENAMED, NLBUS_MODULE_LOADED, NLBUS_MODULE_UNLOADING, NLBUS_REBOOT_RESTART, \
                NLBUS_REBOOT_HALT, NLBUS_REBOOT_POWER_OFF);\n";
    let number = u32::from(LinkAction::Added);
    assert_eq!((number, run_c("actions", "", body).as_str()), (1, "1 2 3 4 5, 1 2, 1 2 3\n"));
    let known = |number| !matches!(LinkAction::from(number), LinkAction::Other(_));
    assert!((1..=5).all(known) && !known(6));
}

fn list(bytes: &[u8]) -> String {
    bytes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
