"""The checklist as the Python SDK sees it. `compare.py` runs it once against a server and once through mcpool.

    python_client.py --server KIND --era legacy|modern|auto --dir DIR [--meet PATH --name NAME] (--socket PATH | -- COMMAND ARGS...)

With `--meet` it waits before each check for those who run with it (meeting.py). Prints one JSON object: the outcome of every check of that kind in checklist.json (see README.md for its words).
"""

import argparse
import asyncio
import json
import sys
import traceback
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import mcp_types as types
from mcp import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.shared.exceptions import MCPError
from pydantic import BaseModel

from lines import over_socket
from sdk_calls import AnyNotification, plain, request

MODES = {"legacy": "legacy", "modern": "2026-07-28", "auto": "auto"}
CONNECT_SECONDS, STEP_SECONDS, HEAR_SECONDS = 30, 20, 5


class Checklist:
    """One connection, and what came over it since the running step began."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.words = {"dir": args.dir, "mebibyte": "0123456789abcdef" * 65536}
        self.roots = [f"file://{args.dir}"]
        self.answers: dict[str, Any] = {}
        self.asks: list[Any] = []
        self.heard: list[Any] = []
        self.news = asyncio.Event()

    def client(self) -> Client:
        transport = over_socket(self.args.socket) if self.args.socket else stdio_client(
            StdioServerParameters(command=self.args.command[0], args=self.args.command[1:])
        )
        return Client(
            transport,
            mode=MODES[self.args.era],
            cache=None,  # every request shall reach the wire
            client_info=types.Implementation(name="checklist", version="1.0.0"),
            sampling_callback=partial(self.ask, "sampling/createMessage", types.CreateMessageResult),
            elicitation_callback=partial(self.ask, "elicitation/create", types.ElicitResult),
            list_roots_callback=self.list_roots,
            message_handler=self.hear,
        )

    # What the server says of its own accord.

    async def ask(self, method: str, answer: type[BaseModel], _context: Any, params: BaseModel) -> Any:
        self.asks.append({"method": method, "params": plain(params)})
        given = self.answers.get(method) or usual_answer(method, plain(params))
        if "error" in given:
            return types.ErrorData.model_validate(given["error"])
        return answer.model_validate(given)

    async def list_roots(self, _context: Any) -> types.ListRootsResult:
        # Not recorded: when and how often a server's question reaches this caller is the proxy's business.
        names = ["first", "second"]
        return types.ListRootsResult.model_validate(
            {"roots": [{"uri": uri, "name": name} for uri, name in zip(self.roots, names)]}
        )

    async def hear(self, message: Any) -> None:
        said = {"exception": repr(message)} if isinstance(message, Exception) else plain(message)
        if said not in self.heard:
            self.heard.append(said)
        self.news.set()

    # What the checklist does.

    async def step(self, client: Client, step: dict[str, Any]) -> Any:
        if step.get("era") == "modern" and self.args.era == "legacy":
            return "not in the legacy era"
        if "together" in step:
            return await asyncio.gather(*(self.step(client, one) for one in step["together"]))
        if "roots" in step:
            self.roots = self.fill(step["roots"])
            await client.send_roots_list_changed()
            return "sent"
        if "listen" in step:
            return await self.listen(client, step)
        if "notify" in step:
            await client.session.send_notification(AnyNotification(method=step["notify"], params=step["params"]))
            return "sent"
        return await self.send(client, step)

    async def listen(self, client: Client, step: dict[str, Any]) -> Any:
        """Steps taken while a `subscriptions/listen` is open; what it brings is heard like everything else."""
        wanted = types.SubscriptionFilter.model_validate(step["listen"]).model_dump(exclude_unset=True)
        async with client.listen(**wanted) as subscription:
            outcomes = [await self.step(client, one) for one in step["steps"]]
            await self.listen_for(step["hear"])
            return {"honored": plain(subscription.honored), "meanwhile": outcomes}

    async def send(self, client: Client, step: dict[str, Any]) -> Any:
        outcome: dict[str, Any] = {}
        progress = outcome.setdefault("progress", []) if step.get("progress") else None
        self.answers.update(step.get("answers", {}))
        moving = asyncio.Event()

        async def on_progress(done: float, total: float | None, message: str | None) -> None:
            progress.append([done, total, message])
            moving.set()

        params, follow = self.fill(step["params"]), None if progress is None else on_progress
        send = partial(request, client, step["send"], params, step.get("raw", False), follow)
        work = asyncio.create_task(self.attempt(send, step))
        if step.get("abort"):
            await moving.wait()
            work.cancel()
            return {"aborted after": progress[:1]}
        outcome |= await work
        if "keep" in step:
            self.keep(step["keep"], outcome.get("result"))
        return outcome

    async def attempt(self, send: Any, step: dict[str, Any]) -> dict[str, Any]:
        """One request, or, for `until`, as many as it takes for its result to show (`!`: no longer show) a text."""
        until = step.get("until")
        for attempt in range(50):
            try:
                outcome = {"result": await self.pages(send, step) if "pages" in step else plain(await send())}
            except MCPError as error:
                outcome = {"error": plain(error.error)}
            if until is None or (until.strip("!") in json.dumps(outcome)) != until.startswith("!"):
                return outcome
            await asyncio.sleep(0.1)
        return {"never showed": self.fill(until), "last": outcome}

    async def pages(self, send: Any, step: dict[str, Any]) -> Any:
        """A whole list, however it was cut into pages."""
        items, cursor, rest = [], None, {}
        while True:
            page = plain(await send(cursor=cursor))
            items += page.pop(step["pages"])
            cursor = page.pop("nextCursor", None)
            rest |= page
            if cursor is None:
                return {step["pages"]: items, **rest}

    def fill(self, value: Any) -> Any:
        """Replaces `${word}` in every text of a step."""
        if isinstance(value, str):
            for word, text in self.words.items():
                value = value.replace("${" + word + "}", text)
            return value
        if isinstance(value, dict):
            return {key: self.fill(inner) for key, inner in value.items()}
        return [self.fill(inner) for inner in value] if isinstance(value, list) else value

    def keep(self, wanted: dict[str, list[str]], result: Any) -> None:
        for word, path in wanted.items():
            found = result
            for key in path:
                found = found.get(key) if isinstance(found, dict) else None
            self.words[word] = str(found)

    async def listen_for(self, wanted: dict[str, int]) -> dict[str, Any]:
        """What was heard of the wanted methods since the step began; a count above 0 is waited for."""
        matching = lambda method: [said for said in self.heard if said.get("method") == method]
        try:
            async with asyncio.timeout(HEAR_SECONDS):
                while any(len(matching(method)) < count for method, count in wanted.items()):
                    self.news.clear()
                    await self.news.wait()
        except TimeoutError:
            pass
        return {method: matching(method) for method in wanted}

    def may_hear(self, client: Client, step: dict[str, Any]) -> bool:
        """In the modern era nothing comes that was not asked for, by a `listen` or a log level: it is not waited for."""
        asked = "listen" in step or "io.modelcontextprotocol/logLevel" in (step.get("params") or {}).get("_meta", {})
        return client.protocol_version < "2026" or asked

    async def check(self, client: Client, steps: list[dict[str, Any]]) -> list[Any]:
        outcomes, patient = [], True
        for step in steps:
            self.asks, self.answers, self.heard = [], {}, []
            try:
                async with asyncio.timeout(STEP_SECONDS):
                    outcome = await self.step(client, step)
            except TimeoutError:
                outcome = "timeout"
            except Exception as error:  # whatever the SDK itself makes of it is the outcome
                outcome = {"raised": f"{type(error).__name__}: {error}".splitlines()[0]}
            entry = {"step": step.get("send") or next(iter(step)), "outcome": outcome}
            if self.asks:
                entry["asks"] = sorted(self.asks, key=json.dumps)  # those of calls made together come in any order
            # After a refusal nothing more will come, and what comes all the same is still recorded.
            patient = patient and not (isinstance(outcome, dict) and ("raised" in outcome or "error" in outcome))
            if "hear" in step:
                waited = patient and self.may_hear(client, step)
                entry["heard"] = await self.listen_for({key: count * waited for key, count in step["hear"].items()})
            outcomes.append(entry)
        return outcomes


def usual_answer(method: str, params: dict[str, Any]) -> dict[str, Any]:
    """To a question that the step says nothing about: an echo of it, so that a misdirected answer shows."""
    if method == "elicitation/create":
        return {"action": "cancel"}
    text = f"You said: {params['messages'][0]['content']['text']}"
    return {"role": "assistant", "content": {"type": "text", "text": text}, "model": "checklist", "stopReason": "endTurn"}


@asynccontextmanager
async def others(args: argparse.Namespace) -> AsyncIterator[Any]:
    """How to wait, before a check, for those who run the same checklist at the same time."""
    if not args.meet:
        yield lambda turn: asyncio.sleep(0)
        return
    reader, writer = await asyncio.open_unix_connection(args.meet)

    async def come(turn: str | None) -> None:
        writer.write(f"{json.dumps({'turn': turn})}\n".encode())
        await reader.readline()

    writer.write(f"{args.name}\n".encode())
    try:
        yield come
    finally:
        writer.close()


async def run(args: argparse.Namespace, outcomes: dict[str, Any]) -> None:
    checks = json.loads(Path(__file__).with_name("checklist.json").read_text())[args.server]
    checklist = Checklist(args)
    client = checklist.client()
    async with asyncio.timeout(CONNECT_SECONDS):
        await client.__aenter__()
    try:
        outcomes["initialize"] = {
            "protocolVersion": client.protocol_version,
            "serverInfo": plain(client.server_info),
            "capabilities": plain(client.server_capabilities),
            "instructions": client.instructions,
        }
        async with others(args) as come:
            for name, steps in checks.items():
                await come(steps[0].get("turn"))
                outcomes[name] = await checklist.check(client, steps)
    finally:
        await client.__aexit__(None, None, None)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--server", required=True)
    parser.add_argument("--era", choices=MODES, default="auto")
    parser.add_argument("--dir", required=True, help="the directory the server works in; also the caller's root")
    parser.add_argument("--meet", help="the socket where those who run together wait for each other")
    parser.add_argument("--name", help="this client's name there")
    parser.add_argument("--socket", help="connect to this Unix socket instead of starting a command")
    parser.add_argument("command", nargs="*")
    args = parser.parse_args()
    warnings.simplefilter("ignore")  # the SDK warns of every legacy method
    outcomes: dict[str, Any] = {}
    try:
        asyncio.run(run(args, outcomes))
    except BaseException as error:  # exception groups of the transport too: what was found so far is still printed
        traceback.print_exc()
        outcomes.setdefault("initialize", f"no connection: {type(error).__name__}: {error}")
    json.dump(outcomes, sys.stdout)


if __name__ == "__main__":
    main()
