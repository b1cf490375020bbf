"""The published clients, and one run of a client's checklist: compare.py makes them one pair at a time, together.py in groups."""

import json
import os
import subprocess
import threading
from pathlib import Path
from typing import Any

from normalise import normalise
from servers import ERAS, EXAMPLES, NODE, PEERS, PYTHON, prepare, server, software

HERE = Path(__file__).resolve().parent
CHECKLIST = json.loads((HERE / "checklist.json").read_text())
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
# Who tells what a client should get from a server of the other era. The TypeScript SDK 1.x has no other era itself.
TWINS = {
    "legacy": {"python": "python-modern", "ts1": "ts2-modern", "ts2": "ts2-modern", "rmcp": "rmcp-modern"},
    "modern": {"python": "python-legacy", "ts2": "ts2-legacy", "rmcp": "rmcp-legacy"},
}
RUN_SECONDS = 240  # for a whole checklist; single checks have deadlines of their own in the clients


def bridged(client: str, kind: str) -> bool:
    """Whether the server lacks the client's era; a client that may choose comes to mcpool as a modern one."""
    era = CLIENTS[client][1]
    return ("modern" if era == "auto" else era) not in ERAS[kind]


def twin(client: str, kind: str) -> str:
    """Whose direct run is the truth."""
    if not bridged(client, kind):
        return client
    return TWINS["legacy" if CLIENTS[client][1] == "legacy" else "modern"][client.partition("-")[0]]


def checks_of(client: str, kind: str) -> dict[str, Any]:
    return {} if CLIENTS[client][0] is RMCP else CHECKLIST[software(kind)]


def run_client(client: str, kind: str, directory: Path, to: list[str]) -> tuple[dict[str, Any], str]:
    """One run of the checklist, from the same start every time: the outcomes, and the client's stderr."""
    prepare(kind, directory)
    return run_prepared(client, kind, directory, to)


def run_prepared(
    client: str, kind: str, directory: Path, to: list[str], within: Path | None = None
) -> tuple[dict[str, Any], str]:
    """The same in a directory that is already as it should be; the server's may be a larger one, `within` which it lies."""
    program, era = CLIENTS[client]
    which = [] if program is RMCP else ["--server", software(kind), "--dir", str(directory)]
    command = [*program, "--era", era, *which, *to]
    env = os.environ | {"MCPOOL_PEERS": str(PEERS)}
    try:
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=RUN_SECONDS)
    except subprocess.TimeoutExpired as late:
        return {"initialize": f"the checklist did not end within {RUN_SECONDS} s"}, str(late.stderr or "")
    try:
        # Every run has a directory of its own; what is said of it, and of what lies beside it, must be the same.
        said = done.stdout.replace(str(directory), "/the/directory").replace(f"{directory.parent}/", "/beside/")
        said = said.replace(str(within or directory), "/the/directory")
        outcomes = normalise(json.loads(said))
    except ValueError:
        return {"initialize": f"the checklist printed no JSON (exit status {done.returncode})"}, done.stderr
    if program is RMCP and "error" in outcomes["initialize"]:
        outcomes = {"initialize": f"no connection: {outcomes['initialize']['error']}"}
    return outcomes, done.stderr


class Direct:
    """The direct runs: each is made once, by the first who needs it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.lock = threading.Lock()
        self.locks: dict[tuple[str, str], threading.Lock] = {}
        self.runs: dict[tuple[str, str], tuple[dict[str, Any], str]] = {}

    def run(self, client: str, kind: str) -> tuple[dict[str, Any], str]:
        key = client, kind
        with self.lock:
            lock = self.locks.setdefault(key, threading.Lock())
        with lock:
            if key not in self.runs:
                directory = self.directory / f"{kind}-{client}.direct"
                self.runs[key] = run_client(client, kind, directory, ["--", *server(kind, directory).argv()])
            return self.runs[key]
