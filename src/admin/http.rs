//! Called by the daemon: a small HTTP server on a loopback address or a Unix socket for Prometheus (`/metrics`) and for
//! whoever watches over processes (`/live`, `/ready`). It is bounded in everything that a client could make it keep:
//! how many there are, how long each takes, how much it may send. A web page whose name leads here is told nothing.

mod clients;
mod door;

use std::convert::Infallible;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HOST};
use hyper::http::uri::Authority;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, Version};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::config::MetricsAt;
use crate::endpoint::rarely::Rarely;
use crate::mux::Handle;
use crate::tasks;
use clients::Clients;
use door::{Door, Stream};

/// How long a client may take to send the head of its request.
const HEAD: Duration = Duration::from_secs(5);
/// How long a client may take altogether: each asks once.
const ALTOGETHER: Duration = Duration::from_secs(30);
/// How many bytes of a request are read; the least that hyper takes.
const REQUEST: usize = 8192;
/// Version 0.0.4 is the text format's.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The place where readers of metrics come in, and whoever serves them.
pub struct Readers {
    at: MetricsAt,
    mux: Handle,
    /// None: another program has the place.
    open: Option<(Rc<Door>, JoinHandle<()>)>,
    lost: Rarely,
}

impl Readers {
    /// Listens and answers for as long as the daemon runs, also while it drains. If the place is in use, by a daemon that
    /// drains perhaps, it is to be had with `renew` as soon as it is free.
    ///
    /// # Errors
    /// The place cannot be listened on, and not because it is in use.
    pub async fn invite(at: &MetricsAt, mux: &Handle) -> io::Result<Readers> {
        let door = Door::open(at).await?;
        if door.is_none() {
            tracing::warn!(address = %at, "metrics are not served yet: another program has the address; it is tried again");
        }
        let mut readers = Readers { at: at.clone(), mux: mux.clone(), open: None, lost: Rarely::default() };
        door.into_iter().for_each(|door| readers.let_in_by(door));
        Ok(readers)
    }

    /// Takes the place if it is free by now, or takes it anew if its socket is not there any more; whether one was gone.
    /// Callers are served without it, so a place that cannot be had is tried again and nothing more.
    pub async fn renew(&mut self) -> bool {
        let renewed = match &self.open {
            None => Door::open(&self.at).await,
            Some((door, _)) => door.renewed(),
        };
        match renewed {
            Ok(Some(door)) => {
                let gone = self.open.is_some();
                self.let_in_by(door);
                gone
            }
            Ok(None) => {
                // An attempt that failed said that there is none.
                let place = self.open.as_ref().map(|(door, _)| door.place(&self.at));
                self.mux.with(|mux| mux.metrics.address.replace(place));
                false
            }
            Err(error) => {
                self.mux.with(|mux| mux.metrics.address.replace(None));
                if let Some(times) = self.lost.say() {
                    tracing::warn!(address = %self.at, %error, times, "metrics are not served; it is tried again");
                }
                false
            }
        }
    }

    fn let_in_by(&mut self, door: Door) {
        let place = door.place(&self.at);
        tracing::info!(address = place, "serving metrics");
        self.mux.with(|mux| mux.metrics.address.replace(Some(place)));
        let door = Rc::new(door);
        let task = tasks::spawn("metrics", listen(door.clone(), self.mux.clone()));
        if let Some((_, before)) = self.open.replace((door, task)) {
            before.abort();
        }
    }
}

/// Accepts readers.
async fn listen(door: Rc<Door>, mux: Handle) {
    let (clients, guarded) = (Clients::default(), door.is_open_to_browsers());
    loop {
        let stream = door.accept().await;
        let mux = mux.clone();
        clients.admit(|asked| serve(stream, mux, guarded, move || asked.set(true)));
    }
}

/// Answers one request. `guarded`: only where it calls this host by a name of its own.
async fn serve(stream: Box<dyn Stream>, mux: Handle, guarded: bool, asked: impl Fn()) {
    let service = service_fn(|request: Request<Incoming>| {
        asked();
        let response = if guarded && !is_for_loopback(&request) {
            let told = "this answers to localhost, 127.0.0.1 and [::1] alone (see the header Host)\n";
            plain(StatusCode::MISDIRECTED_REQUEST, told.into())
        } else {
            respond(&request, &mux)
        };
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

/// Whether a request is meant for this machine under a name that no other can have. The name of a web page's own host may
/// be made to lead here, and then the page could read what is answered.
fn is_for_loopback<B>(request: &Request<B>) -> bool {
    let own = |authority: &Authority| {
        // A name with a user before it is no host.
        let host = authority.host();
        !authority.as_str().contains('@')
            && (host.eq_ignore_ascii_case("localhost") || matches!(host, "127.0.0.1" | "[::1]"))
    };
    let mut hosts = request.headers().get_all(HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (Some(host), None) => host.to_str().ok().and_then(|host| host.parse().ok()).is_some_and(|host| own(&host)),
        // Before 1.1 there was no such header, and no browser does without it.
        (None, _) => request.version() == Version::HTTP_10,
        (Some(_), Some(_)) => false,
    };
    host && request.uri().authority().is_none_or(own)
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
    plain(status, body)
}

fn plain(status: StatusCode, body: String) -> Response<Full<Bytes>> {
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
