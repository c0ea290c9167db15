//! `nlbus topic`: one topic is created, changed or deleted.

use super::topics;
use nlbus::{Bus, TopicOptions};
use nlbus_subscribers::connect::connect;
use nlbus_subscribers::end::End;
use nlbus_subscribers::values::{self, TypeArg};

/// Create a topic, change who may use it, how much it keeps and what its values are, or delete it.
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
        #[command(flatten)]
        settings: Settings,
    },
    /// Change a topic that exists. Its owner may, and root.
    Set {
        topic: String,
        #[command(flatten)]
        settings: Settings,
    },
    /// Delete a topic, and all that is kept of it. Its owner may, and root.
    Rm { topic: String },
}

/// What a topic is to be like.
#[derive(Debug, clap::Args)]
struct Settings {
    /// Who may subscribe (read) and publish (write), as chmod(1) has it: 0640, say.
    #[arg(long, value_parser = values::mode)]
    mode: Option<u32>,
    /// The user whose it is, by name or number. Another one than oneself takes root.
    #[arg(long, value_name = "USER", value_parser = values::user)]
    owner: Option<u32>,
    /// The group that it belongs to, by name or number. One that its owner isn't in takes root.
    #[arg(long, value_parser = values::group)]
    group: Option<u32>,
    /// How much history keeps of it, like 64KiB or 16MiB; its newest event is kept in any case.
    #[arg(long, value_name = "BYTES", value_parser = values::size)]
    history: Option<u64>,
    /// What its values are called: 1 to 63 printable ASCII characters; '' for not known any more.
    #[arg(long = "type", value_name = "TYPE", value_parser = values::type_name)]
    type_name: Option<TypeArg>,
}

impl Settings {
    fn is_empty(&self) -> bool {
        self.mode.is_none()
            && self.owner.is_none()
            && self.group.is_none()
            && self.history.is_none()
            && self.type_name.is_none()
    }

    fn of<'a>(&self, bus: &'a Bus, topic: &str) -> TopicOptions<'a> {
        let mut options = bus.topic_options(topic);
        if let Some(mode) = self.mode {
            options = options.mode(mode);
        }
        if let Some(uid) = self.owner {
            options = options.owner(uid);
        }
        if let Some(gid) = self.group {
            options = options.group(gid);
        }
        if let Some(bytes) = self.history {
            options = options.history(bytes);
        }
        if let Some(TypeArg(name)) = self.type_name {
            options = options.type_name(name);
        }
        options
    }
}

pub fn run(args: &Args) -> Result<(), End> {
    let record = match &args.verb {
        Verb::Create { topic, settings } => settings.of(&connect()?, topic).create()?,
        Verb::Set { settings, .. } if settings.is_empty() => {
            return Err(End::Usage("nothing to set: give --mode, --owner, --group, --history or --type".into()));
        }
        Verb::Set { topic, settings } => settings.of(&connect()?, topic).set()?,
        Verb::Rm { topic } => return Ok(connect()?.delete_topic(topic)?),
    };
    topics::print(&[record], false)
}
