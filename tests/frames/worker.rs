//! One client that does whatever comes to its mind, as fast as it can: a process of its own, so that it can also be killed.

use crate::grammar::{Known, datagram};
use fastrand::Rng;
use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{geteuid, setgid, setuid};
use nlbus::wire::uapi::*;
use nlbus::wire::{Answer, Header, Info, Messages, TopicPageEnd, push_info_request, push_message};
use nlbus_tests::{Args, Endpoint, Place, RawClient, say};
use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

/// Sockets at a time.
const SOCKETS: usize = 8;

#[derive(Default)]
struct Worker {
    rng: Rng,
    known: Known,
    sockets: Vec<RawClient>,
    datagrams: u64,
    messages: u64,
    steps: u64,
    /// By errno; 0 for acks.
    answers: BTreeMap<i32, u64>,
    received: u64,
    retired: bool,
}

/// Goes on for so many `ms`, as this `uid`, and says what was done.
pub(crate) fn work(place: Place, args: &Args) {
    let (seed, ms): (u64, u64) = (args.need("seed"), args.need("ms"));
    if let Some(uid) = args.get::<u32>("uid") {
        setgid(uid.into()).expect("setgid");
        setuid(uid.into()).expect("setuid");
    }
    let elsewhere = args.get::<u8>("elsewhere");
    if elsewhere == Some(1) {
        // As an ordinary user may, too.
        let user = if geteuid().is_root() { CloneFlags::empty() } else { CloneFlags::CLONE_NEWUSER };
        if unshare(user | CloneFlags::CLONE_NEWNET).is_err() {
            return;
        }
    }
    let mut worker = Worker { rng: Rng::with_seed(seed), ..Worker::default() };
    let end = Instant::now() + Duration::from_millis(ms);
    while Instant::now() < end && !worker.retired {
        worker.step(place);
    }
    worker.sockets.clear();
    if elsewhere.is_some() {
        // Who started it has no ear for it.
        return;
    }
    let answers: String = worker.answers.iter().map(|(errno, count)| format!(" {errno}:{count}")).collect();
    let Worker { steps, datagrams, messages, received, .. } = worker;
    say(format_args!("done steps={steps} datagrams={datagrams} messages={messages} received={received}{answers}"));
}

impl Worker {
    fn step(&mut self, place: Place) {
        self.steps += 1;
        if self.sockets.is_empty() {
            return self.open(place);
        }
        match self.rng.u32(..1000) {
            0..20 if self.sockets.len() < SOCKETS => self.open(place),
            20..35 => drop(self.sockets.swap_remove(self.rng.usize(..self.sockets.len()))),
            35..75 => {
                let group = if self.rng.u8(..4) == 0 { self.rng.u32(..) } else { self.rng.u32(..=self.known.groups) };
                let socket = self.socket();
                let _ = if group.is_multiple_of(3) { socket.leave(group) } else { socket.join(group) };
            }
            75..85 => {
                let bytes = self.rng.i32(..1 << 20);
                self.socket().set_buffer(bytes);
            }
            85..90 => {
                let (datagram, _) = datagram(&mut self.rng, &self.known);
                let (port, groups) = (self.rng.u32(..3), self.rng.u32(..4));
                let _ = self.socket().send_to(port, groups, &datagram);
            }
            90..95 => {
                let (datagram, _) = datagram(&mut self.rng, &self.known);
                let uid = self.rng.u32(..3);
                let _ = self.socket().send_claiming(Endpoint::Publish, &datagram, 1, uid);
            }
            95..97 => self.start_another(place),
            97..110 => self.look(),
            110..300 => self.receive(),
            _ => self.send(),
        }
    }

    fn socket(&mut self) -> &RawClient {
        let at = self.rng.usize(..self.sockets.len());
        &self.sockets[at]
    }

    fn open(&mut self, place: Place) {
        match RawClient::bind(place, 0) {
            Ok(socket) => self.sockets.push(socket),
            // Whoever has none asks in vain once the module is gone.
            Err(_) => self.retired = true,
        }
    }

    fn send(&mut self) {
        let (datagram, messages) = datagram(&mut self.rng, &self.known);
        let to = if self.rng.bool() { Endpoint::Publish } else { Endpoint::Request };
        if self.socket().try_send(to, &datagram).is_ok() {
            self.datagrams += 1;
            self.messages += messages as u64;
        }
    }

    /// Learns what there is, so that what is sent next is about it.
    fn look(&mut self) {
        let mut datagram = Vec::new();
        push_info_request(&mut datagram, 1);
        let list = Header { kind: NLBUS_MSG_TOPIC, flags: NLM_F_REQUEST, seq: 2, portid: 0 };
        push_message(&mut datagram, list, |body| body.u32(NLBUS_TOPIC_A_OP, NLBUS_TOPIC_OP_LIST));
        let _ = self.socket().try_send(Endpoint::Request, &datagram);
    }

    /// Reads some of what came, which has to be whole messages.
    fn receive(&mut self) {
        let at = self.rng.usize(..self.sockets.len());
        for _ in 0..self.rng.u8(..20) {
            let datagram = match self.sockets[at].receive_now() {
                Ok(Some(datagram)) => datagram,
                Ok(None) => return,
                Err(error) if error.raw_os_error() == Some(Errno::ESHUTDOWN as i32) => {
                    self.retired = true;
                    return;
                }
                // An overrun.
                Err(_) => continue,
            };
            self.received += 1;
            let is_brokers = [Endpoint::Publish, Endpoint::Request].map(|to| self.sockets[at].port_of(to));
            if !is_brokers.contains(&datagram.port) {
                continue;
            }
            for message in Messages::new(&datagram.bytes) {
                let message = message.expect("a whole message of the broker's");
                match message.header.kind {
                    NLMSG_ERROR => {
                        let answer = Answer::parse(&message).expect("an answer");
                        let errno = answer.result.err().map_or(0, |refusal| refusal.errno as i32);
                        *self.answers.entry(errno).or_default() += 1;
                        self.retired |= errno == Errno::ESHUTDOWN as i32;
                    }
                    NLBUS_MSG_INFO => {
                        let info = Info::read(message.body).expect("INFO");
                        (self.known.epoch, self.known.groups) = (info.epoch, info.groups);
                    }
                    NLBUS_MSG_TOPIC => {
                        if let Ok(end) = TopicPageEnd::read(message.body) {
                            self.known.last_id = end.last_id;
                        }
                    }
                    _ => {}
                }
            }
        }
    }

    /// Has another one go on in a network namespace of its own, which ends with open sockets and events in flight, or kills
    /// it in the midst.
    fn start_another(&mut self, place: Place) {
        let (seed, ms, patience) = (self.rng.u64(..), self.rng.u64(..100), self.rng.u64(..60));
        let elsewhere = u8::from(self.rng.bool());
        let mut another =
            place.spawn("worker", &[format!("seed={seed}"), format!("ms={ms}"), format!("elsewhere={elsewhere}")]);
        thread::sleep(Duration::from_millis(patience));
        another.kill();
    }
}
