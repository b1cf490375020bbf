"""Some of the crowd's callers, in one process; crowd.py starts a few of these. Reads its orders as JSON on stdin, prints what
happened as JSON: for each caller its right answers, the first few wrong ones, and what came over its wire.
"""

import asyncio
import json
import sys
import time
from collections import Counter
from typing import Any

from mcp import Client, types
from mcp.shared.exceptions import MCPError

from lines import over_command, over_socket

MODES = {"legacy": "legacy", "modern": "2026-07-28", "auto": "auto"}
CALL_SECONDS, CONNECT_SECONDS = 60, 60
SAMPLES = 3  # wrong answers told in full


def errand(kind: str, caller: int, number: int) -> tuple[str, dict[str, Any], Any]:
    """A call that no other caller and no other call makes: the tool, its arguments, and whether an answer is its own."""
    if kind == "everything":
        if number % 40 == 39:
            steps = 1 + caller % 7
            own = f"Duration: 0.{caller:03}{number:03}1 seconds, Steps: {steps}."
            arguments = {"duration": float(f"0.{caller:03}{number:03}1"), "steps": steps}
            return "trigger-long-running-operation", arguments, lambda text: text.endswith(own)
        message = f'caller {caller} "call" {number} \\ é'
        return "echo", {"message": message}, lambda text: text == f"Echo: {message}"
    if kind == "time":
        # Zones tell the caller, minutes tell the call. (The sign of an Etc zone is the other way round.)
        source, target = f"Etc/GMT+{1 + caller % 12}", f"Etc/GMT-{1 + caller // 12}"
        clock = f"{number * 7 // 60 % 24:02}:{number * 7 % 60:02}"
        hours = 2 + caller % 12 + caller // 12

        def own(text: str) -> bool:
            found = json.loads(text)
            return (found["source"]["timezone"], found["target"]["timezone"], found["source"]["datetime"][11:16]) == (
                source, target, clock) and found["time_difference"] == f"+{hours}.0h"

        return "convert_time", {"source_timezone": source, "time": clock, "target_timezone": target}, own
    content = f"caller {caller} call {number}\n"
    return "git_show", {"revision": f"HEAD:{caller}/{number}.txt"}, lambda text: text == content


class Caller:
    def __init__(self, order: dict[str, Any]) -> None:
        self.order = order
        self.right = 0
        self.wrong: Counter[str] = Counter()
        self.took: list[float] = []  # seconds
        self.requests: Counter[Any] = Counter()
        self.answers: Counter[Any] = Counter()

    def tap(self, direction: str, message: Any) -> None:
        if direction == "sent" and isinstance(message, types.JSONRPCRequest):
            self.requests[message.id] += 1
        elif direction == "received" and isinstance(message, types.JSONRPCResponse | types.JSONRPCError):
            self.answers[message.id] += 1

    async def run(self) -> dict[str, Any]:
        order = self.order
        over = over_command(order["connect"], self.tap) if "connect" in order else over_socket(order["socket"], self.tap)
        client = Client(over, mode=MODES[order["era"]], cache=None)
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await client.__aenter__()
        except Exception as error:
            return self.told() | {"failed": f"no connection: {type(error).__name__}: {error}"}
        try:
            todo = iter(range(order["calls"]))
            await asyncio.gather(*(self.work(client, todo) for _ in range(order["in_flight"])))
        finally:
            await client.__aexit__(None, None, None)
        return self.told()

    async def work(self, client: Client, todo: Any) -> None:
        for number in todo:
            tool, arguments, own = errand(self.order["server"], self.order["caller"], number)
            progress: list[float] = []

            async def on_progress(done: float, *_: Any) -> None:
                progress.append(done)

            follow = on_progress if tool == "trigger-long-running-operation" else None
            arguments |= self.order.get("arguments", {})
            began = time.perf_counter()
            try:
                result = await client.call_tool(tool, arguments, CALL_SECONDS, progress_callback=follow)
                text = result.content[0].text
                # Progress that belongs to another call would count wrongly; the last one may come after the answer.
                counted = progress in ([float(n + 1) for n in range(k)] for k in range(arguments.get("steps", 0) + 1))
                if own(text) and (follow is None or counted):
                    self.right += 1
                else:
                    self.wrong[f"{tool} {arguments} answered {text[:200]!r}, progress {progress}"] += 1
            except MCPError as error:
                self.wrong[f"error {error.code}: {error.message}"] += 1
            except Exception as error:
                self.wrong[f"{type(error).__name__}: {str(error)[:200]}"] += 1
            self.took.append(time.perf_counter() - began)

    def told(self) -> dict[str, Any]:
        return {
            "caller": self.order["caller"], "server": self.order["server"], "era": self.order["era"],
            "right": self.right, "wrong": sum(self.wrong.values()), "samples": self.wrong.most_common(SAMPLES),
            "took": self.took,
            "requests": sum(self.requests.values()),
            "unanswered": sum((self.requests - self.answers).values()),
            "surplus": sum((self.answers - self.requests).values()),  # second answers, and answers to nothing asked
        }


async def main() -> None:
    orders = json.load(sys.stdin)
    told = await asyncio.gather(*(Caller(order).run() for order in orders))
    json.dump(told, sys.stdout)


if __name__ == "__main__":
    asyncio.run(main())
