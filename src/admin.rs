//! Called by the daemon: the socket on which `mcpool status` asks. One JSON line in, one out. What other programs ask
//! over HTTP is in `http`.

pub mod http;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

use crate::caller::listener::Listener;
use crate::mux::Handle;
use crate::tasks;

/// The longest question.
const LONGEST: u64 = 4096;

/// Answers whoever asks, for as long as it is not dropped.
pub async fn serve(listener: Listener, mux: Handle) {
    loop {
        let (stream, _) = listener.accept().await;
        let mux = mux.clone();
        tasks::spawn("admin", async move {
            // Whoever asks and then leaves does not want the answer.
            let _ = answer(stream, mux).await;
        });
    }
}

async fn answer(stream: UnixStream, mux: Handle) -> std::io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut line = String::new();
    BufReader::new(reader.take(LONGEST)).read_line(&mut line).await?;
    let answer = match line.trim() {
        "status" => mux.with(|mux| mux.status()),
        other => serde_json::json!({ "error": format!("unknown command {other:?}") }),
    };
    writer.write_all(format!("{answer}\n").as_bytes()).await
}
