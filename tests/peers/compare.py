"""Real clients get through mcpool what they get directly: every client's checklist against every server, three times:
directly, through `mcpool connect`, and over mcpool's socket (by then the server's lists come from the catalogue).

    compare.py --mcpool PATH [--only CLIENT,SERVER] [--jobs 2]

Prints a table, every difference in full, and `N passed, N failed`, counted in checks; exits with 1 on any failure.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from normalise import normalise
from pooled import Pooled
from servers import ERAS, EXAMPLES, NODE, PEERS, PYTHON, prepare, server

HERE = Path(__file__).resolve().parent
PYTHON_SDK = [PYTHON, str(HERE / "python_client.py")]
TS1 = [NODE, str(HERE / "ts1_client.mjs")]
TS2 = [NODE, str(HERE / "ts2_client.mjs")]
RMCP = [str(EXAMPLES / "rmcp_client")]  # has a checklist of its own, the same for every server
CLIENTS = {
    "python-legacy": (PYTHON_SDK, "legacy"),
    "python-modern": (PYTHON_SDK, "modern"),
    "python-auto": (PYTHON_SDK, "auto"),
    "ts1": (TS1, "legacy"),
    "ts2-legacy": (TS2, "legacy"),
    "ts2-modern": (TS2, "modern"),
    "ts2-auto": (TS2, "auto"),
    "rmcp-legacy": (RMCP, "legacy"),
    "rmcp-modern": (RMCP, "modern"),
    "rmcp-auto": (RMCP, "auto"),
}
IMPOSSIBLE = {
    ("rmcp-auto", "rmcp-old"): "not directly: takes -32022 for the end",  # instead of going on with `initialize`
}
RUN_SECONDS = 240  # for a whole checklist; single checks have deadlines of their own in the clients
SHOWN = 400  # characters of a value in a difference


@dataclass
class Pair:
    client: str
    kind: str
    directory: Path
    skipped: str = ""  # why the pair can't work directly, and is not compared
    passed: int = 0
    failures: dict[str, list[str]] = field(default_factory=dict)  # check, and way through -> its differences
    stderr: dict[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"{self.kind}-{self.client}"

    @property
    def cell(self) -> str:
        if self.skipped:
            return self.skipped
        return "; ".join(self.failures) if self.failures else f"ok ({self.passed})"


def run_client(pair: Pair, way: str, to: list[str]) -> dict[str, Any]:
    """One run of the checklist, from the same start every time."""
    prepare(pair.kind, pair.directory)
    program, era = CLIENTS[pair.client]
    which = [] if program is RMCP else ["--server", pair.kind.removesuffix("-old"), "--dir", str(pair.directory)]
    command = [*program, "--era", era, *which, *to]
    env = os.environ | {"MCPOOL_PEERS": str(PEERS)}
    try:
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=RUN_SECONDS)
    except subprocess.TimeoutExpired as late:
        pair.stderr[way] = str(late.stderr or "")
        return {"initialize": f"the checklist did not end within {RUN_SECONDS} s"}
    pair.stderr[way] = done.stderr
    try:
        outcomes = normalise(json.loads(done.stdout))
    except ValueError:
        return {"initialize": f"the checklist printed no JSON (exit status {done.returncode})"}
    if program is RMCP and "error" in outcomes["initialize"]:
        return {"initialize": f"no connection: {outcomes['initialize']['error']}"}
    return outcomes


def compare(pair: Pair, pooled: Pooled) -> None:
    direct = run_client(pair, "direct", ["--", *server(pair.kind, pair.directory).argv()])
    if isinstance(direct["initialize"], str):
        pair.failures["not even directly"] = [direct["initialize"]]
        return
    ways = {"connect": lambda: ["--", *pooled.connect(pair.name)], "socket": lambda: ["--socket", pooled.socket(pair.name)]}
    for way, to in ways.items():
        try:
            through = run_client(pair, way, to())
        except FileNotFoundError as error:
            through = {"initialize": str(error)}
        if isinstance(through["initialize"], str):
            pair.failures[f"no connection ({way})"] = [through["initialize"]]
            continue
        for check, expected in direct.items():
            found = list(differences(expected, through.get(check, "<not reached>")))
            if found:
                pair.failures[f"{check} ({way})"] = found
            else:
                pair.passed += 1


def differences(direct: Any, through: Any, at: str = "") -> Any:
    """The places where two JSON values differ, as lines to read."""
    if isinstance(direct, dict) and isinstance(through, dict):
        for key in direct | through:
            yield from differences(direct.get(key, "<absent>"), through.get(key, "<absent>"), f"{at}/{key}")
    elif isinstance(direct, list) and isinstance(through, list) and len(direct) == len(through):
        for index, (one, other) in enumerate(zip(direct, through)):
            yield from differences(one, other, f"{at}/{index}")
    elif direct != through or type(direct) is not type(through):
        yield f"{at or '/'}\n      direct:  {shown(direct)}\n      through: {shown(through)}"


def shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}… ({len(text)} characters)"


def pairs(only: str | None, directory: Path) -> list[Pair]:
    client, _, kind = (only or "").partition(",")
    found = []
    for one in CLIENTS:
        for other in ERAS:
            if (client in ("", one)) and (kind in ("", other)):
                modern_only = CLIENTS[one][1] == "modern" and "modern" not in ERAS[other]
                pair = Pair(one, other, directory / f"{other}-{one}")
                found.append(pair)
                pair.skipped = "not directly: legacy server" if modern_only else IMPOSSIBLE.get((one, other), "")
    return found


def report(found: list[Pair]) -> None:
    kinds = list(dict.fromkeys(pair.kind for pair in found))
    print(f"| client | {' | '.join(kinds)} |\n|---|{'---|' * len(kinds)}")
    for client in dict.fromkeys(pair.client for pair in found):
        cells = {pair.kind: pair.cell for pair in found if pair.client == client}
        print(f"| {client} | {' | '.join(cells.get(kind, '') for kind in kinds)} |")
    for pair in found:
        if not pair.failures:
            continue
        print(f"\n## {pair.client} with {pair.kind}")
        for check, lines in pair.failures.items():
            print(f"\n- {check}")
            for line in lines:
                print(f"    {line}")
        for way, text in pair.stderr.items():
            if text.strip() and (way != "direct" or len(pair.stderr) == 1):
                print(f"\n  stderr ({way}), its end:\n" + "\n".join(f"    {line}" for line in text.splitlines()[-12:]))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mcpool", required=True, help="the mcpool binary")
    parser.add_argument("--only", metavar="CLIENT,SERVER", help="one pair; `CLIENT,` or `,SERVER` for a row or a column")
    parser.add_argument("--jobs", type=int, default=2, help="pairs at a time")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mcpool-peers-") as temporary:
        directory = Path(temporary).resolve()
        found = pairs(args.only, directory)
        if not found:
            parser.error(f"no such pair; clients: {', '.join(CLIENTS)}; servers: {', '.join(ERAS)}")
        todo = [pair for pair in found if not pair.skipped]
        # Each pair has a server of its own name: the reference servers keep state that all their callers share.
        servers = {pair.name: server(pair.kind, pair.directory) for pair in todo}
        settings = {name: {"recycle": {"idle": "30s"}} for name in servers}  # not all of them at once in memory
        pooled = Pooled(os.path.abspath(args.mcpool), directory, servers, settings)

        def work(pair: Pair) -> None:
            try:
                compare(pair, pooled)
            except Exception as error:  # a fault of this program must not hide the other pairs
                pair.failures["compare.py itself"] = [repr(error)]
            print(f"{pair.client} with {pair.kind}: {pair.cell}", file=sys.stderr, flush=True)

        try:
            with ThreadPoolExecutor(args.jobs) as pool:
                list(pool.map(work, todo))
        finally:
            ended = pooled.stop()
        report(found)
    failed = sum(len(pair.failures) for pair in found) + (not ended)
    if not ended:
        print("\n- the daemon, or a process that it had started, was still there 20 s after SIGTERM")
    print(f"\n{sum(pair.passed for pair in found)} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
