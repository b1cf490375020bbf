"""Several real servers under one roof: a real client on `mcpool connect all`, with server-everything, server-filesystem and
mcp-server-time behind it. Names bear their server's, resources are found by their URI, and everything reaches its server.

    target/peers/venv/bin/python tests/peers/all_endpoint.py --mcpool PATH

Prints what fails, and `N passed, N failed`; exits with 1 on any failure.
"""

import argparse
import asyncio
import json
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mcp_types as types
from mcp import Client
from mcp.shared.exceptions import MCPError

from lines import over_command
from pooled import Pooled
from sdk_calls import plain
from servers import prepare, server

KINDS = ["everything", "filesystem", "time"]
SECONDS = 60  # for a check; the first one starts the daemon and all servers


class Checks:
    """Counts them, and goes on after one that fails."""

    def __init__(self) -> None:
        self.passed = 0
        self.failed = 0

    @contextmanager
    def check(self, name: str) -> Iterator[None]:
        try:
            yield
            self.passed += 1
        except Exception as error:
            self.failed += 1
            print(f"- {name}: {type(error).__name__}: {error}")


class Caller:
    """A legacy client, and what it was told of its own accord."""

    def __init__(self, command: list[str], directory: Path) -> None:
        self.directory = directory
        self.changed = asyncio.Event()  # the list of tools
        self.told = False  # whether a list had to be fetched again
        self.client = Client(
            over_command(command),
            mode="legacy",
            cache=None,
            client_info=types.Implementation(name="all-endpoint", version="1.0.0"),
            sampling_callback=self.sample,
            list_roots_callback=self.roots,
            message_handler=self.hear,
        )

    async def sample(self, _context: Any, params: Any) -> types.CreateMessageResult:
        text = f"You said: {params.messages[0].content.text}"
        content = types.TextContent(type="text", text=text)
        return types.CreateMessageResult(role="assistant", content=content, model="a-model", stop_reason="endTurn")

    async def roots(self, _context: Any) -> types.ListRootsResult:
        return types.ListRootsResult.model_validate({"roots": [{"uri": f"file://{self.directory}", "name": "first"}]})

    async def hear(self, message: Any) -> None:
        if isinstance(message, types.ToolListChangedNotification):
            self.changed.set()

    async def call(self, tool: str, arguments: dict[str, Any], **more: Any) -> str:
        """The text of a result."""
        result = await self.client.call_tool(tool, arguments, **more)
        said = "\n".join(block.text for block in result.content if block.type == "text")
        assert not result.is_error, said
        return said

    async def tools(self) -> list[str]:
        """All tools, once every server has joined: a cold one may come after the first list, and that is told."""
        while True:
            self.changed.clear()
            names, cursor = [], None
            while True:
                page = await self.client.list_tools(cursor=cursor)
                names += [tool.name for tool in page.tools]
                cursor = page.next_cursor
                if cursor is None:
                    break
            if {name.partition("__")[0] for name in names} == set(KINDS):
                return names
            await self.changed.wait()
            self.told = True


async def late(caller: Caller, checks: Checks) -> None:
    with checks.check("servers that come late join by list_changed"):
        await caller.tools()
        assert caller.told, "the first list was complete already"


async def names(caller: Caller, checks: Checks) -> None:
    with checks.check("tools of all servers, under their names"):
        tools = await caller.tools()
        assert {"everything__echo", "filesystem__read_text_file", "time__convert_time"} <= set(tools), tools
        assert len(tools) == len(set(tools)), tools
    with checks.check("prompts, under their server's name"):
        prompts = [prompt.name for prompt in (await caller.client.list_prompts()).prompts]
        assert "everything__completable-prompt" in prompts and all("__" in name for name in prompts), prompts
    with checks.check("resources and templates, under their own URI"):
        uris = [str(one.uri) for one in (await caller.client.list_resources()).resources]
        assert "demo://resource/static/document/startup.md" in uris, uris
        templates = [one.uri_template for one in (await caller.client.list_resource_templates()).resource_templates]
        assert "demo://resource/dynamic/text/{resourceId}" in templates, templates
    with checks.check("instructions and capabilities of all servers"):
        client = caller.client
        assert "everything" in (client.instructions or ""), client.instructions
        offered = set(plain(client.server_capabilities))
        assert {"tools", "prompts", "resources", "completions"} <= offered, offered


async def calls(caller: Caller, checks: Checks) -> None:
    with checks.check("a call of each server"):
        assert await caller.call("everything__echo", {"message": 'a "b" \\ é'}) == 'Echo: a "b" \\ é'
        path = str(caller.directory / "a.txt")
        assert await caller.call("filesystem__read_text_file", {"path": path}) == "first\nsecond\n"
        zones = {"source_timezone": "Etc/GMT+3", "time": "12:30", "target_timezone": "Etc/GMT-2"}
        told = json.loads(await caller.call("time__convert_time", zones))
        assert told["time_difference"] == "+5.0h", told
    with checks.check("calls of all servers at once"):
        zones = {"source_timezone": "Etc/GMT+3", "target_timezone": "Etc/GMT-2"}
        todo = []
        for number in range(10):
            todo.append(caller.call("everything__get-sum", {"a": number, "b": 1000}))
            todo.append(caller.call("filesystem__write_file", {"path": str(caller.directory / f"{number}"), "content": "x"}))
            todo.append(caller.call("time__convert_time", zones | {"time": f"1{number}:00"}))
        answers = await asyncio.gather(*todo)
        for number in range(10):
            total, written, clock = answers[3 * number : 3 * number + 3]
            assert f"is {number + 1000}." in total and written.endswith(f"/{number}"), (total, written)
            assert f"T1{number}:00" in json.loads(clock)["source"]["datetime"], clock
    with checks.check("progress"):
        steps: list[float] = []

        async def on_progress(done: float, *_: Any) -> None:
            steps.append(done)

        work = {"duration": 0.4, "steps": 4}
        await caller.call("everything__trigger-long-running-operation", work, progress_callback=on_progress)
        assert steps == [1, 2, 3, 4], steps
    with checks.check("a server's question is answered by its caller"):
        said = await caller.call("everything__trigger-sampling-request", {"prompt": "say hello", "maxTokens": 12})
        assert "You said: " in said and "say hello" in said, said
    with checks.check("the roots are the caller's"):
        said = await caller.call("filesystem__list_allowed_directories", {})
        assert str(caller.directory) in said, said


async def others(caller: Caller, checks: Checks) -> None:
    client = caller.client
    with checks.check("resources, listed and of a template"):
        result = await client.read_resource("demo://resource/static/document/startup.md")
        assert "tartup" in result.contents[0].text, result
        result = await client.read_resource("demo://resource/dynamic/text/7")
        assert "Resource 7" in result.contents[0].text, result
    with checks.check("a prompt"):
        result = await client.get_prompt("everything__args-prompt", {"city": "Oslo"})
        assert "Oslo" in result.messages[0].content.text, result
    with checks.check("completion, for a prompt and for a template"):
        prompt = types.PromptReference(type="ref/prompt", name="everything__completable-prompt")
        result = await client.complete(prompt, {"name": "department", "value": "S"})
        assert result.completion.values == ["Sales", "Support"], result
        template = types.ResourceTemplateReference(type="ref/resource", uri="demo://resource/dynamic/text/{resourceId}")
        result = await client.complete(template, {"name": "resourceId", "value": "12"})
        assert result.completion.values == ["12"], result
    with checks.check("errors for what no server has"):
        code = await refused(client.call_tool("everything__no-such-tool", {}))
        assert code in (None, -32602), code  # this server answers with a result that says so
        for request in (
            client.call_tool("nobody__echo", {}), client.call_tool("echo", {}), client.get_prompt("nobody__prompt"),
        ):
            code = await refused(request)
            assert code == -32602, code
        code = await refused(client.read_resource("nowhere://nothing"))
        assert code == -32002, code
    with checks.check("ping"):
        await client.send_ping()


async def refused(request: Any) -> int | None:
    """The code of the error that a request ends with; none if it doesn't."""
    try:
        await request
    except MCPError as error:
        return error.error.code
    return None


async def run(pooled: Pooled, directory: Path, parts: list[Any], checks: Checks) -> None:
    caller = Caller(pooled.connect("all"), directory)
    with checks.check("connect"):
        async with asyncio.timeout(SECONDS):
            await caller.client.__aenter__()
        try:
            for part in parts:
                async with asyncio.timeout(SECONDS):
                    await part(caller, checks)
        finally:
            await caller.client.__aexit__(None, None, None)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mcpool", required=True, help="the mcpool binary")
    args = parser.parse_args()
    warnings.simplefilter("ignore")  # the SDK warns of every legacy method
    checks = Checks()
    with tempfile.TemporaryDirectory(prefix="mcpool-all-") as temporary:
        directory = Path(temporary).resolve()
        for name, patience, parts in (("patient", "30s", [names, calls, others]), ("impatient", "1ms", [late])):
            work = directory / name / "work"
            prepare("filesystem", work)
            servers = {kind: server(kind, work) for kind in KINDS}
            pooled = Pooled(os.path.abspath(args.mcpool), work.parent, servers, patience=patience)
            try:
                asyncio.run(run(pooled, work, parts, checks))
                with checks.check("one process was started for each server"):
                    told = {one["name"]: one["started"] for one in pooled.status()["servers"]}
                    assert told == dict.fromkeys(KINDS, 1), told
            finally:
                with checks.check("nothing is left of the daemon"):
                    assert pooled.stop()
    print(f"\n{checks.passed} passed, {checks.failed} failed")
    return 1 if checks.failed else 0


if __name__ == "__main__":
    sys.exit(main())
