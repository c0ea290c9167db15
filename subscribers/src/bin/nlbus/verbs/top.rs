//! `nlbus top`: the topics of the bus, what they carry and who listens, as top(1) shows processes.

mod draw;
mod keys;
mod model;
mod screen;
mod source;
mod text;

use crossbeam_channel::{Receiver, Sender, select, unbounded};
use keys::Command;
use model::Model;
use nlbus::Filter;
use nlbus_subscribers::connect::connect;
use nlbus_subscribers::end::{End, INTERRUPTED};
use nlbus_subscribers::signals::Interrupts;
use nlbus_subscribers::values;
use ratatui::crossterm::event::{self, Event};
use screen::Screen;
use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGTERM, SIGTSTP};
use signal_hook::iterator::Signals;
use source::{Source, Update};
use std::io::{self, IsTerminal};
use std::process;
use std::thread;
use std::time::Duration;

/// Watch topics, their newest events and the bus's clients; 'h' tells the keys.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only topics that match.
    #[arg(default_value = "#", value_name = "FILTER")]
    filter: Filter,
    /// Time between two looks, like 500ms or 2s.
    #[arg(long, value_name = "DUR", default_value = "1s", value_parser = values::duration)]
    interval: Duration,
    /// Print the table as text, once an interval, and need no terminal.
    #[arg(long)]
    batch: bool,
    /// With --batch, end after this many.
    #[arg(short = 'n', long, value_name = "N", requires = "batch", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
}

/// Updates that are taken before the picture is drawn again.
const AT_ONCE: usize = 64;

/// Shorter times between two looks would cost the bus more than they show.
const SHORTEST: Duration = Duration::from_millis(100);

pub fn run(args: &Args) -> Result<(), End> {
    let interval = args.interval.max(SHORTEST);
    if args.batch {
        Interrupts::exit().map_err(End::signals)?;
        return text::run(&connect()?, &args.filter, interval, args.count);
    }
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        return Err(End::Usage("top draws on a terminal, and this is none; --batch prints text".into()));
    }
    let bus = connect()?;
    let (sender, updates) = unbounded();
    let source = Source::start(bus, args.filter.clone(), interval, sender)?;
    let told = told().map_err(End::signals)?;
    let keys = typed()?;
    let mut screen = Screen::open().map_err(|error| End::Failed(format!("can't draw on this terminal: {error}")))?;
    let mut model = Model::new(&args.filter);
    let end = watch(&mut screen, &mut model, &source, &updates, &keys, &told);
    // Before anything is said.
    drop(screen);
    end
}

/// What signals ask for.
#[derive(Debug, Clone, Copy)]
enum Told {
    End,
    Suspend,
    Continued,
}

/// How long the end may take: the terminal may be stuck.
const GRACE: Duration = Duration::from_secs(2);

fn told() -> io::Result<Receiver<Told>> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP, SIGTSTP, SIGCONT])?;
    let (sender, told) = unbounded();
    thread::Builder::new().name("signals".into()).spawn(move || {
        for signal in signals.forever() {
            let _ = sender.send(match signal {
                SIGTSTP => Told::Suspend,
                SIGCONT => Told::Continued,
                _ => Told::End,
            });
            if !matches!(signal, SIGTSTP | SIGCONT) {
                thread::sleep(GRACE);
                process::exit(INTERRUPTED.into());
            }
        }
    })?;
    Ok(told)
}

/// What is typed, and that the terminal has another size.
fn typed() -> Result<Receiver<Event>, End> {
    let (sender, typed): (Sender<Event>, _) = unbounded();
    let read = move || {
        while let Ok(event) = event::read() {
            if sender.send(event).is_err() {
                return;
            }
        }
    };
    match thread::Builder::new().name("keys".into()).spawn(read) {
        Ok(_) => Ok(typed),
        Err(error) => Err(End::Failed(format!("can't start a thread: {error}"))),
    }
}

fn watch(
    screen: &mut Screen,
    model: &mut Model,
    source: &Source,
    updates: &Receiver<Update>,
    keys: &Receiver<Event>,
    told: &Receiver<Told>,
) -> Result<(), End> {
    let failed = |error: io::Error| End::Failed(format!("can't draw on this terminal: {error}"));
    loop {
        screen.draw(model).map_err(failed)?;
        let command = select! {
            recv(updates) -> update => match update {
                Ok(update) => {
                    model.update(update);
                    // Several may have come while the terminal was slow: one picture is enough.
                    updates.try_iter().take(AT_ONCE).for_each(|update| model.update(update));
                    Command::None
                }
                Err(_) => return Err(End::Failed("the connection to the broker ended; start it again".into())),
            },
            recv(keys) -> event => match event {
                Ok(event) => keys::command(model, &event),
                // The terminal is gone.
                Err(_) => return Ok(()),
            },
            recv(told) -> what => match what {
                Ok(Told::Suspend) => Command::Suspend,
                Ok(Told::Continued) => {
                    screen.retake().map_err(failed)?;
                    Command::None
                }
                Ok(Told::End) | Err(_) => return Err(End::Interrupted),
            },
        };
        match command {
            Command::None => {}
            Command::Quit => return Ok(()),
            Command::Interrupt => return Err(End::Interrupted),
            Command::Suspend => screen.suspend().map_err(failed)?,
            Command::LookNow => source.look_now(),
        }
    }
}
