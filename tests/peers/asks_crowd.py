"""Twenty callers of both eras at once on shared servers of both eras, all of which ask in the middle of their calls: elicitation
(by form and by URL), sampling, roots, two at once, three in a row. Every question must be of the caller's own call, every answer
must come out of the call that it was given for, and nothing may be asked twice.

    asks_crowd.py --mcpool PATH [--rounds 2]

Prints a table and what went wrong; exits with 1 if anything did. To be run with the Python of the peers.
"""

import argparse
import asyncio
import os
import re
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import mcp_types as types
from mcp import Client

from lines import over_command
from pooled import Pooled
from servers import PINNED, prepare, server

# In which eras mcpool uses each: the legacy one alone, its caller's own, or the modern one alone.
KINDS = ["everything", "fastmcp-old", "both", "both-new", "fastmcp-new"]
ERAS = ["legacy", "modern", "legacy", "modern"]  # of each server's callers
MODES = {"legacy": "legacy", "modern": "2026-07-28"}
TOTAL = 4  # instances of a server, whatever roots and capabilities its callers have
ASKING = 4  # and those beyond that which wait for a person
CALL_SECONDS, ALL_SECONDS = 60, 240
MARK = re.compile(r"<caller (\d+) call (\d+)>")


class Errand:
    """A call, how many questions it brings, and what its result must show."""

    def __init__(self, asks: int, request: Any, *shown: str) -> None:
        self.asks, self.request, self.shown = asks, request, shown


def errands(kind: str, caller: int, number: int) -> list[Errand]:
    """What a caller has done in one round; each call bears a mark of its own."""
    own = f"<caller {caller} call {number}>"
    user, model, roots = f"user of {own}", f"model of {own}", f"file:///srv/{caller}"
    tool = lambda name, **arguments: lambda client: client.call_tool(name, arguments, CALL_SECONDS)
    match kind:
        case "everything":
            return [
                Errand(1, tool("trigger-sampling-request", prompt=own), model),
                Errand(1, tool("trigger-elicitation-request"), f"user of <caller {caller} call"),  # its question says nothing
                Errand(1, tool("trigger-url-elicitation", url="https://example.org/", message=own), "accept"),
                Errand(0, tool("get-roots-list"), roots),
            ]
        case "both" | "both-new":
            return [
                Errand(1, tool("ask_name", question=own), own, user),
                Errand(1, tool("ask_model", question=own), own, model),
                Errand(0, tool("ask_roots"), roots),
                Errand(2, tool("ask_twice", question=own), user, "a model"),
                Errand(3, tool("ask_thrice", question=own), own, f"{user}, {user}, {user}"),
            ]
        case "fastmcp-old":
            return [
                Errand(1, tool("ask_name", question=own), own, user),
                Errand(1, tool("ask_link", question=own), own, "accept"),
                Errand(1, tool("ask_model", question=own), own, model),
                Errand(0, tool("ask_roots"), roots),
                Errand(2, tool("ask_both", question=own), own, user, model),
                Errand(3, tool("ask_thrice", question=own), own, f"['{user}', '{user}', '{user}']"),
                Errand(1, lambda client: client.get_prompt("asking_prompt", {"topic": own}), own, user),
            ]
        case "fastmcp-new":
            return [
                Errand(3, tool("guard_both", question=own), own, user, model, roots),
                Errand(3, tool("guard_thrice", question=own), own, user),
            ]
    raise ValueError(kind)


class Caller:
    def __init__(self, number: int, kind: str, era: str, command: list[str]) -> None:
        self.number, self.kind, self.era = number, kind, era
        self.right = 0
        self.asked = 0
        self.wrong: list[str] = []
        self.questions: Counter[str] = Counter()  # of the running call
        self.client = Client(
            over_command(command),
            mode=MODES[era],
            cache=None,
            client_info=types.Implementation(name=f"caller {number}", version="1.0.0"),
            sampling_callback=self.sample,
            elicitation_callback=self.elicit,
            list_roots_callback=self.roots,
        )

    async def sample(self, _context: Any, params: Any) -> types.CreateMessageResult:
        own = self.own(params.messages[0].content.text)
        await asyncio.sleep(0)  # others get a turn while this one thinks
        content = types.TextContent(type="text", text=f"model of {own}")
        return types.CreateMessageResult(role="assistant", content=content, model="a model", stop_reason="endTurn")

    async def elicit(self, _context: Any, params: Any) -> types.ElicitResult:
        own = self.own(params.message)
        await asyncio.sleep(0)
        if params.mode == "url":
            return types.ElicitResult(action="accept")
        return types.ElicitResult(action="accept", content={"name": f"user of {own}"})

    async def roots(self, _context: Any) -> types.ListRootsResult:
        return types.ListRootsResult.model_validate({"roots": [{"uri": f"file:///srv/{self.number}", "name": "own"}]})

    def own(self, question: str) -> str:
        """The mark of the call that a question is for: it must be the running one."""
        self.asked += 1
        self.questions[question] += 1
        mark = MARK.search(question)
        if mark and mark.group() != self.running:
            self.wrong.append(f"in {self.running} it was asked {question!r}")
        return mark.group() if mark else self.running

    async def run(self, rounds: int) -> None:
        async with self.client:
            for index in range(rounds):
                count = len(errands(self.kind, self.number, 0))
                for place in range(count):
                    number = index * count + place
                    await self.call(errands(self.kind, self.number, number)[place], f"<caller {self.number} call {number}>")

    async def call(self, errand: Errand, running: str) -> None:
        self.running, before = running, len(self.wrong)
        self.questions.clear()
        try:
            async with asyncio.timeout(CALL_SECONDS):
                result = await errand.request(self.client)
        except Exception as error:
            self.wrong.append(f"{running}: {type(error).__name__}: {error}")
            return
        said = result.model_dump_json()
        self.wrong += [f"{running} was answered without {part!r}: {said[:300]}" for part in errand.shown if part not in said]
        self.wrong += [f"{running} of another: {mark}" for mark in MARK.findall(said) if int(mark[0]) != self.number]
        if self.questions.total() != errand.asks:
            self.wrong.append(f"{running}: {self.questions.total()} questions in place of {errand.asks}: {dict(self.questions)}")
        self.right += len(self.wrong) == before


async def warm(pooled: Pooled) -> None:
    """One call that asks, of one caller, to each server: from then on mcpool knows which ones ask. Not knowing that, it lets callers
    share a legacy instance, and refuses the first questions that could be for either of two.
    """
    for kind in KINDS:
        caller = Caller(0, kind, "legacy", pooled.connect(kind))
        async with caller.client:
            await caller.call(errands(kind, 0, 0)[0], "<caller 0 call 0>")


async def run(pooled: Pooled, rounds: int) -> list[Caller]:
    await warm(pooled)
    places = [(kind, era) for era in ERAS for kind in KINDS]
    callers = [Caller(number, kind, era, pooled.connect(kind)) for number, (kind, era) in enumerate(places)]
    for caller, ended in zip(callers, await asyncio.gather(*(one.run(rounds) for one in callers), return_exceptions=True)):
        if ended is not None:
            caller.wrong.append(f"{type(ended).__name__}: {ended}")
    return callers


def report(callers: list[Caller], rounds: int, status: dict[str, Any]) -> list[str]:
    """Prints the table; returns what is wrong."""
    print("| server | callers' era | callers | calls | right | questions |\n|---|---|---|---|---|---|")
    for kind in KINDS:
        for era in dict.fromkeys(ERAS):
            some = [one for one in callers if (one.kind, one.era) == (kind, era)]
            calls = sum(rounds * len(errands(kind, one.number, 0)) for one in some)
            print(f"| {kind} | {era} | {len(some)} | {calls} | {sum(one.right for one in some)} | {sum(one.asked for one in some)} |")
    wrong = [f"caller {one.number} ({one.kind}, {one.era}): {what}" for one in callers for what in one.wrong]
    for one in status["servers"]:
        running = [instance for instance in one["instances"] if instance.get("pid")]
        if len(running) > TOTAL + ASKING:
            wrong.append(f"{one['name']}: {len(running)} processes, {TOTAL + ASKING} are allowed")
    if status.get("held"):
        wrong.append(f"{status['held']} calls are still held")
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mcpool", required=True, help="the mcpool binary")
    parser.add_argument("--rounds", type=int, default=2, help="of all its errands, for each caller")
    args = parser.parse_args()
    warnings.simplefilter("ignore")  # the SDK warns of every legacy method
    with tempfile.TemporaryDirectory(prefix="mcpool-asks-") as temporary:
        directory = Path(temporary).resolve()
        servers, settings = {}, {}
        for kind in KINDS:
            prepare(kind, directory / kind)
            servers[kind] = server(kind, directory / kind)
            most = {"min": 0, "max": TOTAL, "max_alone": TOTAL, "total": TOTAL, "asking": ASKING}
            settings[kind] = {"instances": most} | ({"era": PINNED[kind]} if kind in PINNED else {})
        pooled = Pooled(os.path.abspath(args.mcpool), directory, servers, settings)
        began = time.monotonic()
        try:
            callers = asyncio.run(asyncio.wait_for(run(pooled, args.rounds), ALL_SECONDS))
            wrong = report(callers, args.rounds, pooled.status())
            print(f"\n{sum(one.right for one in callers)} right answers in {time.monotonic() - began:.1f} s")
        finally:
            ended = pooled.stop()
    if not ended:
        wrong.append("the daemon, or a process that it had started, was still there 20 s after SIGTERM")
    print("\n" + "\n".join([f"- {one}" for one in wrong[:40]] or ["everything right"]))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
