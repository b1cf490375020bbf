"""A server whose one tool is described by a file that tests change; for tests/binary/pinned.rs."""

import json
import sys

for line in sys.stdin:
    message = json.loads(line)
    if "id" not in message:
        continue
    with open(sys.argv[1]) as file:
        tools = json.load(file)
    method = message["method"]
    if method == "initialize":
        offers = {"tools": {"listChanged": True}}
        result = {"protocolVersion": message["params"]["protocolVersion"], "capabilities": offers,
                  "serverInfo": {"name": "pinned", "version": "1"}}
    elif method == "tools/list":
        result = {"tools": [{"name": name, "description": about, "inputSchema": {"type": "object"}} for name, about in tools.items()]}
    else:
        result = {"content": [{"type": "text", "text": "done"}]}
    print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}), flush=True)
    if method == "tools/call" and message["params"].get("arguments", {}).get("changed"):
        print(json.dumps({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}), flush=True)
