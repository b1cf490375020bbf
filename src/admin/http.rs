//! Called by the daemon: a small HTTP server on a loopback address for Prometheus (`/metrics`) and for whoever watches
//! over processes (`/live`, `/ready`). It is bounded in everything that a client could make it keep: how many there
//! are, how long each takes, how much it may send.

use std::cell::Cell;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};

use crate::mux::Handle;
use crate::tasks;

/// Clients served at once; others are turned away.
const CLIENTS: usize = 64;
/// How long a client may take to send the head of its request.
const HEAD: Duration = Duration::from_secs(5);
/// How long a client may take altogether: each asks once.
const ALTOGETHER: Duration = Duration::from_secs(30);
/// How many bytes of a request are read; the least that hyper takes.
const REQUEST: usize = 8192;
/// How often an address is tried that is in use.
const AGAIN: Duration = Duration::from_secs(1);
/// Version 0.0.4 is the text format's.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Listens on an address and answers for as long as the daemon runs, also while it drains. If the address is in use, by a
/// daemon that drains perhaps, it is listened on as soon as it is free.
///
/// # Errors
/// The address cannot be listened on, and not because it is in use.
pub async fn start(address: SocketAddr, mux: &Handle) -> io::Result<()> {
    let listener = match TcpListener::bind(address).await {
        Ok(listener) => Some(listener),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            tracing::warn!(%address, "metrics are not served yet: another program has the address; it is tried again");
            None
        }
        Err(error) => return Err(error),
    };
    tasks::spawn("metrics", listen(listener, address, mux.clone()));
    Ok(())
}

/// Takes the address as soon as it is to be had, and accepts readers.
async fn listen(listener: Option<TcpListener>, address: SocketAddr, mux: Handle) {
    let mut bound = listener;
    let listener = loop {
        if let Some(listener) = bound {
            break listener;
        }
        sleep(AGAIN).await;
        bound = TcpListener::bind(address).await.ok();
    };
    // It has one, since it is bound.
    let address = listener.local_addr().unwrap_or(address);
    mux.with(|mux| mux.metrics.address.set(Some(address)));
    tracing::info!(%address, "serving metrics");
    accept(listener, mux).await;
}

async fn accept(listener: TcpListener, mux: Handle) {
    let clients = Rc::new(Cell::new(0));
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let Some(place) = Place::take(&clients) else { continue };
                let mux = mux.clone();
                tasks::spawn("http", async move {
                    let _place = place;
                    serve(stream, mux).await;
                });
            }
            Err(error) => {
                // Out of descriptors, most likely: those in use will be given back.
                tracing::warn!(%error, "cannot accept a reader of metrics");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// One of the places for clients; given back when dropped.
struct Place(Rc<Cell<usize>>);

impl Place {
    fn take(taken: &Rc<Cell<usize>>) -> Option<Place> {
        (taken.get() < CLIENTS).then(|| {
            taken.set(taken.get() + 1);
            Place(taken.clone())
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// Answers one request.
async fn serve(stream: TcpStream, mux: Handle) {
    let service = service_fn(move |request: Request<Incoming>| {
        let response = respond(&request, &mux);
        async move { Ok::<_, Infallible>(response) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(REQUEST)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    match timeout(ALTOGETHER, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a reader of metrics misbehaved"),
        Err(_) => tracing::debug!("a reader of metrics took too long"),
    }
}

fn respond<B>(request: &Request<B>, mux: &Handle) -> Response<Full<Bytes>> {
    let known = matches!(request.uri().path(), "/metrics" | "/live" | "/ready");
    let (status, body) = match request.uri().path() {
        _ if !known => (StatusCode::NOT_FOUND, "there are /metrics, /live and /ready\n".into()),
        _ if !matches!(*request.method(), Method::GET | Method::HEAD) => {
            (StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n".into())
        }
        "/metrics" => {
            let (metrics, measured) = mux.with(|mux| (mux.metrics.clone(), mux.measure()));
            (StatusCode::OK, metrics.exporter().render(&metrics, &measured))
        }
        "/ready" if mux.with(|mux| mux.is_draining()) => (StatusCode::SERVICE_UNAVAILABLE, "draining\n".into()),
        _ => (StatusCode::OK, "ok\n".into()),
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(TEXT));
    headers.insert(CACHE_CONTROL, hyper::header::HeaderValue::from_static("no-store"));
    if status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(ALLOW, hyper::header::HeaderValue::from_static("GET, HEAD"));
    }
    *response.status_mut() = status;
    response
}
