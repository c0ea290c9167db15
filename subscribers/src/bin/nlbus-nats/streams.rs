//! Streams: those that are there are taken as they are, others are created.

use crate::config::{Storage, StreamPlan};
use crate::login::causes;
use crate::stop::Stop;
use async_nats::jetstream::context::{CreateStreamError, CreateStreamErrorKind, GetStreamErrorKind};
use async_nats::jetstream::stream::{Config, Info, StorageType};
use async_nats::jetstream::{Context, ErrorCode};
use nlbus_subscribers::end::End;
use std::time::Duration;
use tracing::{info, warn};

/// How long to wait before looking again.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// A stream that messages go to.
#[derive(Debug, Clone)]
pub struct Target {
    pub name: String,
    /// Whether it takes batches whole or not at all.
    pub is_atomic: bool,
    /// Bytes that a message may have, where the stream has a limit of its own.
    pub max_message: Option<usize>,
}

/// What a look at a stream may end with.
enum Look {
    Found(Box<Info>),
    Missing,
    Later(String),
}

/// Looks for a stream and, if it isn't there, creates it as the plan says, or without one waits for it.
///
/// # Errors
/// [`End::Failed`] where it can't be created, [`End::Interrupted`].
pub async fn find(context: &Context, name: &str, plan: Option<&StreamPlan>, stop: &Stop) -> Result<Info, End> {
    let mut told = false;
    loop {
        let plan = plan.filter(|plan| !plan.subjects.is_empty());
        let why = match (look(context, name).await, plan) {
            (Look::Found(info), _) => return Ok(*info),
            (Look::Missing, None) => {
                "there is none of that name; it is created by a bridge that sends to it, or by [streams] with subjects"
                    .into()
            }
            (Look::Missing, Some(plan)) => match context.create_stream(config(name, plan)).await {
                Ok(stream) => {
                    info!("created the stream {name}");
                    return Ok(stream.cached_info().clone());
                }
                Err(error) => failed(name, &error)?,
            },
            (Look::Later(why), _) => why,
        };
        if !told {
            warn!("waiting for the stream {name}: {why}");
            told = true;
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_AGAIN) => {}
            () = stop.asked() => return Err(End::Interrupted),
        }
    }
}

/// The same, as what messages are sent to.
///
/// # Errors
/// As [`find`].
pub async fn target(context: &Context, name: &str, plan: Option<&StreamPlan>, stop: &Stop) -> Result<Target, End> {
    let info = find(context, name, plan, stop).await?;
    let is_atomic = info.config.allow_atomic_publish;
    if !is_atomic {
        warn!(
            "the stream {name} takes no atomic batches, so its messages of one topic are sent one after the other; \
             set allow_atomic, which takes nats-server 2.12"
        );
    }
    // Without a limit, it is -1.
    let max_message = usize::try_from(info.config.max_message_size).ok().filter(|most| *most > 0);
    Ok(Target { name: name.to_owned(), is_atomic, max_message })
}

async fn look(context: &Context, name: &str) -> Look {
    match context.get_stream(name).await {
        Ok(stream) => Look::Found(Box::new(stream.cached_info().clone())),
        Err(error) => match error.kind() {
            GetStreamErrorKind::JetStream(error) if error.error_code() == ErrorCode::STREAM_NOT_FOUND => Look::Missing,
            _ => Look::Later(causes(&error)),
        },
    }
}

/// Whether another try may help: then why this one didn't.
fn failed(name: &str, error: &CreateStreamError) -> Result<String, End> {
    let CreateStreamErrorKind::JetStream(refusal) = error.kind() else { return Ok(causes(error)) };
    match refusal.error_code() {
        // Somebody else was faster.
        ErrorCode::STREAM_NAME_EXIST => Ok("another bridge is creating it".into()),
        // Leaders and peers come and go.
        ErrorCode::INSUFFICIENT_RESOURCES | ErrorCode::CLUSTER_NO_PEERS | ErrorCode::CLUSTER_NOT_AVAILABLE => {
            Ok(causes(error))
        }
        _ => Err(End::Failed(format!(
            "can't create the stream {name}: {}; create it yourself, or change [streams.{name}]",
            causes(error)
        ))),
    }
}

fn config(name: &str, plan: &StreamPlan) -> Config {
    Config {
        name: name.to_owned(),
        subjects: plan.subjects.clone(),
        num_replicas: plan.replicas,
        storage: match plan.storage {
            Storage::File => StorageType::File,
            Storage::Memory => StorageType::Memory,
        },
        max_age: plan.max_age.unwrap_or_default(),
        max_bytes: plan.max_bytes.unwrap_or(-1),
        duplicate_window: plan.duplicate_window.unwrap_or_default(),
        allow_atomic_publish: true,
        ..Config::default()
    }
}
