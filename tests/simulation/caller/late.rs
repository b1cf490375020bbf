//! A client that comes when nothing goes wrong any more: every server must serve it within a bounded time.

use std::rc::Rc;
use std::time::Duration;

use tokio::io::{DuplexStream, ReadHalf};
use tokio::time::sleep;

use super::Caller;

/// The longest pause after starts that failed, with its jitter, and a margin.
const RECOVERY: Duration = Duration::from_secs(45);
/// Between one try and the next.
const PAUSE: Duration = Duration::from_secs(1);

impl Caller {
    /// Until when its server must have recovered.
    pub fn recovery(&self) -> Duration {
        let config = self.world.server(self.servers[0]);
        let (timeout, probe) = (&config.timeout, &config.probe);
        let starts = RECOVERY + (timeout.start + timeout.discover + timeout.stop) * 2;
        // What hangs is found out by its calls, or by probes.
        let hangs = (timeout.call + probe.timeout * 2) * probe.failures + timeout.max;
        self.world.now() + starts + hangs + config.breaker.open_max.mul_f64(1.25)
    }

    /// Calls until its server has answered; whether it has, or why not.
    pub async fn live_late(self: Rc<Caller>, reader: ReadHalf<DuplexStream>, until: Duration) -> bool {
        let hearing = tokio::task::spawn_local(self.clone().listen_to(reader));
        if self.open().await {
            while self.served.get() == 0 && self.world.now() < until {
                self.say(self.call(None)).await;
                sleep(PAUSE).await;
            }
        } else {
            sleep(PAUSE).await;
        }
        self.gone.set(true);
        hearing.abort();
        if self.served.get() == 0 && self.world.now() >= until {
            let text = format!("{} is not served though nothing goes wrong any more", self.name());
            self.world.fault(text);
            return true;
        }
        self.served.get() > 0
    }
}
