"""What one client leaves in a published server, another must not see: the servers of config/known-servers.yaml that can be had
without an account are called by two clients, directly (a process each) and through mcpool in its default configuration. The
second client must be told the same both times.

    target/peers/venv/bin/python tests/peers/leaks.py --mcpool PATH [--only PACKAGE]

Prints what differs, and `N passed, N failed`; exits with 1 on any failure.
"""

import argparse
import asyncio
import json
import os
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import dataclass
from importlib import metadata
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
JOBS = 2  # servers at a time
KNOWN = PEERS / "known" / "bin"
TABLE = Path(__file__).resolve().parents[2] / "config" / "known-servers.yaml"
Calls = list[tuple[str, dict[str, Any]]]


@dataclass
class Case:
    """A server, what the first client does with it, and what the second one looks at."""

    package: str  # its entry in config/known-servers.yaml
    server: Server
    lease: str  # that `mcpool status` must show
    leaves: Calls
    looks: Calls


def thought(tool: str = "sequentialthinking", **more: Any) -> tuple[str, dict[str, Any]]:
    plan = {"thought": MARK, "thought_number": 2, "total_thoughts": 3, "next_thought_needed": True}
    camel = {"thoughtNumber": 2, "totalThoughts": 3, "nextThoughtNeeded": True}
    return tool, plan | camel | {"available_mcp_tools": []} | more


def cases(directory: Path) -> dict[str, Case]:
    def node(package: str, script: str, *args: str, **env: str) -> Server:
        return Server(NODE, [str(PEERS / "node_modules" / package / script), *args], {"MCP_LOG_LEVEL": "error"} | env)

    def known(program: str, *args: str, **env: str) -> Server:
        return Server(str(KNOWN / program), list(args), env)

    one, two, vault = (directory / name for name in ("one", "two", "vault"))
    for repo in (one, two):
        repo.mkdir()
        repository(repo)
    (vault / ".obsidian").mkdir(parents=True)
    (vault / "a.md").write_text("a note\n")
    page = '<diagram name="a"><mxGraphModel><root><mxCell id="0"/></root></mxGraphModel></diagram>'
    (directory / "a.drawio").write_text(f"<mxfile>{page}</mxfile>")

    official = "@modelcontextprotocol/server-"
    book, document = str(directory / "a.xlsx"), str(directory / "a.docx")
    note = {"path": str(directory / f"{MARK}.txt"), "content": "x"}
    zones = {"source_timezone": "Etc/GMT+3", "time": "12:30", "target_timezone": "Etc/GMT-2"}
    entity = {"name": MARK, "entityType": "mark", "observations": ["left"]}
    rows = {"filepath": book, "sheet_name": "Sheet1"}
    everything = [
        # Keeps something for its client.
        Case(
            f"{official}sequential-thinking", node(f"{official}sequential-thinking", "dist/index.js"), "session",
            [thought(branchFromThought=1, branchId=MARK)], [thought(thought="mine")],
        ),
        Case(
            "mcp-sequentialthinking-tools", node("mcp-sequentialthinking-tools", "dist/index.js"), "session",
            [thought("sequentialthinking_tools")], [thought("sequentialthinking_tools", thought="mine")],
        ),
        Case(
            "@cyanheads/git-mcp-server", node("@cyanheads/git-mcp-server", "dist/index.js"), "session",
            [("git_set_working_dir", {"path": str(one)})], [("git_log", {"maxCount": 1})],
        ),
        Case(
            "terminal-mcp", known("terminal-mcp"), "session",
            [("session_create", {"command": "cat", "label": MARK})], [("session_list", {})],
        ),
        Case(
            "mcp-alchemy", known("mcp-alchemy", DB_URL=f"sqlite:///{directory}/alchemy.db"), "session",
            [("execute_query", {"query": "CREATE TEMP TABLE marks (a)"})],
            [("execute_query", {"query": "SELECT name FROM sqlite_temp_master"})],
        ),
        Case(
            "mcp-server-sqlite", known("mcp-server-sqlite", "--db-path", str(directory / "a.db")), "session",
            [("append_insight", {"insight": MARK})], [("list_tables", {})],
        ),
        Case(
            "office-powerpoint-mcp-server", known("ppt_mcp_server"), "session",
            [("create_presentation", {"id": MARK})], [("list_presentations", {})],
        ),
        Case(
            "code-index-mcp", known("code-index-mcp"), "session",
            [("set_project_path", {"path": str(one)})], [("find_files", {"pattern": "*"})],
        ),
        # Asks.
        Case(
            f"{official}everything", server("everything", directory), "call",
            [("toggle-simulated-logging", {})], [("echo", {"message": "hello"})],
        ),
        # Keeps what it has outside, or takes its subject from its directory.
        Case(
            f"{official}filesystem", server("filesystem", directory), "shared",
            [("write_file", note)], [("list_directory", {"path": str(directory)})],
        ),
        Case(
            f"{official}memory", server("memory", directory), "shared",
            [("create_entities", {"entities": [entity]})], [("read_graph", {})],
        ),
        Case(
            "mcp-server-git", server("git", one), "shared",
            [("git_status", {"repo_path": str(one)})], [("git_log", {"repo_path": str(one)})],
        ),
        Case(
            "excel-mcp-server", known("excel-mcp-server", "stdio"), "shared",
            [("create_workbook", {"filepath": book}), ("write_data_to_excel", rows | {"data": [[MARK]]})],
            [("read_data_from_excel", rows)],
        ),
        Case(
            "office-word-mcp-server", known("word_mcp_server"), "call",  # the name of its command is not in the table
            [("create_document", {"filename": document}), ("add_paragraph", {"filename": document, "text": MARK})],
            [("get_document_text", {"filename": document})],
        ),
        Case(
            "mcp-shell-server", known("mcp-shell-server", ALLOW_COMMANDS="pwd"), "shared",
            [("shell_execute", {"command": ["pwd"], "directory": str(two)})],
            [("shell_execute", {"command": ["pwd"], "directory": str(one)})],
        ),
        Case(
            "cli-mcp-server", known("cli-mcp-server", ALLOWED_DIR=str(one), ALLOWED_COMMANDS="all", ALLOWED_FLAGS="all"), "shared",
            [("run_command", {"command": f"echo {MARK}"})], [("run_command", {"command": "pwd"})],
        ),
        Case(
            "mcp-server-code-runner", node("mcp-server-code-runner", "dist/cli.js"), "shared",
            [("run-code", {"code": f"globalThis.left = '{MARK}'", "languageId": "javascript"})],
            [("run-code", {"code": "console.log(globalThis.left)", "languageId": "javascript"})],
        ),
        # Reads.
        Case("mcp-server-fetch", known("mcp-server-fetch"), "shared", [], []),
        Case("duckduckgo-mcp-server", known("duckduckgo-mcp-server"), "shared", [], []),
        Case(
            "mcp-server-calculator", known("mcp-server-calculator"), "shared",
            [("calculate", {"expression": "40 + 1"})], [("calculate", {"expression": "1 + 1"})],
        ),
        Case("mcp-server-time", server("time", directory), "shared", [], [("convert_time", zones)]),
        Case(
            "time-mcp", node("time-mcp", "dist/index.js"), "shared",
            [("days_in_month", {"date": "2024-02-01"})], [("days_in_month", {"date": "2025-02-01"})],
        ),
        Case(
            "mcp-obsidian", node("mcp-obsidian", "dist/index.js", str(vault)), "shared",
            [("read_notes", {"paths": ["a.md"]})], [("search_notes", {"query": "a"})],
        ),
        Case(
            "howtocook-mcp", node("howtocook-mcp", "build/index.js"), "shared",
            [("mcp_howtocook_getRecipesByCategory", {"category": "\u6c64"})],
            [("mcp_howtocook_getRecipesByCategory", {"category": "\u4e3b\u98df"})],
        ),
        Case(
            "@drawio/mcp", node("@drawio/mcp", "src/index.js"), "shared",
            [("get_page", {"path": str(directory / "a.drawio"), "page": "0"})],
            [("list_pages", {"path": str(directory / "a.drawio")})],
        ),
    ]
    return {case.package: case for case in everything}


def installed(package: str) -> str:
    """The version that the peers have of it."""
    manifest = PEERS / "node_modules" / package / "package.json"
    if manifest.exists():
        return json.loads(manifest.read_text())["version"]
    places = [str(place) for venv in ("known", "venv") for place in (PEERS / venv / "lib").glob("python*/site-packages")]
    return next(metadata.distributions(name=package, path=places)).version


def entry(case: Case) -> list[str]:
    """What the table lacks: each server that is run here says so, with its version."""
    want = f"[run {installed(case.package)}]"
    lines = TABLE.read_text().splitlines()
    found = [line for line in lines if line.startswith(f'  "{case.package}": ') and line.endswith(want)]
    return [] if found else [f"no entry of {TABLE.name} for it ends with {want}"]


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
    faults = entry(case) + ([] if lease == case.lease else [f"its lease is {lease}, not {case.lease}"])
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
    mcpool = os.path.abspath(args.mcpool)
    with tempfile.TemporaryDirectory(prefix="mcpool-leaks-") as place, ThreadPoolExecutor(JOBS) as jobs:
        work = Path(place) / "work"
        work.mkdir()

        def one(numbered: tuple[int, Case]) -> bool:
            at, case = numbered
            own = Path(place) / str(at)
            own.mkdir()
            try:
                faults = asyncio.run(in_time(f"s{at}", case, mcpool, own))
            except Exception as error:
                faults = [f"{type(error).__name__}: {error}"]
            print(f"{case.package}: {'; '.join(faults) or 'nothing leaks'}", flush=True)
            return not faults

        wanted = [case for package, case in cases(work).items() if args.only in (None, package)]
        right = list(jobs.map(one, enumerate(wanted)))
    passed, failed = right.count(True), right.count(False)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
