"""A legacy server for tests/binary/connect.rs, whose tools do what their names say.

big: answers with so many bytes. length: tells how long its argument is. slow: answers after so many seconds. hang: never
answers. roots: asks the client for its roots and tells what it says.
"""

import json
import sys
import threading
import time

LOCK = threading.Lock()
HELD = {}


def send(message):
    with LOCK:
        sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
        sys.stdout.flush()


def text(id, said):
    send({"id": id, "result": {"content": [{"type": "text", "text": said}]}})


def call(id, name, arguments):
    if name == "big":
        text(id, "x" * arguments["n"])
    elif name == "length":
        text(id, str(len(arguments["text"])))
    elif name == "slow":
        threading.Timer(arguments["seconds"], text, (id, "late")).start()
    elif name == "roots":
        HELD["ask"] = id
        send({"id": "ask", "method": "roots/list"})


def main():
    for line in sys.stdin:
        message = json.loads(line)
        id, method, params = message.get("id"), message.get("method"), message.get("params", {})
        if method is None:
            text(HELD.pop(id), json.dumps(message.get("result", message.get("error"))))
        elif method == "initialize":
            capabilities = {"tools": {}, "resources": {"subscribe": True}}
            version = params["protocolVersion"]
            info = {"name": "stub", "version": "1"}
            send({"id": id, "result": {"protocolVersion": version, "capabilities": capabilities, "serverInfo": info}})
        elif method == "tools/call":
            call(id, params["name"], params.get("arguments", {}))
        elif id is not None:
            names = ("big", "length", "slow", "hang", "roots")
            tools = [{"name": name, "inputSchema": {"type": "object"}} for name in names]
            send({"id": id, "result": {"tools": tools} if method == "tools/list" else {"resources": []}})


if len(sys.argv) > 1:
    time.sleep(float(sys.argv[1]))
main()
