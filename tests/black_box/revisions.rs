//! What a caller's revision cannot hold becomes the nearest that it can, whatever the era of the server; what it can
//! hold is left alone.

use serde_json::{Value, json};

use crate::support::{Answer, Caller, Proxy, legacy, modern_script, play, proxy, script};

const REVISIONS: [&str; 4] = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"];

fn link() -> Value {
    json!({"type": "resource_link", "uri": "x://linked", "name": "the link"})
}

fn audio() -> Value {
    json!({"type": "audio", "data": "QUJD", "mimeType": "audio/wav"})
}

fn note() -> Value {
    json!({"type": "text", "text": "as it was"})
}

/// One server of each era that answers with all kinds of content.
async fn servers() -> Proxy {
    let result = |era: Value, structured: Value| {
        let mut result = era;
        result["content"] = json!([note(), link(), audio()]);
        result["structuredContent"] = structured;
        result
    };
    let prompt = |mut era: Value| {
        let messages = [note(), link(), audio()].map(|content| json!({"role": "user", "content": content}));
        era["messages"] = json!(messages);
        era
    };
    let complete = || json!({"resultType": "complete"});
    let (old, old_prompt) = (result(json!({}), json!({"n": 1})), prompt(json!({})));
    let (new, new_prompt) = (result(complete(), json!([1])), prompt(complete()));
    let capabilities = json!({"tools": {}, "prompts": {}});
    let old = script()
        .capable(capabilities.clone())
        .on("tools/call", move |it, say| say.result(it, old.clone()))
        .on("prompts/get", move |it, say| say.result(it, old_prompt.clone()));
    let new = modern_script()
        .capable(capabilities)
        .on("tools/call", move |it, say| match it.value["params"]["name"].as_str() {
            Some("bare") => {
                say.result(it, json!({"resultType": "complete", "content": [], "structuredContent": [1.0, "x"]}))
            }
            _ => say.result(it, new.clone()),
        })
        .on("prompts/get", move |it, say| say.result(it, new_prompt.clone()));
    proxy().server("old", old.into()).server("new", new.into()).start().await
}

/// The blocks of a tool's result and of a prompt.
async fn blocks(caller: &Caller) -> [Vec<Value>; 2] {
    let tool: Answer = caller.call("x", json!({})).await;
    let prompt = caller.ask("prompts/get", json!({"name": "p"})).await;
    let messages = prompt.result()["messages"].as_array().expect("messages").clone();
    let of_prompt = messages.into_iter().map(|message| message["content"].clone()).collect();
    [tool.result()["content"].as_array().expect("blocks").clone(), of_prompt]
}

#[test]
fn links_and_sounds_become_what_an_old_revision_knows() {
    play(async {
        let proxy = servers().await;
        for server in ["old", "new"] {
            for revision in REVISIONS {
                let caller = proxy.legacy(revision).connect(server).await;
                for blocks in blocks(&caller).await {
                    assert_eq!(blocks[0], note());
                    assert_eq!(blocks.contains(&link()), revision >= "2025-06-18", "{server} {revision} {blocks:?}");
                    assert_eq!(blocks.contains(&audio()), revision >= "2025-03-26", "{server} {revision} {blocks:?}");
                    let kinds: Vec<_> = blocks.iter().map(|block| block["type"].as_str().expect("a type")).collect();
                    let named = serde_json::to_string(&blocks).expect("JSON");
                    assert!(named.contains("x://linked"), "the link is named: {named}");
                    assert!(named.contains("QUJD"), "the sound is not lost: {named}");
                    if revision == "2024-11-05" {
                        assert!(kinds.iter().all(|kind| ["text", "image", "resource"].contains(kind)), "{kinds:?}");
                        assert!(named.contains("audio"), "the original is named: {named}");
                    }
                }
            }
        }
    });
}

#[test]
fn a_modern_caller_gets_every_kind_as_it_is() {
    play(async {
        let proxy = servers().await;
        for server in ["old", "new"] {
            let caller = proxy.modern().connect(server).await;
            for blocks in blocks(&caller).await {
                assert_eq!(blocks, [note(), link(), audio()], "{server}");
            }
        }
    });
}

#[test]
fn structured_content_that_is_no_object_is_for_modern_callers_alone() {
    play(async {
        let proxy = servers().await;
        for revision in REVISIONS {
            let caller = proxy.legacy(revision).connect("new").await;
            let answer = caller.call("x", json!({})).await;
            assert_eq!(answer.result().get("structuredContent"), None, "{revision}");
            let bare = caller.call("bare", json!({})).await;
            assert_eq!(bare.result().get("structuredContent"), None, "{revision}");
            assert_eq!(bare.text(), r#"[1.0,"x"]"#, "what would be lost is put into words");
        }
        let modern = proxy.modern().connect("new").await;
        assert_eq!(modern.call("bare", json!({})).await.result()["structuredContent"], json!([1.0, "x"]));
        let old = proxy.legacy("2025-06-18").connect("old").await;
        assert_eq!(old.call("x", json!({})).await.result()["structuredContent"], json!({"n": 1}));
    });
}

#[test]
fn capabilities_that_a_revision_lacks_are_not_shown() {
    play(async {
        let capable = script().capable(
            json!({"tools": {}, "completions": {}, "tasks": {"list": {}}, "logging": {}, "experimental": {"x": {}}}),
        );
        let proxy = proxy().server("old", capable.into()).start().await;
        for revision in REVISIONS {
            let shown = proxy.legacy(revision).connect("old").await.introduction["capabilities"].clone();
            assert_eq!(shown.get("completions").is_some(), revision >= "2025-03-26", "{revision}: {shown}");
            assert_eq!(shown.get("tasks").is_some(), revision >= "2025-11-25", "{revision}: {shown}");
            assert_eq!(shown["experimental"], json!({"x": {}}), "{revision}");
        }
        let found = proxy.modern().connect("old").await.ask("server/discover", json!({})).await.result().clone();
        assert_eq!((found["capabilities"].get("tasks"), &found["capabilities"]["completions"]), (None, &json!({})));
    });
}

#[test]
fn what_a_tool_shows_of_itself_fits_the_callers_era() {
    play(async {
        let tool = |schema: Value| json!({"name": "t", "inputSchema": {"type": "object"}, "outputSchema": schema, "execution": {"taskSupport": "optional"}});
        let (array, object) = (json!({"type": "array", "items": {}}), json!({"type": "object", "properties": {}}));
        let new = {
            let tools = json!([tool(array.clone())]);
            modern_script().on("tools/list", move |it, say| {
                say.result(it, json!({"resultType": "complete", "ttlMs": 0, "cacheScope": "private", "tools": tools}));
            })
        };
        let old = {
            let tools = json!([tool(object.clone())]);
            script().on("tools/list", move |it, say| say.result(it, json!({"tools": tools})))
        };
        let proxy = proxy().server("old", old.into()).server("new", new.into()).start().await;
        let legacy_caller = proxy.legacy("2025-11-25").connect("new").await;
        assert_eq!(legacy_caller.ask("tools/list", json!({})).await.result()["tools"][0].get("outputSchema"), None);
        let modern_caller = proxy.modern().connect("old").await;
        let shown = modern_caller.ask("tools/list", json!({})).await.result()["tools"][0].clone();
        assert_eq!((&shown["outputSchema"], shown.get("execution")), (&object, None));
        let native = proxy.modern().connect("new").await.ask("tools/list", json!({})).await;
        assert_eq!(native.result()["tools"][0]["outputSchema"], array);
    });
}

#[test]
fn results_that_fit_are_not_touched() {
    play(async {
        let exact = script().on("tools/call", |call, say| {
            let result =
                r#"{"content":[ {"type":"text","text":"\u0041","n":1.0}],"structuredContent":{"a":1e2,"a":1},"x":[ ]}"#;
            say.line(&format!(r#"{{"jsonrpc":"2.0","id":{},"result":{result}}}"#, call.id()));
        });
        let proxy = proxy().server("exact", exact.into()).server("old", legacy(|_| {})).start().await;
        for revision in REVISIONS {
            let caller = proxy.legacy(revision).connect("exact").await;
            let answer = caller.call("x", json!({})).await;
            for kept in [
                r#""content":[ {"type":"text","text":"\u0041","n":1.0}]"#,
                r#""structuredContent":{"a":1e2,"a":1}"#,
                r#""x":[ ]"#,
            ] {
                assert!(answer.raw.contains(kept), "{revision}: {kept} in {}", answer.raw);
            }
        }
    });
}
