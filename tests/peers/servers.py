"""The real servers that the checklists and the crowd run against: how to start each, and the directory it works in."""

import base64
import os
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

TARGET = Path(__file__).resolve().parents[2] / "target"
PEERS = Path(os.environ.get("MCPOOL_PEERS") or TARGET / "peers")
EXAMPLES = Path(os.environ.get("MCPOOL_EXAMPLES") or TARGET / "debug" / "examples")  # cargo build --examples
PYTHON = str(PEERS / "venv" / "bin" / "python")
NODE = shutil.which("node") or "node"

# Commits made at a fixed time by a fixed author have the same hash in every run.
GIT_ENV = {
    "GIT_AUTHOR_DATE": "2026-01-02T03:04:05+0000",
    "GIT_COMMITTER_DATE": "2026-01-02T03:04:05+0000",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_SYSTEM": os.devnull,
}
PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)


@dataclass
class Server:
    """A command as a host's config would have it."""

    command: str
    args: list[str]
    env: dict[str, str] = field(default_factory=dict)

    def argv(self) -> list[str]:
        """The same as one command line, for clients that are given no more than that."""
        return ["env", *(f"{key}={value}" for key, value in self.env.items()), self.command, *self.args]


def server(kind: str, directory: Path) -> Server:
    def script(package: str) -> str:
        return str(PEERS / "node_modules" / "@modelcontextprotocol" / package / "dist" / "index.js")

    match software(kind):
        case "everything":
            return Server(NODE, [script("server-everything"), "stdio"], {"PEER_MARK": "from the config"})
        case "filesystem":
            return Server(NODE, [script("server-filesystem"), str(directory)])
        case "memory":
            return Server(NODE, [script("server-memory")], {"MEMORY_FILE_PATH": str(directory / "memory.jsonl")})
        case "time":
            return Server(PYTHON, ["-m", "mcp_server_time", "--local-timezone", "Europe/Paris"])
        case "git":
            return Server(PYTHON, ["-m", "mcp_server_git", "--repository", str(directory)], GIT_ENV)
        case "both":
            return Server(PYTHON, [str(Path(__file__).with_name("both_eras_server.py"))])
        case "fastmcp":
            return Server(PYTHON, [str(Path(__file__).with_name("fastmcp_server.py"))], {"FASTMCP_LOG_ENABLED": "false"})
        case "rmcp":
            only = {"rmcp-old": ["--legacy"], "rmcp-new": ["--modern"]}
            return Server(str(EXAMPLES / "rmcp_server"), only.get(kind, []))
    raise ValueError(f"no server of the kind {kind}")


def software(kind: str) -> str:
    """What is run, and whose checks: `-old` and `-new` are the same program, limited to one era."""
    return kind.removesuffix("-old").removesuffix("-new")


# The eras in which a server is there for mcpool.
ERAS = {
    "everything": {"legacy"},
    "filesystem": {"legacy"},
    "memory": {"legacy"},
    "time": {"legacy", "modern"},
    "git": {"legacy", "modern"},
    "both": {"legacy", "modern"},
    "both-new": {"modern"},
    "fastmcp": {"legacy", "modern"},
    "fastmcp-old": {"legacy"},
    "fastmcp-new": {"modern"},
    "rmcp": {"legacy", "modern"},
    "rmcp-old": {"legacy"},
    "rmcp-new": {"modern"},
}
# Those of them that mcpool's config limits (`era:`); by itself the program speaks both.
PINNED = {"both-new": "modern", "fastmcp-old": "legacy", "fastmcp-new": "modern"}


def prepare(kind: str, directory: Path) -> None:
    """Puts the directory into the state that every run of the checklist starts from. It stays the same directory:
    a server that is already running may hold it.
    """
    directory.mkdir(parents=True, exist_ok=True)
    for old in directory.iterdir():
        shutil.rmtree(old) if old.is_dir() else old.unlink()
    match software(kind):
        case "everything":
            (directory / "inner").mkdir()
        case "filesystem":
            (directory / "inner").mkdir()
            (directory / "a.txt").write_text("first\nsecond\n")
            (directory / "pixel.png").write_bytes(PIXEL)
        case "git":
            repository(directory)


def repository(directory: Path, files: dict[str, str] | None = None) -> None:
    """A repository of two commits, with a change that is not staged and a file that is not tracked."""

    def git(*args: str) -> None:
        subprocess.run(["git", *args], cwd=directory, env=os.environ | GIT_ENV, check=True, capture_output=True)

    git("init", "--initial-branch=main")
    git("config", "user.name", "Peer")
    git("config", "user.email", "peer@example.org")
    for name, text in (files or {"a.txt": "one\n", "b.txt": "two\n"}).items():
        (directory / name).write_text(text)
    git("add", ".")
    git("commit", "-m", "First change")
    (directory / "c.txt").write_text("three\n")
    git("add", ".")
    git("commit", "-m", "Add c")
    (directory / "a.txt").write_text("one\nand more\n")
    (directory / "new.txt").write_text("new\n")
