"""Fifty callers of both eras at once on three real servers, sharing a few processes: every answer right, its caller's own, and
exactly one to a request; and never more server processes than the pools allow.

    crowd.py --mcpool PATH [--callers 50] [--calls 200] [--via connect|socket]

Prints a table and what went wrong; exits with 1 if anything did.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from pooled import Pooled, descendants, processes
from servers import PEERS, PYTHON, Server, repository, server

HERE = Path(__file__).resolve().parent
MAX = {"everything": 2, "time": 4, "git": 4}  # processes of a server, of both eras together
MARKS = {"everything": "server-everything", "time": "mcp_server_time", "git": "mcp_server_git"}  # in their command lines
MIX = [
    ("everything", "legacy"), ("time", "modern"), ("git", "legacy"), ("everything", "auto"),
    ("time", "legacy"), ("git", "modern"), ("time", "auto"), ("git", "auto"),
]
PROCESSES, IN_FLIGHT = 4, 4
CROWD_SECONDS = 420
POLL_SECONDS = 0.3


def orders(args: argparse.Namespace, pooled: Pooled, repo: Path) -> list[dict[str, Any]]:
    found = []
    for caller in range(args.callers):
        name, era = MIX[caller % len(MIX)]
        to = {"connect": pooled.connect(name)} if args.via == "connect" else {"socket": pooled.socket(name)}
        more = {"arguments": {"repo_path": str(repo)}} if name == "git" else {}
        found.append({"caller": caller, "server": name, "era": era, "calls": args.calls, "in_flight": IN_FLIGHT} | to | more)
    return found


def prepare(directory: Path, callers: int, calls: int) -> tuple[dict[str, Server], Path]:
    """The servers, and the repository with a file for every call of every caller that reads it."""
    repo = directory / "repo"
    repo.mkdir()
    files = {}
    for caller in (caller for caller in range(callers) if MIX[caller % len(MIX)][0] == "git"):
        (repo / str(caller)).mkdir()
        files |= {f"{caller}/{number}.txt": f"caller {caller} call {number}\n" for number in range(calls)}
    repository(repo, files | {"a.txt": "one\n"})
    return {name: server(name, repo) for name in MAX}, repo


class Watch:
    """The most processes of each server that were seen at one time: by mcpool's own account, and by the system's."""

    def __init__(self, pooled: Pooled) -> None:
        self.pooled = pooled
        self.told = dict.fromkeys(MAX, 0)
        self.seen = dict.fromkeys(MAX, 0)

    def look(self) -> None:
        try:
            status = self.pooled.status()
        except (subprocess.SubprocessError, OSError, ValueError):
            return  # the daemon is not up yet
        for name, instances in told_instances(status).items():
            self.told[name] = max(self.told.get(name, 0), len(instances))
        for name, count in seen_processes(int(status["pid"])).items():
            self.seen[name] = max(self.seen[name], count)


def told_instances(status: dict[str, Any]) -> dict[str, list[Any]]:
    """Instances with a process, by server: `servers` is a list of objects with a name, or an object by name."""
    servers = status["servers"]
    named = servers.items() if isinstance(servers, dict) else ((one["name"], one) for one in servers)
    return {name: [one for one in found["instances"] if one.get("pid")] for name, found in named}


def seen_processes(daemon: int) -> dict[str, int]:
    parents = {pid: parent for pid, (parent, _state) in processes().items()}
    counts = {}
    for name, mark in MARKS.items():
        # Who was born since then is not looked at: its parent is not known.
        marked = {pid for pid in descendants(daemon) if pid in parents and mark in command_line(pid)}
        # A server's child that has not yet become another program still bears its mark.
        counts[name] = sum(parents.get(pid) not in marked for pid in marked)
    return counts


def command_line(pid: int) -> str:
    try:
        return (Path("/proc") / str(pid) / "cmdline").read_text()
    except OSError:
        return ""


def run(todo: list[dict[str, Any]], watch: Watch) -> list[dict[str, Any]]:
    """Lets all callers loose, spread over a few processes, and watches until the last is done."""
    env = os.environ | {"MCPOOL_PEERS": str(PEERS)}
    with tempfile.TemporaryDirectory() as outputs:
        crowd = []
        for index in range(PROCESSES):
            output = open(Path(outputs) / str(index), "w+")
            process = subprocess.Popen([PYTHON, str(HERE / "callers.py")], stdin=subprocess.PIPE, stdout=output, env=env, text=True)
            process.stdin.write(json.dumps(todo[index::PROCESSES]))
            process.stdin.close()
            crowd.append((process, output))
        end = time.monotonic() + CROWD_SECONDS
        while any(process.poll() is None for process, _ in crowd) and time.monotonic() < end:
            watch.look()
            time.sleep(POLL_SECONDS)
        told = []
        for process, output in crowd:
            process.kill()
            process.wait()
            output.seek(0)
            text = output.read()
            output.close()
            told += json.loads(text) if text else []
    return told


def report(told: list[dict[str, Any]], watch: Watch, args: argparse.Namespace, seconds: float) -> list[str]:
    """Prints the table; returns what is wrong."""
    print("| server | era | callers | calls | right | wrong | unanswered | surplus answers | median ms | 99% ms |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for name, era in dict.fromkeys(MIX):
        some = [one for one in told if (one["server"], one["era"]) == (name, era)]
        took = sorted(one for caller in some for one in caller["took"]) or [0.0]
        sums = [sum(caller[key] for caller in some) for key in ("right", "wrong", "unanswered", "surplus")]
        figures = [len(some), len(some) * args.calls, *sums]
        millis = [f"{statistics.median(took) * 1000:.1f}", f"{took[len(took) * 99 // 100] * 1000:.1f}"]
        print(f"| {name} | {era} | {' | '.join(map(str, figures))} | {' | '.join(millis)} |")
    print("\n| server | processes at most | told by status | seen | without mcpool |\n|---|---|---|---|---|")
    for name, most in MAX.items():
        alone = sum(MIX[caller % len(MIX)][0] == name for caller in range(args.callers))
        print(f"| {name} | {most} | {watch.told[name]} | {watch.seen[name]} | {alone} |")
    answers = sum(one["right"] for one in told)
    print(f"\n{args.callers} callers, {answers} right answers in {seconds:.1f} s, {answers / seconds:.0f} a second")

    wrong = []
    if len(told) < args.callers:
        wrong.append(f"{args.callers - len(told)} callers did not end within {CROWD_SECONDS} s")
    for one in told:
        who = f"caller {one['caller']} ({one['server']}, {one['era']})"
        if "failed" in one:
            wrong.append(f"{who}: {one['failed']}")
        elif one["right"] != args.calls or one["unanswered"] or one["surplus"]:
            wrong.append(f"{who}: {one['right']} of {args.calls} right, {one['unanswered']} unanswered, {one['surplus']} surplus")
        wrong += [f"{who}: {count} times: {sample}" for sample, count in one["samples"]]
    for name, most in MAX.items():
        if not 0 < watch.told[name] <= most or not 0 < watch.seen[name] <= most:
            wrong.append(f"{name}: {watch.told[name]} processes told, {watch.seen[name]} seen; allowed are 1 to {most}")
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mcpool", required=True, help="the mcpool binary")
    parser.add_argument("--callers", type=int, default=50)
    parser.add_argument("--calls", type=int, default=200, help="of each caller")
    parser.add_argument("--via", choices=("connect", "socket"), default="connect")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mcpool-crowd-") as temporary:
        directory = Path(temporary).resolve()
        servers, repo = prepare(directory, args.callers, args.calls)
        settings = {name: {"instances": {"min": 0, "max": most}} for name, most in MAX.items()}
        pooled = Pooled(os.path.abspath(args.mcpool), directory, servers, settings)
        if args.via == "socket":
            subprocess.run(pooled.connect("time"), stdin=subprocess.DEVNULL, check=True, timeout=60)  # starts the daemon
        watch = Watch(pooled)
        began = time.monotonic()
        try:
            told = run(orders(args, pooled, repo), watch)
            seconds = time.monotonic() - began
        finally:
            ended = pooled.stop()
        wrong = report(told, watch, args, seconds)
    if not ended:
        wrong.append("the daemon, or a process that it had started, was still there 20 s after SIGTERM")
    print("\n" + "\n".join([f"- {one}" for one in wrong[:40]] or ["everything right"]))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
