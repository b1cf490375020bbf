"""What one client leaves in a published server, another must not see: the servers of config/known-servers.yaml that can be had
without an account are called by two clients, directly (a process each) and through mcpool in its default configuration. The
second client must be told the same both times.

    target/peers/venv/bin/python tests/peers/leaks.py --mcpool PATH [--only NAME]

Prints what differs, and `N passed, N failed`; exits with 1 on any failure.
"""

import argparse
import asyncio
import json
import os
import sys
import tempfile
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mcp import Client
from mcp.shared.exceptions import MCPError

from lines import over_command
from pooled import Pooled
from sdk_calls import plain
from servers import NODE, PEERS, Server, repository, server

MARK = "left-by-the-first"
SECONDS = 90  # for a server, both ways
KNOWN = PEERS / "known" / "bin"
Calls = list[tuple[str, dict[str, Any]]]


@dataclass
class Case:
    """A server, what the first client does with it, and what the second one looks at."""

    server: Server
    leaves: Calls
    looks: Calls
    lease: str  # that `mcpool status` must show


def thought(**more: Any) -> tuple[str, dict[str, Any]]:
    plan = {"thought": MARK, "thoughtNumber": 2, "totalThoughts": 3, "nextThoughtNeeded": True}
    return "sequentialthinking", plan | more


def cases(directory: Path) -> dict[str, Case]:
    def node(package: str, *args: str) -> Server:
        return Server(NODE, [str(PEERS / "node_modules" / package), *args], {"MCP_LOG_LEVEL": "error"})

    one, two = directory / "one", directory / "two"
    for repo in (one, two):
        repo.mkdir()
        repository(repo)
    thoughts = node("@modelcontextprotocol/server-sequential-thinking/dist/index.js")
    git = node("@cyanheads/git-mcp-server/dist/index.js")
    database = str(directory / "a.db")
    note = {"path": str(directory / f"{MARK}.txt"), "content": "x"}
    zones = {"source_timezone": "Etc/GMT+3", "time": "12:30", "target_timezone": "Etc/GMT-2"}
    return {
        "thinking": Case(thoughts, [thought(branchFromThought=1, branchId=MARK)], [thought(thought="mine")], "session"),
        "git-session": Case(
            git, [("git_set_working_dir", {"path": str(one)})], [("git_log", {"maxCount": 1})], "session"
        ),
        "sqlite": Case(
            Server(str(KNOWN / "mcp-server-sqlite"), ["--db-path", database]),
            [("append_insight", {"insight": MARK})], [("list_tables", {})], "session",
        ),
        "powerpoint": Case(
            Server(str(KNOWN / "ppt_mcp_server"), []),
            [("create_presentation", {"id": MARK})], [("list_presentations", {})], "session",
        ),
        "code-index": Case(
            Server(str(KNOWN / "code-index-mcp"), []),
            [("set_project_path", {"path": str(one)})], [("find_files", {"pattern": "*"})], "session",
        ),
        "fetch": Case(Server(str(KNOWN / "mcp-server-fetch"), []), [], [], "shared"),
        "calculator": Case(
            Server(str(KNOWN / "mcp-server-calculator"), []),
            [("calculate", {"expression": "40 + 1"})], [("calculate", {"expression": "1 + 1"})], "shared",
        ),
        "time": Case(server("time", directory), [], [("convert_time", zones)], "shared"),
        "git": Case(
            server("git", one), [("git_status", {"repo_path": str(one)})], [("git_log", {"repo_path": str(one)})], "shared"
        ),
        "filesystem": Case(
            server("filesystem", directory), [("write_file", note)],
            [("list_directory", {"path": str(directory)})], "shared",
        ),
        "everything": Case(
            server("everything", directory), [("toggle-simulated-logging", {})], [("echo", {"message": "hello"})], "call"
        ),
    }


async def told(client: Client, calls: Calls) -> list[Any]:
    """What the second client is told: the answers to its calls, then all lists and small resources."""
    found = []
    for name, arguments in calls:
        try:
            found.append([name, plain(await client.call_tool(name, arguments))])
        except MCPError as error:
            found.append([name, error.error.code, error.error.message])
    for kind in ("tools", "prompts", "resources"):
        if getattr(client.server_capabilities, kind) is None:
            continue
        listed = plain(await getattr(client, f"list_{kind}")())[kind]
        found.append([kind, sorted(listed, key=lambda one: one.get("uri") or one["name"])])
        if kind == "resources":
            found += [plain(await client.read_resource(one["uri"])) for one in listed if one.get("mimeType") == "text/plain"]
    return found


async def two_clients(command: list[str], case: Case) -> list[Any]:
    async with AsyncExitStack() as stack:
        first, second = [
            await stack.enter_async_context(Client(over_command(command), mode="legacy", cache=None)) for _ in range(2)
        ]
        for name, arguments in case.leaves:
            result = await first.call_tool(name, arguments)
            assert not result.is_error, f"the first client's {name} failed: {plain(result)}"
        return await told(second, case.looks)


async def through(pooled: Pooled, name: str, case: Case) -> tuple[list[Any], str]:
    """What the second client is told through mcpool, and the lease that the server has there."""
    try:
        found = await two_clients(pooled.connect(name), case)
        return found, next(one["lease"]["kind"] for one in pooled.status()["servers"] if one["name"] == name)
    finally:
        assert pooled.stop(), "the daemon did not end"


async def check(name: str, case: Case, mcpool: str, directory: Path) -> list[str]:
    env = [f"{key}={value}" for key, value in case.server.env.items()]
    directly = await two_clients(["env", *env, case.server.command, *case.server.args], case)
    (directory / "default").mkdir()
    pooled, lease = await through(Pooled(mcpool, directory / "default", {name: case.server}), name, case)
    faults = [] if lease == case.lease else [f"its lease is {lease}, not {case.lease}"]
    for here, there in zip(directly, pooled, strict=True):
        if here != there:
            faults.append(f"directly {json.dumps(here)[:300]}\n      through mcpool {json.dumps(there)[:300]}")
    if case.lease == "session":
        # The entry is needed, and this test would see what leaks: shared, the second client is told something else.
        (directory / "shared").mkdir()
        careless = Pooled(mcpool, directory / "shared", {name: case.server}, {name: {"lease": "shared"}})
        if (await through(careless, name, case))[0] == directly:
            faults.append("nothing leaks with `lease: shared` either")
    return faults


async def in_time(name: str, case: Case, mcpool: str, directory: Path) -> list[str]:
    async with asyncio.timeout(SECONDS):
        return await check(name, case, mcpool, directory)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mcpool", required=True)
    parser.add_argument("--only")
    args = parser.parse_args()
    failed = passed = 0
    with tempfile.TemporaryDirectory(prefix="mcpool-leaks-") as place:
        work = Path(place) / "work"
        work.mkdir()
        for name, case in cases(work).items():
            if args.only not in (None, name):
                continue
            own = Path(place) / name
            own.mkdir()
            try:
                faults = asyncio.run(in_time(name, case, os.path.abspath(args.mcpool), own))
            except Exception as error:
                faults = [f"{type(error).__name__}: {error}"]
            passed, failed = passed + (not faults), failed + bool(faults)
            print(f"{name}: {'; '.join(faults) or 'nothing leaks'}")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
