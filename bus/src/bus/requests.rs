//! What a bus is asked, and what is set: the broker's own words, its topics, what the connection has counted.

use super::{Bus, BusCounters, TopicOptions};
use crate::driver::Command;
use crate::request::{self, RequestError};
use crate::topic::check_name;
use crate::wire::{
    Info, Malformed, TopicDeleted, TopicKey, TopicPageEnd, TopicRecord, TopicRequest, TopicSettings, push_info_request,
};
use crossbeam_channel::bounded;
use nix::errno::Errno;

impl Bus {
    /// What the broker says of itself.
    ///
    /// # Errors
    /// Any [`RequestError`].
    ///
    /// # Example
    /// ```no_run
    /// # let bus = nlbus::Bus::connect()?;
    /// let info = bus.info()?;
    /// println!("{:?}, epoch {:#x}, {} groups", info.broker, info.epoch, info.groups);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn info(&self) -> Result<Info, RequestError> {
        request::asking(&self.shared, || {
            let write = |seq, frame: &mut Vec<u8>| push_info_request(frame, seq);
            request::ask(&self.shared, write, |page| Info::read(request::only(page)?.body))
        })
    }

    /// All topics that this process may read, in the order of their creation.
    ///
    /// # Errors
    /// Any [`RequestError`].
    ///
    /// # Example
    /// ```no_run
    /// # let bus = nlbus::Bus::connect()?;
    /// for topic in bus.topics()? {
    ///     println!("{}: {} to {} are kept", topic.name, topic.first, topic.head);
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn topics(&self) -> Result<Vec<TopicRecord>, RequestError> {
        // A list is one broker's: with another one it begins anew.
        request::asking(&self.shared, || self.list())
    }

    fn list(&self) -> Result<Vec<TopicRecord>, RequestError> {
        let (mut topics, mut cursor) = (Vec::new(), Some(0));
        while let Some(from) = cursor {
            let list = TopicRequest::List { cursor: from, since: None };
            let write = move |seq, frame: &mut Vec<u8>| list.push(frame, seq);
            let (page, end) = request::ask(&self.shared, write, |page| {
                let (end, records) = page.split_last().ok_or(Malformed("a list without an end"))?;
                let records = records.iter().map(|record| TopicRecord::read(record.body));
                Ok((records.collect::<Result<Vec<_>, _>>()?, TopicPageEnd::read(end.body)?))
            })?;
            topics.extend(page);
            // A cursor that doesn't move would ask for ever.
            cursor = end.cursor.filter(|cursor| *cursor > from);
        }
        Ok(topics)
    }

    /// One topic, or `None` where it doesn't exist.
    ///
    /// # Errors
    /// Any [`RequestError`]; refused is `EACCES` for one that this process may not read, and doesn't own.
    ///
    /// # Example
    /// ```no_run
    /// # let bus = nlbus::Bus::connect()?;
    /// match bus.topic("jobs/done")? {
    ///     Some(topic) => println!("{} events so far", topic.head),
    ///     None => println!("nobody has published to it yet"),
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn topic(&self, name: &str) -> Result<Option<TopicRecord>, RequestError> {
        match self.topic_request(name, |name| TopicRequest::Get(TopicKey::Name(name)), TopicRecord::read) {
            Err(RequestError::Refused(refusal)) if refusal.errno == Errno::ENOENT => Ok(None),
            topic => topic.map(Some),
        }
    }

    /// Creates a topic with the broker's defaults, unless it exists. Publishing does so, too.
    /// [`topic_options`](Self::topic_options) creates it otherwise.
    ///
    /// # Errors
    /// As [`TopicOptions::create`].
    ///
    /// # Example
    /// ```no_run
    /// # let bus = nlbus::Bus::connect()?;
    /// let topic = bus.create_topic("jobs/done")?;
    /// println!("group {}", topic.group);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn create_topic(&self, name: &str) -> Result<TopicRecord, RequestError> {
        self.topic_options(name).create()
    }

    /// Who may use a topic, and how much of it is kept: to create it so, or to change it.
    ///
    /// ```no_run
    /// # let bus = nlbus::Bus::connect()?;
    /// bus.topic_options("audit").mode(0o640).history(16 << 20).create()?;
    /// bus.topic_options("audit").mode(0o600).set()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn topic_options(&self, name: &str) -> TopicOptions<'_> {
        TopicOptions::new(self, name, TopicSettings::default())
    }

    /// Sets how many bytes the history of a topic that exists may keep: at most [`Limits::history`](crate::Limits::history).
    /// Its newest event is kept in any case.
    ///
    /// # Errors
    /// As [`TopicOptions::set`].
    ///
    /// # Example
    /// ```no_run
    /// # let bus = nlbus::Bus::connect()?;
    /// bus.create_topic("audit")?;
    /// let topic = bus.set_history("audit", 16 << 20)?; // 16 MiB
    /// assert_eq!(topic.history, 16 << 20);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn set_history(&self, name: &str, bytes: u64) -> Result<TopicRecord, RequestError> {
        self.topic_options(name).history(bytes).set()
    }

    /// Deletes a topic, with all that is kept of it. What was published to it before still reaches those who follow it; then
    /// they are told that it [ended](crate::Ended). Its name is free at once: what is published to it next is another topic's.
    /// Its owner may do that, and whoever has `CAP_NET_ADMIN` (with the user broker: root).
    ///
    /// # Errors
    /// Any [`RequestError`]; refused is `ENOENT` for no such topic, and `EACCES`. After
    /// [`TimedOut`](RequestError::TimedOut) it may have been deleted.
    ///
    /// # Example
    /// ```no_run
    /// # let bus = nlbus::Bus::connect()?;
    /// bus.publish_acked("jobs/17", "done")?;
    /// bus.delete_topic("jobs/17")?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn delete_topic(&self, name: &str) -> Result<(), RequestError> {
        self.topic_request(name, |name| TopicRequest::Delete(TopicKey::Name(name)), TopicDeleted::read).map(drop)
    }

    /// A request about the topic of a name, and how its reply is read.
    pub(super) fn topic_request<T>(
        &self,
        name: &str,
        request: impl for<'a> Fn(&'a str) -> TopicRequest<'a> + Copy + Send + 'static,
        read: fn(&[u8]) -> Result<T, Malformed>,
    ) -> Result<T, RequestError> {
        check_name(name.as_bytes()).map_err(|error| RequestError::Topic { name: name.to_owned(), error })?;
        request::asking(&self.shared, || {
            let name = name.to_owned();
            let write = move |seq, frame: &mut Vec<u8>| request(&name).push(frame, seq);
            request::ask(&self.shared, write, |page| read(request::only(page)?.body))
        })
    }

    /// What this connection has counted.
    ///
    /// # Errors
    /// [`RequestError::Closed`].
    ///
    /// # Example
    /// ```no_run
    /// # let bus = nlbus::Bus::connect()?;
    /// let counters = bus.counters()?;
    /// println!("{} repaired, {} lost, {} refused", counters.client.repaired, counters.client.lost, counters.refused);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn counters(&self) -> Result<BusCounters, RequestError> {
        // Where the caller drives, what came in until now counts.
        self.shared.turn();
        let (reply, counters) = bounded(1);
        self.shared.tell(Command::Counters(reply));
        let client = self.shared.receive(&counters, None).map_err(|_| request::closed(&self.shared))?;
        Ok(BusCounters { refused: self.shared.refused(), unsent: self.shared.unsent(), client })
    }
}
