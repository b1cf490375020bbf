"""Nobody loses by sharing: the whole table again with several clients at a time on one daemon in its default configuration, for
compare.py --together.

For each server the clients, in the order of `ORDER`, are cut into groups of N; from server to server the cut begins one further
on, so that each client meets others, and the last group is filled up from the beginning. The order mixes languages and eras: any
three in a row are of two languages at least, and of two eras. A group has a daemon of its own and one configured server, which all
of the group use at once, each with a directory and roots of its own; they do each check at the same time (meeting.py; rmcp's
client, which has a checklist of its own, just begins with them).

The measure is what the same client gets directly, alone, by its own defaults. A client that is told to use an era that the server
lacks gets nothing directly: there it is the same client in its other era, as in the table of single pairs.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import eras
import losses
import report
from meeting import Meeting
from pooled import alive, descendants
from runs import CLIENTS, RMCP, Direct, bridged, checks_of, run_prepared, twin
from servers import ERAS, PINNED, TARGET, prepare, server

ORDER = [
    "python-modern", "ts2-legacy", "rmcp-auto", "python-auto", "ts1", "rmcp-modern", "python-legacy", "ts2-auto", "rmcp-legacy",
    "ts2-modern",
]
LOGS = TARGET / "together"
START_SECONDS = 20
RANKS = ["better", "same", "worse"]


@dataclass
class Part:
    """One client in a group, and how each of its checks came out."""

    client: str
    kind: str
    came_out: dict[str, str] = field(default_factory=dict)  # each check as one of `RANKS`
    differences: dict[str, list[str]] = field(default_factory=dict)  # of those that are worse
    by_era: set[str] = field(default_factory=set)  # those of them that are what eras.py says the other era makes of it
    stderr: str = ""

    def lost(self, check: str, differences: list[str]) -> None:
        self.came_out[check], self.differences[check] = "worse", differences

    def count(self, word: str) -> int:
        return list(self.came_out.values()).count(word)

    @property
    def cell(self) -> str:
        return ", ".join(f"{self.count(word)} {word}" for word in RANKS if self.count(word))


@dataclass
class Group:
    number: int
    kind: str
    clients: list[str]
    parts: list[Part] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)  # of the daemon, or of this program

    @property
    def name(self) -> str:
        return f"{self.kind}-{self.number}"


def groups(size: int, only: list[tuple[str, str]]) -> list[Group]:
    """Those in which a wanted pair is; they run whole."""
    found = []
    for place, kind in enumerate(ERAS):
        ring = ORDER[place % len(ORDER):] + ORDER[:place % len(ORDER)]
        for number, start in enumerate(range(0, len(ring), size)):
            clients = [ring[(start + index) % len(ring)] for index in range(min(size, len(ring)))]
            if any(client in ("", one) and of in ("", kind) for client, of in only for one in clients):
                found.append(Group(number + 1, kind, clients))
    return found


class Daemon:
    """`mcpool serve` with nothing configured but one server, and where its files lie."""

    def __init__(self, mcpool: str, directory: Path, kind: str, work: Path, log: Path) -> None:
        plain = server(kind, work)
        keys = {"command": plain.command, "args": plain.args, "env": plain.env}
        keys |= {"era": PINNED[kind]} if kind in PINNED else {}
        places = {"sockets": {"dir": str(directory / "sockets")}, "catalogue": {"dir": str(directory / "catalogue")}}
        (directory / "home").mkdir(parents=True)
        self.mcpool, self.kind, self.config = mcpool, kind, directory / "mcpool.yaml"
        self.config.write_text(json.dumps(places | {"servers": {kind: keys}}))  # JSON is YAML
        env = os.environ | {"HOME": str(directory / "home")}
        with log.open("w") as out:
            command = [mcpool, "serve", "--config", str(self.config)]
            self.process = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        end = time.monotonic() + START_SECONDS
        while not list((directory / "sockets").glob(f"{kind}*")) and time.monotonic() < end and self.process.poll() is None:
            time.sleep(0.02)

    def connect(self) -> list[str]:
        return ["--", self.mcpool, "connect", self.kind, "--config", str(self.config)]

    def stop(self) -> bool:
        """Ends it; false if it had ended by itself, or if a process below it is still there after 20 s."""
        if self.process.poll() is not None:
            return False
        everyone = [self.process.pid, *descendants(self.process.pid)]
        self.process.send_signal(signal.SIGTERM)
        end = time.monotonic() + 20
        while (left := [one for one in everyone if alive(one)]) and time.monotonic() < end:
            time.sleep(0.05)
        for one in left:
            with suppress(ProcessLookupError):
                os.kill(one, signal.SIGKILL)
        self.process.wait()
        return not left


def run_group(group: Group, mcpool: str, directory: Path, direct: Direct) -> None:
    measures = {client: measure(client, group.kind, direct) for client in group.clients}
    work = directory / "work"
    # Of a directory that all share each has a part of its own, which is as in a direct run.
    prepare(group.kind, work)
    for client in group.clients:
        prepare(group.kind, work / client)
    meets = [client for client in group.clients if CLIENTS[client][0] is not RMCP]
    with closing(Meeting(directory / "meet", meets, lambda: (work / "memory.jsonl").unlink(missing_ok=True))) as meeting:
        daemon = Daemon(mcpool, directory, group.kind, work, LOGS / f"{group.name}.log")

        def run(client: str) -> tuple[dict[str, Any], str]:
            comes = ["--meet", str(directory / "meet"), "--name", client] if client in meets else []
            try:
                return run_prepared(client, group.kind, work / client, [*comes, *daemon.connect()], work)
            finally:
                meeting.leave(client)

        try:
            with ThreadPoolExecutor(len(group.clients)) as all_at_once:
                through = list(all_at_once.map(run, group.clients))
        finally:
            if not daemon.stop():
                group.faults.append("the daemon ended by itself, or a process of it was still there 20 s after SIGTERM")
    for client, (outcomes, stderr) in zip(group.clients, through):
        part = Part(client, group.kind, stderr=stderr)
        judge(part, measures[client], outcomes)
        group.parts.append(part)


@dataclass
class Measure:
    """A direct run that a client is measured by: its own, or its twin's if it gets nothing directly."""

    outcomes: dict[str, Any]
    own: bool


def measure(client: str, kind: str, direct: Direct) -> Measure:
    """A client that would take either era has its own direct run, unless that came to nothing, or the config limits the server to
    one era: for that there is no direct run.
    """
    if not bridged(client, kind) or CLIENTS[client][1] == "auto" and kind not in PINNED:
        outcomes = direct.run(client, kind)[0]
        if not bridged(client, kind) or not isinstance(outcomes["initialize"], str):
            return Measure(outcomes, own=True)
    return Measure(direct.run(twin(client, kind), kind)[0], own=False)


def judge(part: Part, by: Measure, through: dict[str, Any]) -> None:
    truth = by.outcomes
    if isinstance(through["initialize"], str):
        return part.lost("no connection", [through["initialize"]])
    if isinstance(truth["initialize"], str):
        return part.lost("not even directly", [truth["initialize"]])
    wanted, got, nearest, near = truth, through, {}, {}
    if bridged(part.client, part.kind):
        nearest, near = eras.expected(truth, through, checks_of(part.client, part.kind))
        wanted, got = nearest, near
        if by.own:
            wanted, got = eras.spelled(truth), eras.spelled(through)
            for check in wanted:
                same_refusals(wanted[check], got.get(check))
    for check, expected in wanted.items():
        if check not in got and eras.refused(expected):
            continue  # rmcp's checklist leaves out what the era has not, and directly it was refused
        found = got.get(check, "<not reached>")
        lines = [*report.differences(expected, found)]
        if by.own:
            lines += missing_tools(truth.get(check), through.get(check))
        if not lines:
            part.came_out[check] = "same" if by.own else "better"  # directly there is nothing at all
        elif by.own and better(check, expected, found):
            part.came_out[check] = "better"
        else:
            part.lost(check, lines)
            if by.own and nearest and (check not in nearest or nearest[check] == near.get(check)):
                part.by_era.add(check)


def same_refusals(before: Any, after: Any) -> None:
    """Makes equal what is refused on both sides: an unknown method is one in whatever words."""
    if isinstance(before, list) and isinstance(after, list):
        for one, other in zip(before, after):
            same_refusals(one, other)
    elif isinstance(before, dict) and isinstance(after, dict):
        if eras.refused(before.get("outcome")) and eras.refused(after.get("outcome")):
            before["outcome"] = after["outcome"] = eras.REFUSED


def better(check: str, before: Any, after: Any) -> bool:
    """Whether something failed directly and no longer does. What is to fail is never better."""
    return not check.startswith("error") and "refused" not in check and failures(before) > 0 and failures(after) == 0


def failures(outcome: Any) -> int:
    """How many steps of a check failed, in whatever way."""
    if outcome in ("timeout", "<not reached>"):
        return 1
    if isinstance(outcome, list):
        return sum(failures(one) for one in outcome)
    if not isinstance(outcome, dict):
        return 0
    failed = "error" in outcome or "raised" in outcome or "never showed" in outcome or outcome.get("isError") is True
    return failed + sum(failures(inner) for inner in outcome.values())


def missing_tools(before: Any, after: Any) -> Iterator[str]:
    """Tools that a list no longer shows. (`eras` leaves out of both sides those that run as tasks only.)"""
    if gone := tool_names(before) - tool_names(after):
        yield f"tools that are not shown: {', '.join(sorted(gone))}"


def tool_names(value: Any) -> set[str]:
    if isinstance(value, list):
        return set().union(*(tool_names(one) for one in value))
    if not isinstance(value, dict):
        return set()
    tools = value.get("tools")
    if isinstance(tools, list):
        return {tool["name"] for tool in tools}
    return set().union(*(tool_names(inner) for inner in value.values()))


def merged(found: list[Group]) -> list[Part]:
    """One for each client and server. A client may be in two groups of a server: then each check as it came out worst."""
    parts: dict[tuple[str, str], Part] = {}
    for part in (part for group in found for part in group.parts):
        one = parts.setdefault((part.client, part.kind), Part(part.client, part.kind))
        for check, word in part.came_out.items():
            one.came_out[check] = max(word, one.came_out.get(check, "better"), key=RANKS.index)
    kinds = list(ERAS)
    return sorted(parts.values(), key=lambda part: (list(CLIENTS).index(part.client), kinds.index(part.kind)))


def main(args: Any, mcpool: str, directory: Path) -> int:
    found = groups(args.together, [one.partition(",")[::2] for one in args.only or [","]])
    direct = Direct(directory)
    LOGS.mkdir(parents=True, exist_ok=True)

    def work(group: Group) -> None:
        started = time.monotonic()
        try:
            (directory / group.name).mkdir()
            run_group(group, mcpool, directory / group.name, direct)
        except Exception as error:  # a fault of this program must not hide the other groups
            group.faults.append(f"compare.py itself: {error!r}")
        told = [f"{part.client}: {part.cell}" for part in group.parts] + group.faults
        print(f"{group.name} ({time.monotonic() - started:.0f} s): {'; '.join(told)}", file=sys.stderr, flush=True)

    with ThreadPoolExecutor(args.jobs) as pool:
        list(pool.map(work, found))
    parts = merged(found)
    report.worse([part for group in found for part in group.parts])
    faults = [f"{group.name}: {fault}" for group in found for fault in group.faults]
    for fault in faults:
        print(f"\n- {fault}")
    table = report.render({(part.client, part.kind): part.cell for part in parts})
    counts = {word: sum(part.count(word) for part in parts) for word in RANKS}
    print(f"\n{table}\n\n{', '.join(f'{count} {word}' for word, count in counts.items())}; the daemons' logs are in {LOGS}")
    lost = {(check, part.kind, part.client) for part in parts for check, word in part.came_out.items() if word == "worse"}
    ran = {(part.kind, part.client) for part in parts}
    if args.table:
        report.write(args.table, table, part=bool(args.only), marks=report.TOGETHER)
        losses.write(args.table, lost, ran)
    if args.expect:
        as_told = report.as_expected(args.expect, table, report.TOGETHER)
        return 0 if losses.as_told(args.expect, lost, ran) and as_told and not faults else 1
    return 1 if counts["worse"] or faults else 0
