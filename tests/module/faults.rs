//! Faults in the kernel's allocations, and what comes of datagrams meanwhile.

use crate::kernel::KernelLog;
use nix::errno::Errno;
use nlbus::wire::uapi::NLMSG_ERROR;
use nlbus::wire::{Answer, Content, push_info_request, push_publish};
use nlbus_tests::{Endpoint, RawClient};
use rustix::process::Uid;
use rustix::thread::set_thread_res_uid;
use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;

/// The events of `topic`, published by the raw client; the last one asks for an ack.
pub(crate) fn publishes(topic: &str, count: usize, size: usize) -> Vec<u8> {
    let mut datagram = Vec::new();
    for number in 1..=count {
        push_publish(&mut datagram, 7, number == count, 0, Content::Opaque, topic, &vec![0; size]);
    }
    datagram
}

pub(crate) fn request(push: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut datagram = Vec::new();
    push(&mut datagram);
    datagram
}

/// Lets also allocations fail that may sleep, for as long as it lives, and collects who was hit.
pub(crate) struct Faults {
    log: KernelLog,
    /// The module's function that asked for memory, or that netlink asked on behalf of. Who asked without warnings
    /// (`__GFP_NOWARN`) was hit without a word.
    pub(crate) hit: BTreeMap<String, usize>,
    /// A fault was told of, and who was hit wasn't yet: a stack that another processor prints comes bit by bit.
    open: bool,
}

impl Faults {
    pub(crate) fn new() -> Faults {
        for kind in ["failslab", "fail_page_alloc"] {
            let folder = format!("/sys/kernel/debug/{kind}");
            fs::write(format!("{folder}/ignore-gfp-wait"), "N").expect("debugfs");
            let _ = fs::write(format!("{folder}/min-order"), "0");
        }
        Faults { log: KernelLog::from_now(), hit: BTreeMap::new(), open: false }
    }

    /// Has the n-th allocation of a task, by its folder in /proc, fail while `run` runs. Returns what it returned, and
    /// whether there was such an allocation.
    pub(crate) fn inject<T>(&mut self, task: &str, n: u32, run: impl FnOnce() -> T) -> (T, bool) {
        let path = &format!("{task}/fail-nth");
        // Open before: that takes memory, too.
        let file = OpenOptions::new().read(true).write(true).open(path).expect(path);
        let n = n.to_string();
        let mut left = [0; 16];
        file.write_all_at(n.as_bytes(), 0).expect(path);
        let result = run();
        let len = file.read_at(&mut left, 0).expect(path);
        file.write_all_at(b"0", 0).expect(path);
        self.read();
        (result, left[..len].trim_ascii() == b"0")
    }

    /// Has all slab allocations of a task fail behind the first `spared` bytes of them, while `run` runs. Who is hit isn't told
    /// of. Returns what it returned, and whether there was such an allocation.
    pub(crate) fn starve<T>(task: &str, spared: u32, run: impl FnOnce() -> T) -> (T, bool) {
        const SLAB: &str = "/sys/kernel/debug/failslab";
        let set = |name: &str, value: &str| fs::write(format!("{SLAB}/{name}"), value).expect(name);
        // More often than it can fail: how often is left tells whether it did.
        const OFTEN: &str = "1000000000";
        for (name, value) in [("task-filter", "Y"), ("verbose", "0"), ("interval", "1"), ("times", OFTEN)] {
            set(name, value);
        }
        set("space", &spared.to_string());
        // Open before: that takes memory, and root.
        let [mut percent, mut ours] = [&format!("{SLAB}/probability"), &format!("{task}/make-it-fail")]
            .map(|path| OpenOptions::new().write(true).open(path).expect(path));
        ours.write_all(b"1").expect("make-it-fail");
        percent.write_all(b"100").expect("probability");
        let result = run();
        percent.write_all(b"0").expect("probability");
        be_root();
        ours.write_all(b"0").expect("make-it-fail");
        let left = fs::read_to_string(format!("{SLAB}/times")).expect("times");
        for (name, value) in [("verbose", "2"), ("task-filter", "N"), ("space", "0"), ("times", "1")] {
            set(name, value);
        }
        (result, left.trim() != OFTEN)
    }

    /// Reads the stacks that the kernel prints with each fault.
    fn read(&mut self) {
        for line in self.log.all() {
            if line.contains("FAULT_INJECTION: forcing a failure") {
                self.open = true;
            } else if self.open && line.contains("[nlbus]") && !line.contains(" ? ") {
                let name = line.trim().split('+').next().unwrap_or_default().to_owned();
                *self.hit.entry(name).or_default() += 1;
                self.open = false;
            }
        }
    }

    pub(crate) fn table(&mut self) -> String {
        self.read();
        self.hit.iter().map(|(name, times)| format!("      {name}: {times}\n")).collect()
    }
}

/// The folder of the calling thread in /proc.
pub(crate) const OWN: &str = "/proc/thread-self";

/// What came of a datagram: how sending it failed, or what was answered, in short.
pub(crate) fn outcome(raw: &RawClient, endpoint: Endpoint, datagram: &[u8]) -> String {
    match raw.try_send(endpoint, datagram) {
        Ok(()) => "sent".to_owned(),
        Err(error) => Errno::from_raw(error.raw_os_error().unwrap_or(0)).to_string(),
    }
}

/// All that the broker has answered until now.
pub(crate) fn answers(raw: &RawClient) -> Vec<String> {
    let mut barrier = Vec::new();
    push_info_request(&mut barrier, 99);
    raw.send(Endpoint::Request, &barrier);
    let mut answers = Vec::new();
    loop {
        for message in raw.receive().messages() {
            match message.header {
                header if header.seq == 99 => return answers,
                header if header.kind == NLMSG_ERROR => match Answer::parse(&message).expect("an answer").result {
                    Ok(_) => answers.push("ack".to_owned()),
                    Err(refusal) => answers.push(refusal.errno.to_string()),
                },
                header => answers.push(format!("{:#x}", header.kind)),
            }
        }
    }
}

/// Makes the calling thread, and it alone, another user's and runs this, until [`be_root`]. That takes memory: without, it
/// isn't run.
pub(crate) fn as_user(uid: u32, run: impl FnOnce() -> String) -> String {
    let uid = Uid::from_raw(uid);
    match set_thread_res_uid(uid, uid, Uid::ROOT) {
        Ok(()) => run(),
        Err(error) => error.to_string(),
    }
}

/// The end of [`as_user`].
pub(crate) fn be_root() {
    set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT).expect("to be root again");
}

/// The folder of the bus thread in /proc; it is the one of this namespace's bus, which was started last.
pub(crate) fn bus_thread() -> io::Result<String> {
    let mut newest = 0;
    for entry in fs::read_dir("/proc")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let comm = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
        let cmdline = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if comm.trim() == "nlbus" && cmdline.is_empty() {
            newest = newest.max(pid);
        }
    }
    Ok(format!("/proc/{newest}/task/{newest}"))
}
