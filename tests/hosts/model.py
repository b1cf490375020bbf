"""A stand-in for the model on loopback: it tells the host to call the tool whose name contains `echo`, and then says `done`.

It speaks as much of Anthropic's messages and OpenAI's chat completions and responses, streamed or not, as five hosts want.
"""

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

SAID = "hello from the model"


class Model:
    """Serves until it is closed; `results` are the texts of the tool results that hosts sent back. `think` returns once the
    server is there: for a host that asks the model before its servers have opened.
    """

    def __init__(self, think: Callable[[], None] = lambda: None) -> None:
        self.think = think
        self.results: list[str] = []
        self.seen: list[str] = []
        model = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None:
                pass

            def do_GET(self) -> None:
                self.reply_json({"object": "list", "data": [{"id": "fake", "object": "model"}]})

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers.get("content-length", 0))) or b"{}")
                path = self.path.partition("?")[0]
                model.seen.append(path)
                if path.endswith("/messages"):
                    anthropic(self, model, body)
                elif path.endswith("/responses"):
                    responses(self, model, body)
                elif path.endswith("/chat/completions"):
                    chat(self, model, body)
                else:
                    self.reply_json({"input_tokens": 1})

            def reply_json(self, value: Any) -> None:
                data = json.dumps(value).encode()
                self.send_response(200)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def stream(self, events: list[tuple[str | None, Any]]) -> None:
                self.send_response(200)
                self.send_header("content-type", "text/event-stream")
                self.send_header("connection", "close")
                self.end_headers()
                for name, data in events:
                    text = data if isinstance(data, str) else json.dumps(data)
                    self.wfile.write(((f"event: {name}\n" if name else "") + f"data: {text}\n\n").encode())
                self.close_connection = True

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()

    def choose(self, tools: list[tuple[str, str | None]]) -> tuple[str, str | None, dict[str, Any]] | None:
        """The tool to call, its namespace, and its arguments: `echo`, or the search for tools that are not loaded yet."""
        for name, space in tools:
            if "echo" in name:
                return name, space, {"message": SAID}
        for name, space in tools:
            if "tool_search" in name or name == "ToolSearch":
                return name, space, {"query": "echo"}
        for name, space in tools:
            # A host that does not wait for its servers: the next request has their tools.
            if name == "list_mcp_resources":
                self.think()
                return name, space, {}
        return None


def anthropic(to: Any, model: Model, body: dict[str, Any]) -> None:
    blocks = [block for message in body["messages"] if isinstance(message["content"], list) for block in message["content"]]
    answered = [block for block in blocks if block.get("type") == "tool_result"]
    model.results += [json.dumps(block.get("content")) for block in answered]
    chosen = None if answered else model.choose([(tool["name"], None) for tool in body.get("tools", [])])
    if chosen:
        name, _, arguments = chosen
        block: dict[str, Any] = {"type": "tool_use", "id": "toolu_1", "name": name, "input": {}}
        delta = {"type": "input_json_delta", "partial_json": json.dumps(arguments)}
        stop = "tool_use"
    else:
        block, delta, stop = {"type": "text", "text": ""}, {"type": "text_delta", "text": "done"}, "end_turn"
    usage = {"input_tokens": 1, "output_tokens": 1}
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": body.get("model", "fake"), "content": [],
               "stop_reason": None, "stop_sequence": None, "usage": usage}
    if not body.get("stream"):
        whole = block | ({"input": chosen[2]} if chosen else {"text": "done"})
        return to.reply_json(message | {"content": [whole], "stop_reason": stop})
    to.stream([
        ("message_start", {"type": "message_start", "message": message}),
        ("content_block_start", {"type": "content_block_start", "index": 0, "content_block": block}),
        ("content_block_delta", {"type": "content_block_delta", "index": 0, "delta": delta}),
        ("content_block_stop", {"type": "content_block_stop", "index": 0}),
        ("message_delta", {"type": "message_delta", "delta": {"stop_reason": stop, "stop_sequence": None}, "usage": usage}),
        ("message_stop", {"type": "message_stop"}),
    ])


def chat(to: Any, model: Model, body: dict[str, Any]) -> None:
    answered = [one for one in body["messages"] if one["role"] == "tool"]
    model.results += [json.dumps(one.get("content")) for one in answered]
    found = any("cho: " in result for result in (json.dumps(one) for one in answered))
    names = [(tool["function"]["name"], None) for tool in body.get("tools") or [] if tool.get("function")]
    chosen = None if found or len(answered) > 3 else model.choose(names)
    message: dict[str, Any] = {"role": "assistant", "content": "done"}
    if chosen:
        name, _, arguments = chosen
        call = {"index": 0, "id": f"call_{len(answered)}", "type": "function",
                "function": {"name": name, "arguments": json.dumps(arguments)}}
        message = {"role": "assistant", "content": None, "tool_calls": [call]}
    finish = "tool_calls" if chosen else "stop"
    base = {"id": "c1", "created": 1, "model": body.get("model", "fake")}
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    if not body.get("stream"):
        return to.reply_json(base | {"object": "chat.completion", "usage": usage,
                                     "choices": [{"index": 0, "message": message, "finish_reason": finish}]})
    def chunk(delta: Any, reason: str | None) -> Any:
        return base | {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}
    to.stream([(None, chunk(message, None)), (None, chunk({}, finish)),
               (None, base | {"object": "chat.completion.chunk", "choices": [], "usage": usage}), (None, "[DONE]")])


def responses(to: Any, model: Model, body: dict[str, Any]) -> None:
    items = body["input"] if isinstance(body["input"], list) else []
    answered = [item for item in items if item.get("type") == "function_call_output"]
    model.results += [json.dumps(item.get("output")) for item in answered]
    tools: list[tuple[str, str | None]] = []
    for tool in body.get("tools", []):
        if tool.get("type") == "function":
            tools.append((tool["name"], None))
        for inner in tool.get("tools", []):
            tools.append((inner["name"], tool.get("name")))
    found = any(SAID in result for result in model.results)
    chosen = None if found or len(answered) > 3 else model.choose(tools)
    if chosen:
        name, space, arguments = chosen
        call = f"call_{len(answered)}"
        item: dict[str, Any] = {"type": "function_call", "id": f"fc_{call}", "call_id": call, "name": name,
                                "arguments": json.dumps(arguments)}
        if space:
            item["namespace"] = space
    else:
        item = {"type": "message", "id": "m_1", "role": "assistant", "content": [{"type": "output_text", "text": "done"}]}
    usage = {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2, "input_tokens_details": None, "output_tokens_details": None}
    to.stream([
        ("response.created", {"type": "response.created", "response": {"id": "r1"}}),
        ("response.output_item.done", {"type": "response.output_item.done", "output_index": 0, "item": item}),
        ("response.completed", {"type": "response.completed", "response": {"id": "r1", "usage": usage}}),
    ])
