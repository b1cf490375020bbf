"""Real clients get through mcpool what they get directly: every client's checklist against every server, three times:
directly, through `mcpool connect`, and over mcpool's socket (by then the server's lists come from the catalogue). A client and a
server of different eras work through mcpool alone: they are compared with the same client in its other era, directly (eras.py).

    compare.py --mcpool PATH [--together N] [--only CLIENT,SERVER]... [--jobs 2] [--table FILE | --expect FILE]

Prints a table, every difference in full, what mcpool said that its receiver's schema does not allow, and `N passed, N failed`,
counted in checks; exits with 1 on any failure. `--table` writes the table into a document, between its two marks; `--expect`
exits with 1 only if the table of this run is not that of the document.

`--together N` runs N different clients at a time on one daemon instead, each measured against its own direct run (together.py):
prints what came out worse, and a table of its own. `--expect` then also wants the losses of the document, no more and no fewer.
"""

import argparse
import os
import sys
import tempfile
import traceback
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import eras
import report
import together
import wire_check
from pooled import Pooled
from runs import CLIENTS, Direct, bridged, checks_of, run_client, twin
from servers import ERAS, PINNED, PYTHON, TARGET, Server, server, software

HERE = Path(__file__).resolve().parent
VIOLATIONS = TARGET / "wire-violations.txt"


@dataclass
class Pair:
    client: str
    kind: str
    directory: Path
    passed: int = 0
    failures: dict[str, list[str]] = field(default_factory=dict)  # check, and way through -> its differences
    stderr: dict[str, str] = field(default_factory=dict)
    wire: wire_check.Verdict = field(default_factory=wire_check.Verdict)

    @property
    def name(self) -> str:
        return f"{self.kind}-{self.client}"

    @property
    def bridged(self) -> bool:
        return bridged(self.client, self.kind)

    @property
    def twin(self) -> str:
        return twin(self.client, self.kind)

    @property
    def twice(self) -> bool:
        """Whether the warm run shows more than the cold one: not if another pair is the same but for its names."""
        limited = self.kind != software(self.kind) and not self.bridged
        return not limited and CLIENTS[self.client][1] != "auto"

    @property
    def taps(self) -> Path:
        return self.directory.with_name(f"{self.directory.name}.wire")

    def tapped(self, side: str, command: list[str]) -> list[str]:
        """The command with a tap before it, if there are schemas to judge by what it writes down."""
        if not wire_check.available():
            return command
        return [PYTHON, "-I", "-S", str(HERE / "wire_tap.py"), str(self.taps / side), "--", *command]

    def server(self) -> Server:
        plain = server(self.kind, self.directory)
        command, *args = self.tapped("server", [plain.command, *plain.args])
        return Server(command, args, plain.env)


def compare(pair: Pair, pooled: Pooled, direct: Direct) -> None:
    pair.taps.mkdir()
    truth, pair.stderr["direct"] = direct.run(pair.twin, pair.kind)
    if isinstance(truth["initialize"], str):
        pair.failures["not even directly"] = [truth["initialize"]]
        return
    ways = {"connect": lambda: ["--", *pair.tapped("client", pooled.connect(pair.name))]}
    if pair.twice:
        ways["socket"] = lambda: ["--socket", pooled.socket(pair.name)]
    for way, to in ways.items():
        try:
            through, pair.stderr[way] = run_client(pair.client, pair.kind, pair.directory, to())
        except FileNotFoundError as error:
            through = {"initialize": str(error)}
        if isinstance(through["initialize"], str):
            pair.failures[f"no connection ({way})"] = [through["initialize"]]
            continue
        wanted = truth
        if pair.bridged:
            wanted, through = eras.expected(truth, through, checks_of(pair.client, pair.kind))
        for check, expected in wanted.items():
            found = list(report.differences(expected, through.get(check, "<not reached>")))
            if found:
                pair.failures[f"{check} ({way})"] = found
            else:
                pair.passed += 1
    pair.wire = wire_check.check(pair.taps)
    if pair.wire.violations:
        pair.failures["invalid on the wire"] = pair.wire.violations


def pairs(only: list[str], directory: Path) -> list[Pair]:
    wanted = [one.partition(",")[::2] for one in only or [","]]
    return [
        Pair(one, other, directory / f"{other}-{one}")
        for one in CLIENTS
        for other in ERAS
        if any(client in ("", one) and kind in ("", other) for client, kind in wanted)
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mcpool", required=True, help="the mcpool binary")
    parser.add_argument(
        "--only", metavar="CLIENT,SERVER", action="append", default=[],
        help="one pair; `CLIENT,` or `,SERVER` for a row or a column; can be given again",
    )
    parser.add_argument("--together", metavar="N", type=int, default=1, help="clients at a time on one daemon and one server")
    parser.add_argument("--jobs", type=int, default=2, help="pairs at a time, or groups")
    parser.add_argument("--table", metavar="FILE", type=Path, help="write the table into this document")
    parser.add_argument("--expect", metavar="FILE", type=Path, help="the table must be the one in this document")
    args = parser.parse_args()
    if args.together > 1:
        with tempfile.TemporaryDirectory(prefix="mcpool-peers-") as temporary:
            return together.main(args, os.path.abspath(args.mcpool), Path(temporary).resolve())
    if not wire_check.available():
        print(f"no schemas in {wire_check.SCHEMAS}: what goes over the wire is not checked against them")
    with tempfile.TemporaryDirectory(prefix="mcpool-peers-") as temporary:
        directory = Path(temporary).resolve()
        found = pairs(args.only, directory)
        if not found:
            parser.error(f"no such pair; clients: {', '.join(CLIENTS)}; servers: {', '.join(ERAS)}")
        # Each pair has a server of its own name: the reference servers keep state that all their callers share.
        servers = {pair.name: pair.server() for pair in found}
        settings = {pair.name: {"recycle": {"idle": "30s"}} for pair in found}  # not all of them at once in memory
        for pair in found:
            settings[pair.name] |= {"era": PINNED[pair.kind]} if pair.kind in PINNED else {}
        pooled, direct = Pooled(os.path.abspath(args.mcpool), directory, servers, settings), Direct(directory)

        def work(pair: Pair) -> None:
            try:
                compare(pair, pooled, direct)
            except Exception as error:  # a fault of this program must not hide the other pairs
                pair.failures["compare.py itself"] = traceback.format_exception(error)
            print(f"{pair.client} with {pair.kind}: {report.cell(pair)}", file=sys.stderr, flush=True)

        try:
            with ThreadPoolExecutor(args.jobs) as pool:
                list(pool.map(work, found))
        finally:
            ended = pooled.stop()
    report.failures(found)
    report.wire(found, VIOLATIONS)
    failed = sum(len(pair.failures) for pair in found) + (not ended)
    if not ended:
        print("\n- the daemon, or a process that it had started, was still there 20 s after SIGTERM")
    table = report.table(found)
    print(f"\n{table}\n\n{sum(pair.passed for pair in found)} passed, {failed} failed")
    if args.table:
        report.write(args.table, table, part=bool(args.only))
    if args.expect:
        return 0 if ended and report.as_expected(args.expect, table) else 1
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
