//! The broker goes, and the driver moves to where the next one is.

use super::{Ask, Driver, What};
use crate::client::Unanswered;
use crate::link;
use crate::overruns::Overruns;
use crate::publisher::{Route, Way};
use crate::search::Seen;
use crate::sockets::{Ready, Sockets};
use crate::wire::Info;
use nix::errno::Errno;
use std::sync::Arc;
use std::time::Instant;

impl Driver {
    /// Asks the broker, or, while it is gone, as soon as the next look says whether there is one.
    pub(super) fn ask(&mut self, ask: Ask) {
        if self.search.is_on() {
            self.search.hasten();
            self.asks.push(ask);
        } else {
            match ask.what {
                What::Frame(write) => self.client.ask(write, ask.reply, ask.deadline),
                What::Will(will) => self.client.ask_for_will(will, ask.reply, ask.deadline),
            }
        }
    }

    /// The broker is gone. What it answered before may still be unread: an ack, for one.
    pub(super) fn disconnect(&mut self, now: Instant) {
        self.read_replies(now);
        self.client.disconnect();
    }

    /// Somebody has the broker's port who isn't to be believed, so the broker is gone. He gets nothing more to read.
    pub(super) fn usurped(&mut self) {
        if let Some(sockets) = &self.sockets {
            self.publisher.nobody_at(&sockets.requests);
        }
        self.client.disconnect();
    }

    /// Closes the sockets, so that the module can be removed.
    pub(super) fn let_go(&mut self) {
        if let Some(sockets) = self.sockets.take() {
            sockets.unwatch(&self.epoll);
            self.publisher.reroute(Way::Gone);
            self.retired = false;
        }
    }

    /// While the broker is gone, looks for it now and then.
    pub(super) fn look_for_broker(&mut self) {
        match self.search.look(&self.epoll, Ready::BROKER) {
            Seen::Nothing => {}
            Seen::Nobody => {
                if let Some(sockets) = &self.sockets {
                    self.publisher.nobody_at(&sockets.requests);
                }
                for ask in self.asks.drain(..) {
                    let _ = ask.reply.send(Err(Unanswered::Gone));
                }
            }
            Seen::Broker(info) => {
                self.follow(*info);
                self.carry_out();
                let now = Instant::now();
                for ask in std::mem::take(&mut self.asks) {
                    if ask.deadline > now {
                        self.ask(ask);
                    }
                }
                self.carry_out();
            }
        }
    }

    /// A broker was found: the one that was there before, or another one.
    fn follow(&mut self, info: Info) {
        let same_place = (info.protocol, info.publish_port) == (self.info.protocol, self.info.publish_port);
        match &self.sockets {
            Some(sockets) if info.epoch == self.info.epoch && same_place => {
                self.search.end();
                self.publisher.find(Way::Open(Route::new(&info, &sockets.requests)));
                self.client.resumed(Instant::now());
            }
            _ => {
                if self.move_to(info).is_ok() {
                    self.search.end();
                    self.client.restarted(info.epoch, Instant::now());
                }
            }
        }
    }

    /// Fresh sockets for another broker: what the old ones still hold is the old broker's.
    fn move_to(&mut self, info: Info) -> Result<(), link::ConnectError> {
        let failed = |error: Errno| link::ConnectError::Io { what: "wait at a socket", error: error.into() };
        let events = link::open_events(&info, &self.settings.sockets)?;
        // The answer may be read by another thread than the one that asked.
        if !self.search.is_home(events.namespace()) {
            return Err(failed(Errno::EXDEV));
        }
        let requests = Arc::new(link::open_requests(&info, &self.settings.sockets)?);
        let route = Route::new(&info, &requests);
        let buffer =
            events.recv_buffer().map_err(|error| link::ConnectError::Io { what: "read the receive buffer", error })?;
        let sockets = Sockets { events, requests };
        sockets.watch(&self.epoll).map_err(failed)?;
        if let Some(old) = &self.sockets {
            old.unwatch(&self.epoll);
        }
        self.publisher.reroute(Way::Open(route));
        (self.sockets, self.info, self.overruns) = (Some(sockets), info, Overruns::new(buffer));
        self.event_intake.clear();
        self.reply_intake.clear();
        Ok(())
    }
}
