//! A program that knows nothing of nlbus: plain async-nats.

use async_nats::jetstream::Context;
use async_nats::jetstream::message::StreamMessage;
use async_nats::{Client, ConnectOptions, HeaderMap, Message};
use futures_util::StreamExt;
use nlbus_tests::{patience, wait_for};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};

/// A connection with a runtime of its own, whose threads are in the namespace of who made it.
#[derive(Debug)]
pub struct Plain {
    runtime: Runtime,
    pub client: Client,
}

/// What has come of a subscription.
#[derive(Debug, Clone)]
pub struct Heard(Arc<Mutex<Vec<Message>>>);

impl Plain {
    pub fn connect(servers: &[String]) -> Plain {
        Plain::connect_with(servers, ConnectOptions::new())
    }

    /// The same, as somebody.
    pub fn connect_with(servers: &[String], options: ConnectOptions) -> Plain {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let options = options.retry_on_initial_connect();
        let client = runtime.block_on(options.connect(servers)).expect("a client");
        Plain { runtime, client }
    }

    /// Waits for something.
    pub fn block<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }

    /// Has something done meanwhile.
    pub fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        self.runtime.spawn(future);
    }

    pub fn jetstream(&self) -> Context {
        // It starts a task.
        let _runtime = self.runtime.enter();
        async_nats::jetstream::new(self.client.clone())
    }

    /// Publishes, and waits until the server has it.
    pub fn publish(&self, subject: &str, payload: &str) {
        self.publish_with(subject, HeaderMap::new(), payload);
    }

    /// The same with headers.
    pub fn publish_with(&self, subject: &str, headers: HeaderMap, payload: &str) {
        let (subject, payload) = (subject.to_owned(), payload.to_owned().into());
        self.block(async {
            self.client.publish_with_headers(subject, headers, payload).await.expect("to publish");
            self.client.flush().await.expect("to flush");
        });
    }

    /// Listens, from now on, but for what servers and clients say to each other.
    pub fn listen(&self, subject: &str) -> Heard {
        let heard = Heard(Arc::default());
        let mut subscriber = self.block(async {
            let subscriber = self.client.subscribe(subject.to_owned()).await.expect("to subscribe");
            self.client.flush().await.expect("to flush");
            subscriber
        });
        let keep = heard.clone();
        self.runtime.spawn(async move {
            while let Some(message) = subscriber.next().await {
                if !message.subject.starts_with('$') && !message.subject.starts_with("_INBOX.") {
                    keep.0.lock().unwrap_or_else(PoisonError::into_inner).push(message);
                }
            }
        });
        heard
    }

    /// A stream's messages, from the first to the last.
    pub fn stored(&self, stream: &str) -> Vec<StreamMessage> {
        self.block(async {
            let mut stream = self.jetstream().get_stream(stream).await.expect("the stream");
            let state = stream.info().await.expect("what it has").state.clone();
            let mut messages = Vec::new();
            for number in state.first_sequence..=state.last_sequence {
                messages.push(stream.get_raw_message(number).await.expect("a message"));
            }
            messages
        })
    }

    /// How many messages a stream has.
    pub fn count_stored(&self, stream: &str) -> u64 {
        self.block(async {
            let mut stream = self.jetstream().get_stream(stream).await.expect("the stream");
            stream.info().await.expect("what it has").state.messages
        })
    }
}

impl Heard {
    /// What has come so far.
    pub fn messages(&self) -> Vec<Message> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many have come so far.
    pub fn count(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Waits until so many have come, and returns them.
    pub fn wait(&self, count: usize) -> Vec<Message> {
        wait_for(&format!("{count} messages"), || (self.count() >= count).then(|| self.messages()))
    }

    /// The same for many, which take their time.
    pub fn wait_long(&self, count: usize) {
        let mut last = (0, std::time::Instant::now());
        while self.count() < count {
            if self.count() > last.0 {
                last = (self.count(), std::time::Instant::now());
            }
            assert!(last.1.elapsed() < patience(), "{} messages of {count}, and no more for {:?}", last.0, patience());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// A header's value.
pub fn header<'a>(message: &'a Message, name: &str) -> Option<&'a str> {
    message.headers.as_ref()?.get(name).map(|value| value.as_str())
}
