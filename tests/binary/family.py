"""A server with descendants, for tests/binary/orphans.rs. Its arguments say what it does besides serving.

child: a child in its group. left: a child in a session of its own. lost: one in a session of its own whose parent
ends. bare: the same, and without any environment. deaf: nobody of them heeds SIGTERM or the end of input.
"""

import json
import os
import signal
import subprocess
import sys

HABITS = sys.argv[1:]
FAMILY = []


def lose(bare):
    """Starts a process that is nobody's child."""
    reader, writer = os.pipe()
    middle = os.fork()
    if middle == 0:
        os.setsid()
        pid = os.fork()
        if pid == 0:
            os.execve("/bin/sleep", ["sleep", "600"], {} if bare else os.environ)
        os.write(writer, str(pid).encode())
        os._exit(0)
    os.waitpid(middle, 0)
    os.close(writer)
    with os.fdopen(reader) as told:
        FAMILY.append(int(told.read()))


def answer(request):
    method = request["method"]
    if method == "initialize":
        version = request["params"]["protocolVersion"]
        return {"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": {"name": "family", "version": "1"}}
    if method == "tools/list":
        return {"tools": [{"name": name, "inputSchema": {"type": "object"}} for name in ("family", "die", "shout")]}
    if method == "tools/call":
        if request["params"]["name"] == "die":
            os._exit(3)
        if request["params"]["name"] == "shout":
            for number in range(5000):
                print(f"line {number} \033[1m {os.environ.get('PASSWORD')} {'x' * 2000}", file=sys.stderr)
            sys.stderr.flush()
        return {"content": [{"type": "text", "text": json.dumps(FAMILY)}]}
    return None


def main():
    if "deaf" in HABITS:
        # Inherited by all of them.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    FAMILY.append(os.getpid())
    if "child" in HABITS:
        FAMILY.append(subprocess.Popen(["sleep", "600"]).pid)
    if "left" in HABITS:
        FAMILY.append(subprocess.Popen(["sleep", "600"], start_new_session=True).pid)
    for way in ("lost", "bare"):
        if way in HABITS:
            lose(way == "bare")
    for line in sys.stdin:
        request = json.loads(line)
        if "id" not in request:
            continue
        result = answer(request)
        said = {"result": result} if result is not None else {"error": {"code": -32601, "message": "Method not found"}}
        print(json.dumps({"jsonrpc": "2.0", "id": request["id"], **said}), flush=True)
    while "deaf" in HABITS:
        signal.pause()


main()
