//! The daemon's own books, as Prometheus reads them: when nothing is left of a round, they must balance too.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long they may take to be read.
const PATIENCE: Duration = Duration::from_secs(30);
/// Each pair is equal when nothing runs: what began has ended.
const PAIRS: [(&str, &str); 2] =
    [("mcpool_requests_total", "mcpool_calls_total"), ("mcpool_starts_total", "mcpool_stops_total")];

/// The sum over each counter, whatever its labels.
pub struct Counters(BTreeMap<String, f64>);

impl Counters {
    /// Reads them from an address such as `127.0.0.1:9464`.
    pub async fn read(address: &str) -> io::Result<Counters> {
        let talk = async {
            let mut stream = TcpStream::connect(address).await?;
            let request = format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).await?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await?;
            Ok(answer)
        };
        timeout(PATIENCE, talk).await?.map(|answer| Counters::parse(&answer))
    }

    fn parse(text: &str) -> Counters {
        let mut sums = BTreeMap::new();
        for line in text.lines().filter(|line| line.starts_with("mcpool_")) {
            let Some((name, value)) = line.rsplit_once(' ') else { continue };
            let name = name.split('{').next().unwrap_or_default().to_owned();
            *sums.entry(name).or_insert(0.0) += value.parse::<f64>().unwrap_or(f64::NAN);
        }
        Counters(sums)
    }

    /// What does not balance.
    pub fn odds(&self) -> Vec<String> {
        let sum = |name: &str| self.0.get(name).copied().unwrap_or(f64::NAN);
        let odd = |(one, other): &(&str, &str)| sum(one) != sum(other);
        let told = |(one, other)| format!("{one} is {}, {other} {}", sum(one), sum(other));
        PAIRS.into_iter().filter(odd).map(told).collect()
    }
}
