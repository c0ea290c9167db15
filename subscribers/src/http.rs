//! Metrics by HTTP: one page, and clients that may say nothing, or read nothing, and hold up nobody by that.

mod guests;

use crate::end::End;
use guests::{Guests, Place};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::sync::{Mutex, Notify};
use tracing::{debug, warn};

/// How long a client may take to say what it wants.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long it may take to read the answer.
const READING: Duration = Duration::from_secs(10);

/// How often, and after how long, to look again for a place where all are being answered.
const TRIES: u32 = 50;
const TRY_AGAIN: Duration = Duration::from_millis(20);

/// Most bytes of a request.
const REQUEST: usize = 16 << 10;

/// Makes the page, for all that ask at a time at once.
struct Press<F> {
    make: Arc<F>,
    /// When it was begun, and what it is.
    newest: Mutex<Option<(Instant, Bytes)>>,
}

impl<F: Fn() -> String + Send + Sync + 'static> Press<F> {
    /// A page that was begun after this was called.
    async fn page(&self) -> Option<Bytes> {
        let asked = Instant::now();
        let mut newest = self.newest.lock().await;
        if let Some((begun, page)) = &*newest
            && *begun >= asked
        {
            return Some(page.clone());
        }
        let (begun, make) = (Instant::now(), Arc::clone(&self.make));
        // It asks the broker, and may wait for it.
        let page = Bytes::from(tokio::task::spawn_blocking(move || make()).await.ok()?);
        *newest = Some((begun, page.clone()));
        Some(page)
    }
}

/// Serves `page` at /metrics, from a thread of its own, and returns the address where it listens. `option` is what gives the
/// address.
///
/// # Errors
/// [`End::Failed`] where it can't listen there.
pub fn serve(
    address: SocketAddr,
    option: &str,
    page: impl Fn() -> String + Send + Sync + 'static,
) -> Result<SocketAddr, End> {
    let start = || {
        let listener = TcpListener::bind(address)?;
        let bound = listener.local_addr()?;
        start(listener, page).map(|()| bound)
    };
    start()
        .map_err(|error: io::Error| End::Failed(format!("can't listen at {address}: {error}; choose another {option}")))
}

fn start(listener: TcpListener, page: impl Fn() -> String + Send + Sync + 'static) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let listener = runtime.block_on(async { tokio::net::TcpListener::from_std(listener) })?;
    let press = Arc::new(Press { make: Arc::new(page), newest: Mutex::new(None) });
    let run = move || runtime.block_on(accept(listener, press));
    thread::Builder::new().name("http".into()).spawn(run).map(drop)
}

async fn accept<F>(listener: tokio::net::TcpListener, press: Arc<Press<F>>)
where
    F: Fn() -> String + Send + Sync + 'static,
{
    let guests = Arc::default();
    loop {
        match listener.accept().await {
            Ok((stream, from)) => {
                // Those that are being answered are soon done.
                let mut place = Guests::enter(&guests, from.ip());
                for _ in 0..TRIES {
                    if place.is_some() {
                        break;
                    }
                    tokio::time::sleep(TRY_AGAIN).await;
                    place = Guests::enter(&guests, from.ip());
                }
                match place {
                    Some(place) => drop(tokio::spawn(converse(stream, Arc::new(place), Arc::clone(&press)))),
                    None => debug!("no room for {from}: all others are being answered"),
                }
            }
            Err(error) => {
                // No descriptors left, say: it passes.
                warn!("can't accept a connection: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// One request and its answer: a client that asks again connects again, and can't ask for more than it reads.
async fn converse<F>(stream: TcpStream, place: Arc<Place>, press: Arc<Press<F>>)
where
    F: Fn() -> String + Send + Sync + 'static,
{
    let made = Arc::new(Notify::new());
    let (answering, answered) = (Arc::clone(&place), Arc::clone(&made));
    let service = service_fn(move |request| {
        let (place, made, press) = (Arc::clone(&answering), Arc::clone(&answered), Arc::clone(&press));
        async move {
            place.waits(true);
            let response = answer(request, &press).await;
            place.waits(false);
            made.notify_one();
            Ok::<_, Infallible>(response)
        }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(PATIENCE).max_buf_size(REQUEST).keep_alive(false);
    let too_slow = async {
        made.notified().await;
        tokio::time::sleep(READING).await;
    };
    tokio::select! {
        served = http.serve_connection(TokioIo::new(stream), service) => if let Err(error) = served {
            debug!("a client: {error}");
        },
        () = too_slow => debug!("a client didn't read its answer"),
        () = place.is_needed() => debug!("a client made room for another one"),
    }
}

async fn answer<F>(request: Request<Incoming>, press: &Press<F>) -> Response<Full<Bytes>>
where
    F: Fn() -> String + Send + Sync + 'static,
{
    // Of an answer to HEAD, hyper sends no more than the head.
    let is_get = [Method::GET, Method::HEAD].contains(request.method());
    let (status, text) = match request.uri().path() {
        _ if !is_get => (StatusCode::METHOD_NOT_ALLOWED, Bytes::from_static(b"only GET and HEAD\n")),
        "/metrics" => match press.page().await {
            Some(page) => (StatusCode::OK, page),
            None => (StatusCode::INTERNAL_SERVER_ERROR, Bytes::from_static(b"the page can't be made\n")),
        },
        "/" => (StatusCode::OK, Bytes::from_static(b"see /metrics\n")),
        _ => (StatusCode::NOT_FOUND, Bytes::from_static(b"not found; see /metrics\n")),
    };
    let mut response = Response::new(Full::new(text));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    if !is_get {
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    }
    response
}
