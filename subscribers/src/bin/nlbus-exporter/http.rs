//! The HTTP side: one page, and clients that may say nothing, or read nothing, and hold up nobody by that.

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use tokio::sync::Semaphore;
use tracing::{debug, warn};

/// Connections at a time; more wait to be accepted.
const CONNECTIONS: usize = 256;

/// How long a client may take to say what it wants.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a connection may last in all.
const LIFETIME: Duration = Duration::from_secs(60);

/// Serves `page` at /metrics, from a thread of its own.
pub fn serve(listener: TcpListener, page: impl Fn() -> String + Send + Sync + 'static) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let listener = runtime.block_on(async { tokio::net::TcpListener::from_std(listener) })?;
    let run = move || runtime.block_on(accept(listener, Arc::new(page)));
    thread::Builder::new().name("http".into()).spawn(run).map(drop)
}

async fn accept(listener: tokio::net::TcpListener, page: Arc<impl Fn() -> String + Send + Sync + 'static>) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        // It is never closed.
        let Ok(place) = Arc::clone(&room).acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // No descriptors left, say: it passes.
                warn!("can't accept a connection: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let page = Arc::clone(&page);
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(request, Arc::clone(&page)));
            let mut http = http1::Builder::new();
            http.timer(TokioTimer::new()).header_read_timeout(PATIENCE);
            let served = http.serve_connection(TokioIo::new(stream), service);
            if let Ok(Err(error)) = tokio::time::timeout(LIFETIME, served).await {
                debug!("a client: {error}");
            }
            drop(place);
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    page: Arc<impl Fn() -> String + Send + Sync + 'static>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (status, text) = match (request.method(), request.uri().path()) {
        // It asks the broker, and may wait for it.
        (&Method::GET, "/metrics") => match tokio::task::spawn_blocking(move || page()).await {
            Ok(page) => (StatusCode::OK, page),
            Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, "the page can't be made\n".into()),
        },
        (&Method::GET, "/") => (StatusCode::OK, "nlbus-exporter: see /metrics\n".into()),
        (&Method::GET, _) => (StatusCode::NOT_FOUND, "not found; see /metrics\n".into()),
        _ => (StatusCode::METHOD_NOT_ALLOWED, "only GET\n".into()),
    };
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    Ok(response)
}
