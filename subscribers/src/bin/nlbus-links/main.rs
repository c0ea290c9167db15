//! `nlbus-links`: what becomes of network links, their addresses and routes, as typed events. It does what every program
//! that listens to rtnetlink should do and few do: after an overrun it lists everything anew and publishes what is
//! other than before.

mod rtnetlink;

use clap::Parser;
use crossbeam_channel::{at, never, select, tick};
use nix::errno::Errno;
use nlbus_subscribers::end::End;
use nlbus_subscribers::service::{self, Connection, Service};
use nlbus_subscribers::sources::links::{Event, Network, Request, Step};
use nlbus_subscribers::sources::outlet::{Outlet, Publishing};
use rtnetlink::{Rtnetlink, Word};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use tracing::warn;

/// How often to look whether the broker is another one.
const LOOK: Duration = Duration::from_secs(1);

/// How long to wait for more of what the kernel doesn't tell, before all is listed anew on that account.
const STALE: Duration = Duration::from_millis(100);

/// Publish changes of network links, addresses and routes.
///
/// What is there at the start is published, too, as "current"; and again, when another broker takes over.
#[derive(Debug, Parser)]
#[command(name = env!("CARGO_BIN_NAME"), version, after_help = AFTER_HELP)]
struct Args {
    #[command(flatten)]
    publishing: Publishing,
    #[command(flatten)]
    connection: Connection,
}

const AFTER_HELP: &str = "\
Topics, in which '+', '#' and '%' of a link's name are written %2B, %23 and %25; a byte of a name that isn't UTF-8 is
%XX in \"name\" and \"link\":
  links/link/NAME     {\"change\":\"current|added|changed|removed\",\"index\",\"name\",\"renamed_from\",\"kind\",
                      \"up\",\"running\",\"loopback\",\"mtu\",\"address\",\"master\"}
  links/address/NAME  {\"change\",\"index\",\"link\",\"address\",\"prefix_len\",\"scope\"}
  links/route/NAME    {\"change\",\"destination\",\"prefix_len\",\"gateway\",\"index\",\"link\",\"table\",
                      \"priority\",\"protocol\",\"kind\"}; links/route, where no link is named

When a link is renamed, it and its addresses and routes are \"removed\" from the old name and \"changed\" at the new one.
The types are nlbus_subscribers::sources::links::{Link, Address, Route}.

Examples:
  nlbus-links &
  nlbus sub 'links/#' --start all
  nlbus-links --prefix host1 --content bincode

Environment: NLBUS_LOG is the level of this program's own log, like debug or warn [default: info]";

fn main() -> ExitCode {
    service::main(run)
}

fn run(args: Args, service: &Service) -> Result<(), End> {
    let bus = service.connect(&args.connection)?;
    let failed = |error| End::Failed(format!("can't listen to rtnetlink: {error}"));
    let (rtnetlink, words) = Rtnetlink::listen().map_err(failed)?;
    let network = Network::new(rtnetlink.port());
    let outlet = Outlet::new(bus, args.publishing)?;
    let mut source = Source { rtnetlink, network, outlet, due: Some(Instant::now()) };
    let look = tick(LOOK);
    loop {
        let due = source.due.map_or_else(never, at);
        select! {
            recv(words) -> word => match word {
                Ok(word) => source.hear(service, word)?,
                Err(_) => return Err(End::Failed("rtnetlink ended; start the program again".into())),
            },
            recv(due) -> _ => source.list()?,
            recv(look) -> _ => if source.network.is_known() && source.outlet.is_new_broker() {
                source.publish_current()?;
            },
            recv(service.stop()) -> _ => return source.outlet.settle(),
        }
    }
}

struct Source {
    rtnetlink: Rtnetlink,
    network: Network,
    outlet: Outlet,
    /// When all is to be listed anew.
    due: Option<Instant>,
}

impl Source {
    fn hear(&mut self, service: &Service, word: Word) -> Result<(), End> {
        match word {
            Word::Datagram(datagram) => self.read(service, &datagram),
            Word::Overrun => {
                warn!("rtnetlink said more than its socket holds; listing everything anew");
                if !self.network.overrun() {
                    self.list_in(Duration::ZERO);
                }
                Ok(())
            }
            Word::Failed(error) => Err(End::Failed(format!("can't hear rtnetlink: {error}"))),
        }
    }

    fn read(&mut self, service: &Service, datagram: &[u8]) -> Result<(), End> {
        let was_known = self.network.is_known();
        let heard = self.network.hear(datagram);
        if heard.unreadable > 0 {
            warn!("{} messages of rtnetlink could not be read; what they tell of is left out", heard.unreadable);
        }
        if let Some(errno) = heard.refused {
            warn!("rtnetlink refused a listing: {}; asking again", Errno::from_raw(errno));
        }
        self.publish(heard.events)?;
        if heard.stale {
            self.list_in(STALE);
        }
        if !was_known && self.network.is_known() {
            self.publish_current()?;
            self.outlet.settle()?;
            service.ready();
        }
        match heard.next {
            Some(Step::Ask(request)) => return self.ask(request),
            Some(Step::Again(wait) | Step::Torn(wait)) => self.list_in(wait),
            Some(Step::Complete) | None => {}
        }
        Ok(())
    }

    /// Lists all that is there after this time; or when it is due anyway, so that a host where much goes on, and one that
    /// refuses, is not asked without end.
    fn list_in(&mut self, wait: Duration) {
        self.due.get_or_insert_with(|| Instant::now() + wait);
    }

    fn list(&mut self) -> Result<(), End> {
        self.due = None;
        match self.network.list() {
            Some(request) => self.ask(request),
            // What it lists may be from before the reason for another one.
            None => {
                self.list_in(STALE);
                Ok(())
            }
        }
    }

    fn ask(&self, request: Request) -> Result<(), End> {
        let asked = self.rtnetlink.ask(request);
        asked.map_err(|error| End::Failed(format!("can't list {:?} by rtnetlink: {error}", request.listing)))
    }

    fn publish_current(&mut self) -> Result<(), End> {
        let current = self.network.current().collect();
        self.publish(current)
    }

    fn publish(&mut self, events: Vec<Event>) -> Result<(), End> {
        for event in events {
            let topic = event.topic();
            // What no broker took is published again when there is one.
            let _taken = match &event {
                Event::Link(link) => self.outlet.publish(&topic, link)?,
                Event::Address(address) => self.outlet.publish(&topic, address)?,
                Event::Route(route) => self.outlet.publish(&topic, route)?,
            };
        }
        Ok(())
    }
}
