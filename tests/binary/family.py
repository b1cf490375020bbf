"""A server with descendants, for tests/binary/orphans.rs. Its arguments say what it does besides serving.

child: a child in its group. left: a child in a session of its own. lost: one in a session of its own whose parent
ends. bare: the same, and without any environment. deaf: nobody of them heeds SIGTERM or the end of input.
"""

import ctypes
import errno
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile

HABITS = sys.argv[1:]
FAMILY = []
OPENS = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "inner", "version": "1"}},
}


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
        return {"tools": [{"name": name, "inputSchema": {"type": "object"}} for name in ("family", "die", "shout", "state", "reach", "connect")]}
    if method == "tools/call":
        if request["params"]["name"] == "die":
            os._exit(3)
        if request["params"]["name"] == "shout":
            for number in range(5000):
                print(f"line {number} \033[1m {os.environ.get('PASSWORD')} {'x' * 2000}", file=sys.stderr)
            sys.stderr.flush()
        if request["params"]["name"] == "reach":
            probes = json.loads(os.environ["PROBES"])
            return {"content": [{"type": "text", "text": json.dumps({name: tried(*probe) for name, probe in probes.items()})}]}
        if request["params"]["name"] == "connect":
            # A daemon of another config, started from within this server.
            run = subprocess.run(json.loads(os.environ["CONNECT"]), input=json.dumps(OPENS).encode() + b"\n", stdout=subprocess.PIPE)
            return {"content": [{"type": "text", "text": run.stdout.decode()}]}
        if request["params"]["name"] == "state":
            return {"content": [{"type": "text", "text": json.dumps(state())}]}
        return {"content": [{"type": "text", "text": json.dumps(FAMILY)}]}
    return None


def tried(what, on):
    """What becomes of trying to reach something: "reached", or the name of the error."""
    try:
        if what == "read":
            open(on).read()
        elif what == "environment":
            # Of whoever started it: the warden or the daemon.
            open(f"/proc/{os.getppid()}/environ", "rb").read()
        elif what == "list":
            os.listdir(on)
        elif what == "write":
            open(on, "a").write("x")
        elif what == "empty":
            os.truncate(on, 0)
        elif what == "tcp":
            socket.create_connection(("127.0.0.1", on), timeout=5).close()
        elif what == "udp":
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", on))
        elif what == "unix":
            socket.socket(socket.AF_UNIX).connect(on)
        elif what == "signal":
            os.kill(on, 0)
        elif what == "ask":
            return asked(on)
        elif what == "orphan asks":
            return orphaned(on)
        elif what == "pair":
            socket.socketpair()
        elif what == "datagrams":
            kind = {"datagram": socket.SOCK_DGRAM, "raw": socket.SOCK_RAW}[on[0]]
            socket.socketpair(socket.AF_UNIX, kind)[0].sendto(b"x", on[1])
        elif what == "own limit":
            resource.setrlimit(resource.RLIMIT_NOFILE, resource.getrlimit(resource.RLIMIT_NOFILE))
        elif what == "limit":
            resource.prlimit(on, resource.RLIMIT_NOFILE, resource.prlimit(on, resource.RLIMIT_NOFILE))
        elif what == "tag":
            resource.prlimit(on, 10, resource.getrlimit(10))
        elif what == "priority":
            os.setpriority(*on, os.getpriority(*on))
        elif what == "processors":
            os.sched_setaffinity(on, os.sched_getaffinity(on))
        elif what == "scheduler":
            os.sched_setscheduler(on, os.SCHED_OTHER, os.sched_param(0))
        elif what == "call":
            call = ctypes.CDLL(None, use_errno=True).syscall
            if call(*on) < 0:
                return errno.errorcode[ctypes.get_errno()]
        elif what == "run":
            subprocess.run(on, check=True, capture_output=True)
        elif what == "processes":
            for _ in range(on):
                FAMILY.append(subprocess.Popen(["sleep", "600"]).pid)
        elif what == "memory":
            bytearray(on)
        elif what == "rights":
            # Its own, and those of a program that it runs.
            told = [open("/proc/self/status").read(), subprocess.check_output(["cat", "/proc/self/status"], text=True)]
            return sorted({line for text in told for line in text.splitlines() if line.startswith("Cap")})
        elif what == "own":
            os.chown(on, 65534, 65534)
        elif what == "temporary":
            tempfile.NamedTemporaryFile().write(b"x")
    except OSError as error:
        return errno.errorcode.get(error.errno, str(error))
    except Exception as error:
        return type(error).__name__
    return "reached"


def asked(path):
    """What the daemon says on a socket: the reason of its refusal, or "served"."""
    with socket.socket(socket.AF_UNIX) as peer:
        peer.connect(path)
        asks = "status" if path.endswith("admin.sock") else json.dumps({"jsonrpc": "2.0", "id": 7, "method": "ping"})
        peer.sendall(asks.encode() + b"\n")
        answer = json.loads(peer.makefile().readline())
    error = answer.get("error")
    if isinstance(error, str):
        return "refused" if "may_call" in error else error
    return error["data"]["mcpool"]["reason"] + f" {answer['id']}" if error else "served"


def orphaned(path):
    """The same, asked by a process without parents, group and environment of this one."""
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)
    middle = os.fork()
    if middle == 0:
        os.setsid()
        if os.fork() == 0:
            code = f"import sys; sys.argv = []; import os, time\nwhile os.getppid() == {os.getpid()}: time.sleep(0.01)\n"
            code += f"exec(open({__file__!r}).read().replace('main()\\n', '')); os.write({writer}, asked({path!r}).encode())"
            os.execve(sys.executable, [sys.executable, "-c", code], {})
        os._exit(0)
    os.waitpid(middle, 0)
    os.close(writer)
    with os.fdopen(reader) as told:
        return told.read()


def state():
    """What this process was given."""
    umask = os.umask(0)
    os.umask(umask)
    status = dict(line.split(":", 1) for line in open("/proc/self/status"))
    listing = os.open("/proc/self/fd", os.O_RDONLY)
    descriptors = sorted(int(number) for number in os.listdir(listing) if int(number) < listing)
    # What Python ignores for itself, it does not for what it runs. Signals from 32 on are the C library's own matter.
    child = dict(line.split(":", 1) for line in subprocess.check_output(["cat", "/proc/self/status"], text=True).splitlines())
    return {
        "deaf to": {what: int(child[what], 16) & 0x7FFFFFFF for what in ("SigBlk", "SigIgn")},
        "descriptors": descriptors,
        "files": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        "core": resource.getrlimit(resource.RLIMIT_CORE)[0],
        "umask": umask,
        "no_new_privs": status["NoNewPrivs"].strip(),
        "environment": sorted(os.environ),
    }


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
