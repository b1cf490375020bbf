//! A caller whose endpoint is taken away by a reload is left, whether it reads or not.

use serde_json::json;
use tokio::io::AsyncWriteExt;

use crate::support::{after, legacy, play, proxy, seconds, settled};

#[test]
fn a_caller_that_does_not_read_is_left_all_the_same() {
    play(async {
        let proxy = proxy().server("echo", legacy(|_| {})).server("other", legacy(|_| {})).start().await;
        let mut stream = proxy.stream("echo");
        let info = json!({"name": "deaf", "version": "1"});
        let params = json!({"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": info});
        let mut lines = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params}).to_string();
        for id in 1..4 {
            let call = json!({"name": "echo", "arguments": {"text": "x".repeat(50_000)}});
            lines += &format!("\n{}", json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": call}));
        }
        stream.write_all(format!("{lines}\n").as_bytes()).await.expect("written");
        settled().await;
        proxy.remove("echo").await;
        let callers = || proxy.status()["callers"].as_array().map(Vec::len);
        assert_eq!(callers(), Some(1), "it may still read what was said to it");
        after(seconds(3)).await;
        assert_eq!(callers(), Some(0));
    });
}
