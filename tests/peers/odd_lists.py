"""Items that servers write against the specification, in lists of several servers, against the published SDKs, which check a list as a whole.

    target/peers/venv/bin/python tests/peers/odd_lists.py --mcpool PATH

Each odd item is first shown to do harm where nothing stands before the server: one SDK at least refuses the list, or never gets an
answer. Then an endpoint shows the same server beside a good one, and every SDK has to see the good one's items. Prints `N passed, N failed`; exits with 1 on any.
"""

import argparse
import asyncio
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from mcp import Client
from mcp.client.stdio import StdioServerParameters, stdio_client

from lines import over_socket

SECONDS = 5  # for one list; where the parser of a client refuses the line, it waits for ever

SERVER = r'''
import json, sys
kind, items = sys.argv[1], sys.argv[2]
member = {"tools/list": "tools", "prompts/list": "prompts", "resources/list": "resources", "resources/templates/list": "resourceTemplates"}
def say(id, result): print('{"jsonrpc":"2.0","id":%s,"result":%s}' % (json.dumps(id), result), flush=True)
for line in sys.stdin:
    m = json.loads(line)
    if "id" not in m: continue
    if m["method"] == "initialize":
        say(m["id"], json.dumps({"protocolVersion": m["params"]["protocolVersion"], "capabilities": {"tools": {}, "prompts": {}, "resources": {}}, "serverInfo": {"name": "s", "version": "1"}}))
    elif m["method"] in member: say(m["id"], '{"%s":[%s]}' % (member[m["method"]], items if m["method"] == kind else ""))
    elif m["method"] == "ping": say(m["id"], "{}")
    else: print(json.dumps({"jsonrpc": "2.0", "id": m["id"], "error": {"code": -32601, "message": "Method not found"}}), flush=True)
'''

GOOD = {
    "tools/list": '{"name":"good","inputSchema":{"type":"object"}}',
    "prompts/list": '{"name":"good"}',
    "resources/list": '{"uri":"good:it","name":"good"}',
    "resources/templates/list": '{"uriTemplate":"good:{it}","name":"good"}',
}
OBJECT = '"inputSchema":{"type":"object"}'
ODD = {
    "tools/list": {
        "no-object": "5",
        "null-item": "null",
        "no-name": "{%s}" % OBJECT,
        "number-name": '{"name":7,%s}' % OBJECT,
        "null-description": '{"name":"a","description":null,%s}' % OBJECT,
        "number-title": '{"name":"a","title":5,%s}' % OBJECT,
        "null-icons": '{"name":"a","icons":null,%s}' % OBJECT,
        "odd-icons": '{"name":"a","icons":[{"src":"data:,","sizes":"any"}],%s}' % OBJECT,
        "null-meta": '{"name":"a","_meta":null,%s}' % OBJECT,
        "list-meta": '{"name":"a","_meta":[],%s}' % OBJECT,
        "null-hint": '{"name":"a","annotations":{"readOnlyHint":null},%s}' % OBJECT,
        "text-hint": '{"name":"a","annotations":{"readOnlyHint":"perhaps"},%s}' % OBJECT,
        "odd-execution": '{"name":"a","execution":{"taskSupport":"maybe"},%s}' % OBJECT,
        "no-schema": '{"name":"a"}',
        "null-schema": '{"name":"a","inputSchema":null}',
        "empty-schema": '{"name":"a","inputSchema":{}}',
        "types-schema": '{"name":"a","inputSchema":{"type":["object","null"]}}',
        "list-properties": '{"name":"a","inputSchema":{"type":"object","properties":["x"]}}',
        "null-property": '{"name":"a","inputSchema":{"type":"object","properties":{"x":null}}}',
        "true-property": '{"name":"a","inputSchema":{"type":"object","properties":{"x":true}}}',
        "null-required": '{"name":"a","inputSchema":{"type":"object","required":null}}',
        "true-required": '{"name":"a","inputSchema":{"type":"object","required":true}}',
        "null-output": '{"name":"a","outputSchema":null,%s}' % OBJECT,
        "array-output": '{"name":"a","outputSchema":{"type":"array"},%s}' % OBJECT,
        "unknown-type-of-output": '{"name":"a","outputSchema":{"type":"object","properties":{"x":{"type":"file"}}},%s}' % OBJECT,
        "pattern-of-python": '{"name":"a","outputSchema":{"type":"object","properties":{"x":{"pattern":"(?P<a>b)"}}},%s}' % OBJECT,
        "reference-to-nothing": '{"name":"a","outputSchema":{"type":"object","properties":{"x":{"$ref":"#/$defs/x"}}},%s}' % OBJECT,
        "half-character": '{"name":"a","description":"\\ud83d",%s}' % OBJECT,
        "long-number": '{"name":"a","x":%s,%s}' % ("9" * 5000, OBJECT),
    },
    "prompts/list": {
        "null-arguments": '{"name":"a","arguments":null}',
        "object-arguments": '{"name":"a","arguments":{"type":"object"}}',
        "nameless-argument": '{"name":"a","arguments":[{"description":"d"}]}',
        "null-argument-required": '{"name":"a","arguments":[{"name":"n","required":null}]}',
    },
    "resources/list": {
        "no-uri": '{"name":"a"}',
        "no-resource-name": '{"uri":"a:b"}',
        "null-size": '{"uri":"a:b","name":"a","size":null}',
        "text-size": '{"uri":"a:b","name":"a","size":"large"}',
        "null-type": '{"uri":"a:b","name":"a","mimeType":null}',
        "odd-audience": '{"uri":"a:b","name":"a","annotations":{"audience":["robot"]}}',
        "odd-priority": '{"uri":"a:b","name":"a","annotations":{"priority":5}}',
        "local-time": '{"uri":"a:b","name":"a","annotations":{"lastModified":"2025-01-12T15:00:58"}}',
    },
    "resources/templates/list": {
        "null-template": '{"uriTemplate":null,"name":"a"}',
        "no-template-name": '{"uriTemplate":"a:{b}"}',
    },
}

NODE = r'''
const { createRequire } = await import("node:module");
const { connect } = await import("node:net");
const peer = createRequire(process.argv[2] + "/");
const v1 = { ...peer("@modelcontextprotocol/sdk/client/index.js"), ...peer("@modelcontextprotocol/sdk/client/stdio.js") };
const v2 = { ...peer("@modelcontextprotocol/client"), ...peer("@modelcontextprotocol/client/stdio") };
const call = { "tools/list": "listTools", "prompts/list": "listPrompts", "resources/list": "listResources", "resources/templates/list": "listResourceTemplates" };
class Socket {
  constructor(path) { this.path = path; }
  async start() {
    this.socket = connect(this.path);
    let rest = "";
    this.socket.setEncoding("utf8");
    this.socket.on("data", text => {
      const lines = (rest + text).split("\n");
      rest = lines.pop();
      for (const line of lines) try { this.onmessage?.(JSON.parse(line)); } catch (error) { this.onerror?.(error); }
    });
    this.socket.on("error", error => this.onerror?.(error));
    this.socket.on("close", () => this.onclose?.());
  }
  async send(message) { this.socket.write(JSON.stringify(message) + "\n"); }
  async close() { this.socket.destroy(); }
}
const tried = JSON.parse(process.argv[3]);
const found = {};
for (const [who, { Client, StdioClientTransport }, mode] of [["ts1", v1], ["ts2 legacy", v2, "legacy"], ["ts2 modern", v2, { pin: "2026-07-28" }]]) {
  for (const { name, kind, socket, command } of tried) {
    if (command && who === "ts2 modern") continue;
    const client = new Client({ name: "odd", version: "1" }, mode ? { versionNegotiation: { mode } } : {});
    let seen;
    try {
      await client.connect(socket ? new Socket(socket) : new StdioClientTransport({ command: command[0], args: command.slice(1) }));
      const list = await client[call[kind]](undefined, { timeout: SECONDS * 1000 });
      seen = Object.values(list).filter(Array.isArray)[0].map(item => item.name);
    } catch (error) { seen = "refused: " + String(error).replace(/\s+/g, " ").slice(0, 150); }
    await client.close().catch(() => {});
    (found[name] ??= {})[who] = seen;
  }
}
console.log(JSON.stringify(found));
process.exit(0);
'''.replace("SECONDS", str(SECONDS))


def by_node(peers: Path, tried: list[dict]) -> dict[str, dict]:
    script = ["node", "--input-type=module", "-", str(peers), json.dumps(tried)]
    ran = subprocess.run(script, input=NODE, capture_output=True, text=True, timeout=600)
    if ran.returncode != 0:
        sys.exit(ran.stderr)
    return json.loads(ran.stdout.splitlines()[-1])


async def by_python(tried: list[dict], mode: str) -> dict[str, object]:
    found: dict[str, object] = {}
    for one in tried:
        command = one.get("command")
        transport = stdio_client(StdioServerParameters(command=command[0], args=command[1:])) if command else over_socket(one["socket"])
        try:
            async with asyncio.timeout(SECONDS * 2), Client(transport, mode=mode, cache=None) as client:
                listed = {
                    "tools/list": client.list_tools,
                    "prompts/list": client.list_prompts,
                    "resources/list": client.list_resources,
                    "resources/templates/list": client.list_resource_templates,
                }[one["kind"]]
                result = await asyncio.wait_for(listed(), SECONDS)
                items = next(value for value in result.model_dump().values() if isinstance(value, list))
                found[one["name"]] = [item["name"] for item in items]
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            found[one["name"]] = f"refused: {error!r}"[:150]
    return found


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--mcpool", required=True)
    parser.add_argument("--verbose", action="store_true")
    args = parser.parse_args()
    logging.disable(logging.ERROR)  # of lines that the SDK cannot parse, which is the point
    peers = Path(os.environ.get("MCPOOL_PEERS", "target/peers")).resolve()
    directory = Path(tempfile.mkdtemp(prefix="mcpool-odd-"))
    server = directory / "server.py"
    server.write_text(SERVER)
    odd = [(kind, name, item) for kind, items in ODD.items() for name, item in items.items()]
    run = lambda kind, items: [sys.executable, str(server), kind, items]
    of = {kind: "good-" + kind.replace("/", "-") for kind in GOOD}
    servers = {of[kind]: run(kind, item) for kind, item in GOOD.items()}
    servers |= {name: run(kind, item) for kind, name, item in odd}
    config = {
        "servers": {name: {"command": command[0], "args": command[1:], "era": "legacy"} for name, command in servers.items()},
        "endpoints": {f"with-{name}": {"servers": [name, of[kind]]} for kind, name, _ in odd},
        "sockets": {"dir": str(directory / "s")},
        "catalogue": {"dir": str(directory / "c")},
    }
    (directory / "mcpool.yaml").write_text(json.dumps(config))
    daemon = subprocess.Popen(
        [args.mcpool, "serve", "--config", str(directory / "mcpool.yaml")],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=open(directory / "log", "wb"),
    )
    try:
        if daemon.stdout.readline().strip() != b"ready":
            sys.exit((directory / "log").read_text())
        sockets = {endpoint: str(next((directory / "s").glob(f"{endpoint}.sock"))) for endpoint in config["endpoints"]}
        alone = [{"name": name, "kind": kind, "command": servers[name]} for kind, name, _ in odd]
        joined = [{"name": name, "kind": kind, "socket": sockets[f"with-{name}"]} for kind, name, _ in odd]
        direct, through = by_node(peers, alone), by_node(peers, joined)
        for label, mode in (("python legacy", "legacy"), ("python modern", "2026-07-28")):
            if mode == "legacy":
                for name, seen in asyncio.run(by_python(alone, mode)).items():
                    direct[name][label] = seen
            for name, seen in asyncio.run(by_python(joined, mode)).items():
                through[name][label] = seen
    finally:
        daemon.send_signal(signal.SIGTERM)
        daemon.wait(30)
        shutil.rmtree(directory, ignore_errors=True)
    passed = failed = 0
    for kind, name, _ in odd:
        harm = [who for who, seen in direct[name].items() if isinstance(seen, str)]
        blind = {who: seen for who, seen in through[name].items() if isinstance(seen, str) or not any(str(it).endswith("good") for it in seen)}
        if args.verbose:
            print(f"{name}: directly refused by {', '.join(harm) or 'nobody'}; joined: {through[name]}")
        if not harm:
            print(f"failed: {name} does no harm directly, so that it shows nothing: {direct[name]}")
        for who, seen in blind.items():
            print(f"failed: {name} hides the good server from {who}: {seen}")
        failed += bool(blind) or not harm
        passed += not (blind or not harm)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
