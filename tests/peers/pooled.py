"""An mcpool daemon of a test's own: its config in a temporary directory, its status, its end."""

import json
import os
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from servers import Server


# None of these servers is silent in an era that it lacks, but on a busy machine Python takes long to start.
TIMEOUTS = {"discover": "25s"}


@dataclass
class Pooled:
    """The daemon is not started here: the first `connect` does that."""

    mcpool: str
    directory: Path
    servers: dict[str, Server]
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)  # further keys of a server's config
    patience: str = "30s"  # of `all`, for lists of servers that are still starting

    def __post_init__(self) -> None:
        self.config = self.directory / "mcpool.yaml"
        self.config.write_text("\n".join(self.yaml()) + "\n")

    def yaml(self) -> list[str]:
        # JSON values are YAML values: no library needed.
        lines = [
            f"sockets: {{ dir: {json.dumps(str(self.directory / 'sockets'))} }}",
            f"catalogue: {{ dir: {json.dumps(str(self.directory / 'catalogue'))} }}",
            f"endpoints: {{ all: {{ patience: {self.patience} }} }}",
            "servers:",
        ]
        for name, server in self.servers.items():
            keys = {"command": server.command, "args": server.args, "env": server.env, "timeout": TIMEOUTS}
            keys |= self.settings.get(name, {})
            lines += [f"  {name}:", *(f"    {key}: {json.dumps(value)}" for key, value in keys.items())]
        return lines

    def connect(self, name: str) -> list[str]:
        return [self.mcpool, "connect", name, "--config", str(self.config)]

    def socket(self, name: str) -> str:
        """The endpoint's socket, whatever its file is called beyond the name."""
        found = sorted((self.directory / "sockets").glob(f"{name}*"))
        if not found:
            raise FileNotFoundError(f"no socket for {name} in {self.directory / 'sockets'}")
        return str(found[0])

    def status(self) -> dict[str, Any]:
        command = [self.mcpool, "status", "--json", "--config", str(self.config)]
        return json.loads(subprocess.run(command, check=True, capture_output=True, timeout=20).stdout)

    def stop(self) -> bool:
        """Ends the daemon; false if it, or a process below it, is still there after 20 s."""
        try:
            pid = int(self.status()["pid"])
        except (subprocess.SubprocessError, OSError, ValueError, KeyError, TypeError):
            return True
        below = descendants(pid)
        os.kill(pid, signal.SIGTERM)
        end = time.monotonic() + 20
        while (left := [one for one in [pid, *below] if alive(one)]) and time.monotonic() < end:
            time.sleep(0.05)
        for one in left:
            os.kill(one, signal.SIGKILL)
        return not left


def processes() -> dict[int, tuple[int, str]]:
    """Every process: its parent and its state letter (Linux)."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
                found[int(entry.name)] = (int(parent), state)
            except (OSError, ValueError):
                continue  # gone while we looked
    return found


def alive(pid: int) -> bool:
    return processes().get(pid, (0, "Z"))[1] != "Z"


def descendants(pid: int) -> list[int]:
    parents = {one: parent for one, (parent, _state) in processes().items()}
    found, level = [], [pid]
    while level:
        level = [one for one, parent in parents.items() if parent in level]
        found += level
    return found
