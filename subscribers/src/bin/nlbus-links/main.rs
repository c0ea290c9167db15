//! `nlbus-links`: what becomes of network links, their addresses and routes, as typed events. It does what every program
//! that listens to rtnetlink should do and few do: after an overrun it lists everything anew and publishes what is
//! other than before.

mod rtnetlink;

use clap::Parser;
use crossbeam_channel::{Receiver, select, tick};
use nlbus_subscribers::end::End;
use nlbus_subscribers::service::{self, Connection, Service};
use nlbus_subscribers::sources::links::{Event, Network};
use nlbus_subscribers::sources::outlet::{Outlet, Publishing};
use rtnetlink::{Listing, Rtnetlink, Word};
use std::process::ExitCode;
use std::time::Duration;
use tracing::{debug, warn};

/// How often to look whether the broker is another one.
const LOOK: Duration = Duration::from_secs(1);

/// Publish changes of network links, addresses and routes.
///
/// What is there at the start is published, too, as "current"; and again, when another broker takes over.
#[derive(Debug, Parser)]
#[command(version, after_help = AFTER_HELP)]
struct Args {
    #[command(flatten)]
    publishing: Publishing,
    #[command(flatten)]
    connection: Connection,
}

const AFTER_HELP: &str = "\
Topics, in which '+', '#' and '%' of a link's name are written %2B, %23 and %25:
  links/link/NAME     {\"change\":\"current|added|changed|removed\",\"index\",\"name\",\"renamed_from\",\"kind\",
                      \"up\",\"running\",\"loopback\",\"mtu\",\"address\",\"master\"}
  links/address/NAME  {\"change\",\"index\",\"link\",\"address\",\"prefix_len\",\"scope\"}
  links/route/NAME    {\"change\",\"destination\",\"prefix_len\",\"gateway\",\"index\",\"link\",\"table\",
                      \"priority\",\"protocol\",\"kind\"}; links/route, where no link is named

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
    let mut source = Source { rtnetlink, network: Network::default(), outlet: Outlet::new(bus, args.publishing)? };
    source.list(service, &words)?;
    source.publish_current()?;
    source.outlet.flush()?;
    service.ready();
    let look = tick(LOOK);
    loop {
        select! {
            recv(words) -> word => match word {
                Ok(word) => source.hear(service, &words, word)?,
                Err(_) => return Err(End::Failed("rtnetlink ended; start the program again".into())),
            },
            recv(look) -> _ => if source.outlet.is_new_broker() {
                source.publish_current()?;
            },
            recv(service.stop()) -> _ => return source.outlet.flush(),
        }
    }
}

struct Source {
    rtnetlink: Rtnetlink,
    network: Network,
    outlet: Outlet,
}

impl Source {
    fn hear(&mut self, service: &Service, words: &Receiver<Word>, word: Word) -> Result<(), End> {
        match word {
            Word::Datagram(datagram) => {
                let heard = self.network.hear(&datagram);
                if heard.unreadable > 0 {
                    debug!("{} messages of rtnetlink could not be read", heard.unreadable);
                }
                self.publish(heard.events)?;
                if heard.stale { self.list(service, words) } else { Ok(()) }
            }
            Word::Overrun => {
                warn!("rtnetlink said more than its socket holds; listing everything anew");
                self.list(service, words)
            }
            Word::Failed(error) => Err(End::Failed(format!("can't hear rtnetlink: {error}"))),
        }
    }

    /// Lists all that is there, and publishes what is other than before.
    fn list(&mut self, service: &Service, words: &Receiver<Word>) -> Result<(), End> {
        'anew: loop {
            self.network.begin_listing();
            for listing in [Listing::Links, Listing::Addresses, Listing::Routes] {
                let ask = self.rtnetlink.ask(listing);
                ask.map_err(|error| End::Failed(format!("can't list {listing:?} by rtnetlink: {error}")))?;
                loop {
                    let word = select! {
                        recv(words) -> word => word.unwrap_or(Word::Overrun),
                        recv(service.stop()) -> _ => return Err(End::Interrupted),
                    };
                    let heard = match word {
                        Word::Datagram(datagram) => self.network.hear(&datagram),
                        Word::Overrun => continue 'anew,
                        Word::Failed(error) => return Err(End::Failed(format!("can't hear rtnetlink: {error}"))),
                    };
                    self.publish(heard.events)?;
                    if heard.again {
                        continue 'anew;
                    }
                    if heard.done {
                        break;
                    }
                }
            }
            let gone = self.network.end_listing();
            return self.publish(gone);
        }
    }

    fn publish_current(&mut self) -> Result<(), End> {
        let current = self.network.current().collect();
        self.publish(current)
    }

    fn publish(&mut self, events: Vec<Event>) -> Result<(), End> {
        for event in events {
            let topic = event.topic();
            match &event {
                Event::Link(link) => self.outlet.publish(&topic, link)?,
                Event::Address(address) => self.outlet.publish(&topic, address)?,
                Event::Route(route) => self.outlet.publish(&topic, route)?,
            }
        }
        Ok(())
    }
}
