//! The server behind both sides of `benches/overhead.rs`: a legacy MCP server on stdio with one tool, `echo`, that
//! gives its arguments back as text. It does as little work as it can, so that what is measured is what stands before it.
use std::io::{self, Read, Write};

use memchr::{memchr, memchr_iter, memrchr};
use serde::Deserialize;
use serde_json::value::RawValue;

/// One line in. What the answer repeats stays raw.
#[derive(Deserialize)]
struct Request<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    method: Option<&'a str>,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Call<'a> {
    name: &'a str,
    #[serde(borrow)]
    arguments: Option<&'a RawValue>,
}

fn main() -> io::Result<()> {
    let (mut stdin, mut stdout) = (io::stdin().lock(), io::stdout().lock());
    let mut input = vec![0; 64 << 10];
    let (mut filled, mut output) = (0, Vec::new());
    loop {
        if filled == input.len() {
            input.resize(2 * filled, 0);
        }
        let read = stdin.read(&mut input[filled..])?;
        if read == 0 {
            return Ok(());
        }
        // Only what is new can hold the end of a line that an earlier read began.
        let (start, mut done) = (filled, 0);
        filled += read;
        for end in memchr_iter(b'\n', &input[start..filled]) {
            answer(&input[done..start + end], &mut output);
            done = start + end + 1;
        }
        // One write for all that one read brought.
        stdout.write_all(&output)?;
        stdout.flush()?;
        output.clear();
        input.copy_within(done..filled, 0);
        filled -= done;
    }
}

fn answer(line: &[u8], output: &mut Vec<u8>) {
    if let Some((id, text)) = plain_call(line) {
        reply(output, id, &[br#"{"content":[{"type":"text","text":"{\"text\":\""#, text, br#"\"}"}]}"#]);
    } else {
        careful_answer(line, output);
    }
}

/// The id and text of a call in the one form that the load generator writes, found without parsing:
/// a whole number for an id, and a `text` in which nothing is escaped.
fn plain_call(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let rest = line.strip_prefix(br#"{"jsonrpc":"2.0","id":"#)?;
    let (id, rest) = rest.split_at(memchr(b',', rest)?);
    let rest = rest.strip_prefix(br#","method":"tools/call","params":{"name":"echo","arguments":{"text":""#)?;
    let text = rest.strip_suffix(br#""}}}"#)?;
    let plain = id.iter().all(u8::is_ascii_digit) && memchr(b'"', text).is_none() && memrchr(b'\\', text).is_none();
    plain.then_some((id, text))
}

/// Everything else: the handshake, lists, and calls that somebody else wrote.
fn careful_answer(line: &[u8], output: &mut Vec<u8>) {
    let Ok(request) = serde_json::from_slice::<Request>(line) else {
        return;
    };
    let (Some(id), Some(method)) = (request.id, request.method) else {
        return;
    };
    let id = id.get().as_bytes();
    match method {
        "initialize" => reply(output, id, &[INITIALIZE]),
        "ping" => reply(output, id, &[b"{}"]),
        "tools/list" => reply(output, id, &[TOOLS]),
        "tools/call" => match request.params.and_then(|params| serde_json::from_str::<Call>(params.get()).ok()) {
            Some(Call { name: "echo", arguments }) => {
                let text = arguments.map_or("{}", RawValue::get);
                let text = serde_json::Value::from(text).to_string();
                reply(output, id, &[br#"{"content":[{"type":"text","text":"#, text.as_bytes(), b"}]}"]);
            }
            _ => refuse(output, id, br#"{"code":-32602,"message":"the only tool here is echo"}"#),
        },
        _ => refuse(output, id, br#"{"code":-32601,"message":"Method not found"}"#),
    }
}

const INITIALIZE: &[u8] =
    br#"{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"echo","version":"1"}}"#;
const TOOLS: &[u8] =
    br#"{"tools":[{"name":"echo","description":"Gives its arguments back.","inputSchema":{"type":"object"}}]}"#;

fn reply(output: &mut Vec<u8>, id: &[u8], result: &[&[u8]]) {
    output.extend_from_slice(br#"{"jsonrpc":"2.0","id":"#);
    output.extend_from_slice(id);
    output.extend_from_slice(br#","result":"#);
    for part in result {
        output.extend_from_slice(part);
    }
    output.extend_from_slice(b"}\n");
}

fn refuse(output: &mut Vec<u8>, id: &[u8], error: &[u8]) {
    output.extend_from_slice(br#"{"jsonrpc":"2.0","id":"#);
    output.extend_from_slice(id);
    output.extend_from_slice(br#","error":"#);
    output.extend_from_slice(error);
    output.extend_from_slice(b"}\n");
}
