//! The broker goes, and the driver moves to where the next one is.

use super::Driver;
use crate::link;
use crate::publisher::{Route, Way};
use crate::sockets::{Ready, Sockets};
use crate::wire::Info;
use nix::errno::Errno;
use std::sync::Arc;
use std::time::Instant;

impl Driver {
    /// The broker is gone. What it answered before may still be unread: an ack, for one.
    pub(super) fn disconnect(&mut self, now: Instant) {
        self.read_replies(now);
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
        let Some(info) = self.search.look(&self.epoll, Ready::BROKER) else { return };
        let same_place = (info.protocol, info.publish_port) == (self.info.protocol, self.info.publish_port);
        if info.epoch == self.info.epoch && same_place && self.sockets.is_some() {
            self.search.end();
            self.client.resumed(Instant::now());
        } else if self.move_to(info).is_ok() {
            self.search.end();
            self.client.restarted(info.epoch, Instant::now());
        }
        self.carry_out();
    }

    /// Fresh sockets for another broker: what the old ones still hold is the old broker's.
    fn move_to(&mut self, info: Info) -> Result<(), link::ConnectError> {
        let failed = |error: Errno| link::ConnectError::Io { what: "wait at a socket", error: error.into() };
        let events = link::open_events(&info, self.settings.receive_buffer)?;
        // The answer may be read by another thread than the one that asked.
        if !self.search.is_home(events.namespace()) {
            return Err(failed(Errno::EXDEV));
        }
        let requests = Arc::new(link::open_requests(&info, self.settings.receive_buffer)?);
        let route = Route { socket: Arc::clone(&requests), port: info.publish_port, epoch: info.epoch };
        let sockets = Sockets { events, requests };
        sockets.watch(&self.epoll).map_err(failed)?;
        if let Some(old) = &self.sockets {
            old.unwatch(&self.epoll);
        }
        self.publisher.reroute(Way::Open(route));
        (self.sockets, self.info) = (Some(sockets), info);
        self.event_intake.clear();
        self.reply_intake.clear();
        Ok(())
    }
}
