"""Is every line that mcpool sends valid against the JSON schema of the revision that its receiver speaks? Reads what wire_tap.py
wrote on both sides of mcpool. compare.py calls it for each pair.

The schemas are the specification's own (`../shared/spec` beside the repository). What a peer itself said wrongly and mcpool
only passed on is not mcpool's fault: the peer's own lines are judged in the same way first.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

SCHEMAS = Path(__file__).resolve().parents[3] / "shared" / "spec"
MODERN = "2026-07-28"
LEGACY = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"]
VERSION = "io.modelcontextprotocol/protocolVersion"
CAN_ASK = {"tools/call", "prompts/get", "resources/read"}  # whose result may be an InputRequiredResult
SHOWN = 600  # characters of a line in a violation

Flaw = tuple[str, str, str]  # the definition, the place in the message, the schema's keyword


def available() -> bool:
    return SCHEMAS.is_dir()


class Revision:
    """The definitions of one revision, by what they are for."""

    def __init__(self, name: str) -> None:
        from jsonschema.validators import validator_for

        self.schema = json.loads((SCHEMAS / f"{name}.schema.json").read_text())
        self.where = "$defs" if "$defs" in self.schema else "definitions"
        self.definitions = self.schema[self.where]
        self.validator = validator_for(self.schema)
        self.validators: dict[str, Any] = {}
        self.known: dict[tuple[str, int], list[Flaw]] = {}  # the same lines come again and again
        self.methods = {
            definition["properties"]["method"]["const"]: name
            for name, definition in self.definitions.items()
            if "const" in definition.get("properties", {}).get("method", {})
        }

    def flaws(self, definition: str, value: Any) -> list[Flaw]:
        key = definition, hash(json.dumps(value, sort_keys=True))
        if key not in self.known:
            self.known[key] = [
                (definition, place(error.absolute_path), f"{error.validator}: {error.message}"[:300])
                for error in self.of(definition).iter_errors(value)
            ]
        return self.known[key]

    def of(self, definition: str) -> Any:
        if definition not in self.validators:
            self.validators[definition] = self.validator({**self.schema, "$ref": f"#/{self.where}/{definition}"})
        return self.validators[definition]

    def result_of(self, request: str) -> str:
        name = request.removesuffix("Request") + "Result"
        return name if name in self.definitions else "EmptyResult"


def place(path: Any) -> str:
    return "".join(f"/{part if isinstance(part, str) else '*'}" for part in path)


@cache
def revision(name: str) -> Revision:
    return Revision(name)


@dataclass
class Talk:
    """One connection, as a tap wrote it down."""

    negotiated: str = ""  # empty: modern, until an `initialize` is answered
    asked: dict[tuple[str, Any], tuple[str, str, Any]] = field(default_factory=dict)  # by direction and id: revision, method, params
    carried: dict[str, list[Flaw]] = field(default_factory=lambda: {"<": [], ">": []})  # by direction

    def flaws(self, mark: str, message: dict[str, Any]) -> list[Flaw]:
        """What is wrong with a message that goes `>` to the server's side, or `<` to the client's."""
        if "method" not in message:
            return self.answer(mark, message)
        method, params = message["method"], message.get("params")
        spoken = self.revision_of(method, params)
        if "id" in message:
            self.asked[mark, message["id"]] = (spoken, method, params)
        definitions = revision(spoken)
        shape = "JSONRPCRequest" if "id" in message else "JSONRPCNotification"
        found = definitions.flaws(shape, without_id(message))
        if name := definitions.methods.get(method):
            found = found + definitions.flaws(name, without_id(message))
            self.carried[mark] += carried(params, "inputResponses", of_answer)
            if "params" not in message:  # mcpool adds them, for `_meta`
                self.carried[mark] += definitions.flaws(name, without_id(message) | {"params": {}})
            if spoken == MODERN and mark == "<" and "id" in message:
                found = found + [(name, "/method", "the modern era has no requests of a server")]
        elif any(method in revision(other).methods for other in [*LEGACY, MODERN]):
            found = found + [("method", "/method", f"{method} is not of this revision")]
        return found

    def revision_of(self, method: str, params: Any) -> str:
        meta = params.get("_meta") if isinstance(params, dict) else None
        if isinstance(meta, dict) and meta.get(VERSION) or method in ("server/discover", "subscriptions/listen"):
            return MODERN
        if method in ("initialize", "notifications/initialized"):
            told = params.get("protocolVersion") if isinstance(params, dict) else None
            return self.negotiated or (told if told in LEGACY else LEGACY[-1])
        return self.negotiated or MODERN

    def answer(self, mark: str, message: dict[str, Any]) -> list[Flaw]:
        """Of whose request? Of the one with this id that went the other way."""
        spoken, method, params = self.asked.pop((">" if mark == "<" else "<", message.get("id")), ("", "", None))
        if not spoken:
            return [("answer", "/id", "nobody asked with this id")]
        definitions = revision(spoken)
        if "error" in message:
            shape = "JSONRPCErrorResponse" if "JSONRPCErrorResponse" in definitions.definitions else "JSONRPCError"
            return definitions.flaws(shape, without_id(message))
        shape = "JSONRPCResultResponse" if "JSONRPCResultResponse" in definitions.definitions else "JSONRPCResponse"
        result = message.get("result")
        found = definitions.flaws(shape, without_id(message))
        if method == "initialize" and isinstance(result, dict):
            self.negotiated = result.get("protocolVersion", "")
            if self.negotiated not in LEGACY:
                self.negotiated = LEGACY[-1]
        if name := definitions.methods.get(method):
            found = found + definitions.flaws(self.result_of(definitions, name, method, params, result), result)
            self.carried[mark] += carried(result, "inputRequests", lambda ask: revision(LEGACY[-1]).methods.get(ask.get("method")))
        return found

    @staticmethod
    def result_of(definitions: Revision, name: str, method: str, params: Any, result: Any) -> str:
        kind = result.get("resultType") if isinstance(result, dict) else None
        if kind == "input_required" and method in CAN_ASK and "InputRequiredResult" in definitions.definitions:
            return "InputRequiredResult"
        if isinstance(params, dict) and "task" in params and "CreateTaskResult" in definitions.definitions:
            return "CreateTaskResult"
        return definitions.result_of(name)


def carried(value: Any, key: str, definition: Any) -> list[Flaw]:
    """What is wrong with the asks in a result, or with the answers in a request, by the definitions of the legacy era, in which
    they travel alone: so a peer's own flaw is known when mcpool passes it on there."""
    some = value.get(key) if isinstance(value, dict) else None
    found: list[Flaw] = []
    for one in some.values() if isinstance(some, dict) else []:
        if isinstance(one, dict) and (name := definition(one)):
            found = found + revision(LEGACY[-1]).flaws(name, one | {"jsonrpc": "2.0", "id": 0} if key == "inputRequests" else one)
    return found


def of_answer(answer: dict[str, Any]) -> str:
    return "ElicitResult" if "action" in answer else "ListRootsResult" if "roots" in answer else "CreateMessageResult"


def without_id(message: dict[str, Any]) -> dict[str, Any]:
    """With the same id in place of every id of its kind, so that equal messages are equal."""
    return message | {"id": "id" if isinstance(message["id"], str) else 0} if isinstance(message.get("id"), (int, str)) else message


@dataclass
class Log:
    """A connection's lines, each with its direction and its flaws; and the flaws of what travelled in them, by direction."""

    lines: list[tuple[str, str, list[Flaw]]]
    carried: dict[str, list[Flaw]]

    def flaws_of(self, mark: str) -> Iterator[Flaw]:
        yield from self.carried[mark]
        yield from (flaw for of, _, flaws in self.lines if of == mark for flaw in flaws)


@dataclass
class Verdict:
    lines: int = 0  # that mcpool sent
    peers: int = 0  # of them with a flaw that is a peer's own
    violations: list[str] = field(default_factory=list)


def check(directory: Path) -> Verdict:
    """All that was tapped of one pair: `client.*` between the client and mcpool, `server.*` between mcpool and the server."""
    verdict = Verdict()
    logs = {side: [judged(path) for path in sorted(directory.glob(f"{side}.*"))] for side in ("client", "server")}
    # A peer's own flaws, by the side that mcpool passes them on to.
    own = {
        "client": {flaw_key(flaw) for log in logs["server"] for flaw in log.flaws_of("<")},
        "server": {flaw_key(flaw) for log in logs["client"] for flaw in log.flaws_of(">")},
    }
    for side, from_mcpool in (("client", "<"), ("server", ">")):
        for log in logs[side]:
            for mark, line, flaws in log.lines:
                if mark != from_mcpool:
                    continue
                verdict.lines += 1
                fault = [flaw for flaw in flaws if flaw_key(flaw) not in own[side]]
                verdict.peers += bool(flaws) and not fault
                if fault:
                    why = "; ".join(f"{name}{where}: {what}" for name, where, what in fault[:3])
                    verdict.violations.append(f"to the {side}: {why}\n      {line[:SHOWN]}")
    return verdict


def flaw_key(flaw: Flaw) -> tuple[str, str, str]:
    definition, where, what = flaw
    return definition, where, what.partition(":")[0]


def judged(path: Path) -> Log:
    talk, found = Talk(), []
    for mark, line in lines(path):
        try:
            message = json.loads(line)
        except ValueError as error:
            found.append((mark, line, [("line", "", f"not JSON: {error}")]))
            continue
        for one in message if isinstance(message, list) else [message]:
            found.append((mark, line, talk.flaws(mark, one) if isinstance(one, dict) else [("line", "", "no object")]))
    return Log(found, talk.carried)


def lines(path: Path) -> Iterator[tuple[str, str]]:
    with path.open(encoding="utf-8", errors="replace", newline="\n") as log:
        for line in log:
            if line.endswith("\n"):  # the last one may still be on its way
                yield line[0], line[2:-1]
