"""A server on FastMCP 4, which speaks both eras but asks differently in each: a tool that asks in its midst (`ctx.elicit`, and
the session's own requests) works with legacy callers alone, one that returns what it asks (`guard_…`) with modern ones alone.
"""

from typing import Any

import anyio
from fastmcp import Context, FastMCP
from mcp_types import (
    ElicitRequest,
    ElicitRequestFormParams,
    ElicitRequestURLParams,
    CreateMessageRequest,
    CreateMessageRequestParams,
    InputRequiredResult,
    ListRootsRequest,
    SamplingMessage,
    TextContent,
)
from pydantic import BaseModel

server = FastMCP("fast", version="4.5.6", instructions="Asks before it does anything.")


class Name(BaseModel):
    name: str
    age: int = 0


NAME_SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
    "required": ["name"],
}


def message(text: str) -> list[SamplingMessage]:
    return [SamplingMessage(role="user", content=TextContent(type="text", text=text))]


def said(result: BaseModel) -> str:
    return result.model_dump_json(by_alias=True, exclude_none=True, exclude={"result_type"})


@server.tool
async def echo(message: str) -> str:
    """Says the message again."""
    return f"Echo: {message}"


@server.tool
async def count(steps: int, seconds: float, ctx: Context) -> str:
    """Counts, with progress and a log line for each step."""
    for step in range(1, steps + 1):
        await ctx.report_progress(step, steps, f"step {step}")
        await (ctx.warning if step % 2 == 0 else ctx.info)(f"at step {step}", logger_name="count")
        await anyio.sleep(seconds / steps)
    return f"counted to {steps}"


# Asked in the midst of the call, by a request of the server: the legacy era.


@server.tool
async def ask_name(question: str, ctx: Context) -> str:
    """Asks the user."""
    answer = await ctx.elicit(question, Name)
    return f"{question} {answer.action}: {getattr(answer, 'data', None)!r}"


@server.tool
async def ask_link(question: str, ctx: Context) -> str:
    """Asks the user to open a page."""
    url = f"https://example.org/open?for={question.partition(' ')[0]}"
    answer = await ctx.session.elicit_url(question, url, f"link of {question}", ctx.request_id)
    return f"{question} {answer.action}"


@server.tool
async def ask_model(question: str, ctx: Context) -> str:
    """Asks the caller's model."""
    answer = await ctx.session.create_message(message(question), max_tokens=16, related_request_id=ctx.request_id)
    return f"{question} {said(answer)}"


@server.tool
async def ask_roots(ctx: Context) -> str:
    """Asks for the caller's roots."""
    return said(await ctx.session.list_roots())


@server.tool
async def ask_both(question: str, ctx: Context) -> str:
    """Asks the user and the caller's model, both at once."""
    answers: dict[str, str] = {}

    async def user() -> None:
        answer = await ctx.elicit(question, Name)
        answers["user"] = f"{answer.action}: {getattr(answer, 'data', None)!r}"

    async def model() -> None:
        answers["model"] = said(
            await ctx.session.create_message(message(question), max_tokens=16, related_request_id=ctx.request_id)
        )

    async with anyio.create_task_group() as both:
        both.start_soon(user)
        both.start_soon(model)
    return f"{question} {answers['user']} {answers['model']}"


@server.tool
async def ask_thrice(question: str, ctx: Context) -> str:
    """Asks three times in a row, each time naming the answer before, and tells its progress."""
    answers = []
    for number in range(1, 4):
        if number > 1:  # between the questions: TypeScript clients lose progress that comes with the answer
            await ctx.report_progress(number, 4)
        answer = await ctx.elicit(f"{question} ({number}, after {answers[-1:]})", Name)
        answers.append(getattr(answer, "data", None) and answer.data.name)
    return f"{question} {answers}"


@server.prompt
async def asking_prompt(topic: str, ctx: Context) -> str:
    """Asks the user before it is given."""
    answer = await ctx.elicit(f"Who wants {topic}?", Name)
    return f"Write to {getattr(answer, 'data', None)!r} of {topic}."


@server.resource("asked://{topic}")
async def asked(topic: str, ctx: Context) -> str:
    """Asks the user before it is read."""
    answer = await ctx.elicit(f"Who reads {topic}?", Name)
    return f"{topic}, for {getattr(answer, 'data', None)!r}"


# Asked by the call's result, which the caller's next try answers: the modern era.


def form(question: str) -> ElicitRequest:
    return ElicitRequest(params=ElicitRequestFormParams(message=question, requested_schema=NAME_SCHEMA))


def sample(question: str) -> CreateMessageRequest:
    return CreateMessageRequest(params=CreateMessageRequestParams(messages=message(question), max_tokens=16))


@server.tool
async def guard_both(question: str, ctx: Context) -> Any:
    """Asks the user, for a page too, and the caller's model and roots, all at once."""
    answers = ctx.input_responses
    if answers is None:
        page = ElicitRequest(params=ElicitRequestURLParams(message=question, url="https://example.org/page"))
        asks = {"user": form(question), "page": page, "model": sample(question), "roots": ListRootsRequest()}
        return InputRequiredResult(input_requests=asks, request_state=f"asked {question}")
    return f"{ctx.request_state}: " + " ".join(said(answers[key]) for key in ("user", "page", "model", "roots"))


@server.tool
async def guard_thrice(question: str, ctx: Context) -> Any:
    """Asks three times in a row, each time naming the answer before."""
    answered = (ctx.request_state or "").split("|") if ctx.request_state else []
    if ctx.input_responses:
        answered.append(said(ctx.input_responses[f"ask {len(answered)}"]))
    if len(answered) < 3:
        asks = {f"ask {len(answered)}": form(f"{question} ({len(answered) + 1}, after {answered[-1:]})")}
        return InputRequiredResult(input_requests=asks, request_state="|".join(answered))
    return f"{question} {answered}"


if __name__ == "__main__":
    server.run(show_banner=False)
