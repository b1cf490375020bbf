"""A server on the Python SDK that speaks both eras and asks in both: what no published reference server does yet. Modern callers
are asked by an InputRequiredResult, with a requestState that only this process can open; legacy ones by requests.
"""

from typing import Annotated, Any

import anyio
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.resolve import Elicit, ElicitationResult, ListRoots, Resolve, Sample
from mcp.types import Completion, CreateMessageResult, ListRootsResult, SamplingMessage, TextContent
from pydantic import BaseModel

server = MCPServer(
    "both-eras", title="Both eras", version="1.2.3", instructions="Says what it is told.", log_level="CRITICAL"
)
notes: dict[str, str] = {}


class Name(BaseModel):
    name: str
    age: int = 0


async def who(question: str) -> Elicit[Name]:
    return Elicit(question, Name)


async def who_next(question: str, first: Annotated[Name, Resolve(who)]) -> Elicit[Name]:
    return Elicit(f"{question} After {first.name}?", Name)


async def who_last(
    question: str, first: Annotated[Name, Resolve(who)], second: Annotated[Name, Resolve(who_next)]
) -> Elicit[Name]:
    return Elicit(f"{question} After {first.name} and {second.name}?", Name)


async def opinion(question: str) -> Sample:
    message = SamplingMessage(role="user", content=TextContent(type="text", text=question))
    return Sample([message], max_tokens=16, system_prompt="Be brief.")


async def where() -> ListRoots:
    return ListRoots()


@server.tool()
async def echo(message: str) -> str:
    """Says the message again."""
    return f"Echo: {message}"


@server.tool()
async def ask_name(question: str, name: Annotated[ElicitationResult[Name], Resolve(who)]) -> str:
    """Asks the user."""
    return f"{question} {name.action}: {getattr(name, 'data', None)!r}"


@server.tool()
async def ask_model(question: str, said: Annotated[CreateMessageResult, Resolve(opinion)]) -> str:
    """Asks the caller's model."""
    return f"{question} {said.model_dump_json(by_alias=True, exclude_none=True)}"


@server.tool()
async def ask_roots(roots: Annotated[ListRootsResult, Resolve(where)]) -> list[str]:
    """Asks for the caller's roots."""
    return [f"{root.name}: {root.uri}" for root in roots.roots]


@server.tool()
async def ask_twice(
    question: str,
    name: Annotated[Name, Resolve(who)],
    said: Annotated[CreateMessageResult, Resolve(opinion)],
) -> dict[str, Any]:
    """Asks the user and the caller's model."""
    return {"name": name.model_dump(), "model": said.model}


@server.tool()
async def ask_thrice(
    question: str,
    first: Annotated[Name, Resolve(who)],
    second: Annotated[Name, Resolve(who_next)],
    third: Annotated[Name, Resolve(who_last)],
) -> str:
    """Asks the user three times in a row."""
    return f"{question} {first.name}, {second.name}, {third.name}"


@server.tool()
async def count(steps: int, seconds: float, ctx: Context) -> str:
    """Counts, with progress and a log line for each step."""
    for step in range(1, steps + 1):
        await ctx.report_progress(step, steps, f"step {step}")
        await (ctx.warning if step % 2 == 0 else ctx.info)(f"at step {step}", logger_name="count")
        await anyio.sleep(seconds / steps)
    return f"counted to {steps}"


@server.tool()
async def write_note(name: str, text: str, ctx: Context) -> str:
    """Writes a note and tells who listens for it."""
    notes[name] = text
    await ctx.notify_resource_updated(f"note://{name}")
    return "written"


@server.tool()
async def announce(ctx: Context) -> str:
    """Says that the lists have changed."""
    await ctx.notify_tools_changed()
    await ctx.notify_prompts_changed()
    await ctx.notify_resources_changed()
    return "announced"


@server.resource("note://{name}", mime_type="text/plain")
def note(name: str) -> str:
    """A note."""
    return notes.get(name, "nothing written")


@server.resource("note://fixed/about", mime_type="text/plain")
def about() -> str:
    """What this is."""
    return "A server for tests."


@server.prompt()
def greeting(name: str, style: str = "plain") -> str:
    """Greets somebody."""
    return f"Greet {name}, {style}."


@server.completion()
async def complete(ref: Any, argument: Any, context: Any) -> Completion:
    styles = ["formal", "friendly", "plain"]
    return Completion(values=[style for style in styles if style.startswith(argument.value)], has_more=False)


if __name__ == "__main__":
    server.run()
