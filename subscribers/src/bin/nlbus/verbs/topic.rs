//! `nlbus topic`: one topic is created, or its bounds are set.

use super::topics;
use nlbus_subscribers::connect::connect;
use nlbus_subscribers::end::End;

/// Create a topic, or set how much it keeps.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Create a topic, unless it exists. Publishing does so, too.
    Create {
        topic: String,
        /// How much history keeps of it, like 64KiB or 16MiB; its newest event is kept in any case.
        #[arg(long, value_name = "BYTES", value_parser = size)]
        history: Option<u64>,
    },
    /// Set the bounds of a topic that exists. Its owner may, and root.
    Set {
        topic: String,
        /// How much history keeps of it, like 64KiB or 16MiB; its newest event is kept in any case.
        #[arg(long, value_name = "BYTES", value_parser = size)]
        history: u64,
    },
}

/// 4096, 64KiB, 16 MB.
fn size(text: &str) -> Result<u64, String> {
    parse_size::Config::new().with_binary().parse_size(text).map_err(|error| error.to_string())
}

pub fn run(args: &Args) -> Result<(), End> {
    let bus = connect()?;
    let record = match &args.verb {
        Verb::Create { topic, history: None } => bus.create_topic(topic)?,
        Verb::Create { topic, history: Some(bytes) } => {
            // Two requests: what the broker would refuse in the second is found before the first has made the topic.
            let most = bus.info()?.limits.history;
            if *bytes > most {
                let why = format!("{bytes} bytes are more than all histories may keep, {most}");
                return Err(End::Failed(format!("topic '{topic}' was not created: {why}")));
            }
            bus.create_topic(topic)?;
            let set = bus.set_history(topic, *bytes);
            set.map_err(|error| End::Failed(format!("topic '{topic}' is there, but its history was not set: {error}")))?
        }
        Verb::Set { topic, history } => bus.set_history(topic, *history)?,
    };
    topics::print(&[record], false)
}
