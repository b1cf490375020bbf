"""What the era of a caller makes of a checklist's outcomes, and nothing else does.

A caller and a server of different eras meet only behind mcpool, so there is no direct run to compare with. The nearest truth is
the same program in its other era, directly on the same server: that is the server in the very era in which mcpool uses it.
`canonical` takes out of both sides what the eras merely spell differently; `expected` turns the direct run of the one era into
what the other must get. A check that an era cannot express is not left out: here stands, by name, what must come instead.
"""

import copy
import json
import re
from typing import Any

Outcomes = dict[str, Any]

# Requests that only the legacy era has. A modern caller's SDK does not even send most of them, and mcpool refuses them.
LEGACY_ONLY = {"ping", "logging/setLevel", "resources/subscribe", "resources/unsubscribe"}
# Notifications that come to a modern caller only for a `subscriptions/listen` or a `logLevel` of its own.
ON_DEMAND = {
    "notifications/message", "notifications/resources/updated", "notifications/resources/list_changed",
    "notifications/tools/list_changed", "notifications/prompts/list_changed",
}
REFUSED = "refused: this era has no such request"
NOT_MODERN = "not in the legacy era"  # so the clients say of a step that is for modern ones
SDK1_PREFIX = re.compile(r"^(MCP error -?\d+: )+")  # the TypeScript SDK 1.x puts it before every error's message

# Checks that are not compared across the eras, and why.
NOT_COMPARED = {
    "task": "tasks do not cross the eras, see docs/decisions",
    "task that asks": "tasks do not cross the eras, see docs/decisions",
}
RMCP_NOT_MODERN = {"logging", "ping"}  # rmcp's checklist leaves them out itself in the modern era


def era(outcomes: Outcomes) -> str:
    """The era that was negotiated; SDKs that have only one don't tell the revision."""
    return "modern" if outcomes["initialize"].get("protocolVersion", "") >= "2026" else "legacy"


# The same thing, spelled by both eras in their own way.


def spelled(outcomes: Outcomes) -> Outcomes:
    """Without what only tells the era."""
    found = {name: plain(outcome) for name, outcome in copy.deepcopy(outcomes).items()}
    found["initialize"] = introduction(outcomes)
    return found


def canonical(outcomes: Outcomes) -> Outcomes:
    """The same without what is not compared across the eras."""
    return {name: outcome for name, outcome in spelled(outcomes).items() if name not in NOT_COMPARED}


def introduction(outcomes: Outcomes) -> Any:
    """What the caller was told of the server. The Python SDK, told to be modern, doesn't ask: then by the check that does."""
    told = dict(outcomes["initialize"])
    if told.get("serverInfo") is None and "discover" in outcomes:
        told = outcomes["discover"][0]["outcome"].get("result", {})
        told = told | {"serverInfo": told.get("_meta", {}).get("io.modelcontextprotocol/serverInfo")}
    # Tasks are of the revision 2025-11-25 alone, extensions of the modern era.
    offered = {key: value for key, value in told.get("capabilities", {}).items() if key not in ("tasks", "extensions")}
    return {"capabilities": offered, "serverInfo": told.get("serverInfo"), "instructions": told.get("instructions")}


def plain(value: Any) -> Any:
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    if not isinstance(value, dict):
        return value
    if value.get("method") == "notifications/resources/updated":  # rmcp's checklist has the whole of it in the modern era
        return value["params"]["uri"]
    return {key: PARTS.get(key, plain)(inner) for key, inner in result(value).items()}


def result(value: dict[str, Any]) -> dict[str, Any]:
    kept = {key: inner for key, inner in value.items() if key not in ("resultType", "ttlMs", "cacheScope")}
    if isinstance(kept.get("tools"), list):
        # Those that run as tasks only are not shown across the eras.
        tools = [tool for tool in kept["tools"] if (tool.get("execution") or {}).get("taskSupport") != "required"]
        kept["tools"] = [{key: inner for key, inner in tool.items() if key != "execution"} for tool in tools]
    return without_meta(kept, "io.modelcontextprotocol/serverInfo")


def error(value: Any) -> Any:
    if not isinstance(value, dict):  # what rmcp itself says
        return value
    code = -32602 if value["code"] == -32002 else value["code"]  # of a resource that is not there
    return value | {"code": code, "message": SDK1_PREFIX.sub("", value["message"])}


def asks(asked: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """An InputRequest has no progress token, no task and, by URL, no id."""
    less = ("_meta", "task", "elicitationId")
    some = [{**one, "params": {key: inner for key, inner in (one["params"] or {}).items() if key not in less}} for one in asked]
    return sorted(some, key=json.dumps)


def heard(said: dict[str, list[dict[str, Any]]]) -> dict[str, list[Any]]:
    return {method: [notification(one) for one in some] for method, some in said.items()}


def notification(said: dict[str, Any]) -> dict[str, Any]:
    params = without_meta(said.get("params") or {}, "io.modelcontextprotocol/subscriptionId")
    return {"method": said["method"], "params": params}


def without_meta(value: dict[str, Any], key: str) -> dict[str, Any]:
    if not isinstance(value.get("_meta"), dict):
        return value
    meta = {name: inner for name, inner in value["_meta"].items() if name != key}
    rest = {name: inner for name, inner in value.items() if name != "_meta"}
    return rest | ({"_meta": meta} if meta else {})


PARTS = {"error": error, "asks": asks, "heard": heard}  # of an outcome

# What must come in the other era.


def expected(direct: Outcomes, through: Outcomes, checks: dict[str, list[Any]]) -> tuple[Outcomes, Outcomes]:
    """Both sides as they are to be compared: `direct` in the server's era, `through` in the caller's own."""
    caller, offered = era(through), introduction(direct)["capabilities"]
    wanted, got = canonical(direct), canonical(through)
    if caller == "modern":
        wanted["discover"] = [{"step": "server/discover", "outcome": discovered(wanted["initialize"])}]
    for name, steps in checks.items():
        if name in NOT_COMPARED or name == "discover" and caller == "modern" or not isinstance(wanted[name], list):
            continue  # (no list: what `normalise` has already made a whole of)
        wanted[name], got[name] = copy.deepcopy(wanted[name]), got.get(name) or [{"outcome": "<not reached>"} for _ in steps]
        for index, step in enumerate(steps):
            to_caller(caller, offered, step, wanted[name][index], got[name][index])
        if name == "elicitation refused" and caller == "legacy":
            # A modern server can't be told of an error: the nearest is that the user dismissed the question.
            wanted[name] = wanted["elicitation: cancel"]
    if not checks:
        of_rmcp(caller, offered, wanted)
    return wanted, got


def discovered(told: dict[str, Any]) -> Any:
    """The answer to a modern caller's `server/discover`, from what the legacy server said of itself."""
    some = {key: told[key] for key in ("capabilities", "instructions") if told[key] is not None}
    return {"result": {"supportedVersions": ["2026-07-28"], **some}}


def to_caller(caller: str, offered: dict[str, Any], step: dict[str, Any], wanted: dict[str, Any], got: dict[str, Any]) -> None:
    """One step of a check: changes `wanted` to what this caller's era can have of it."""
    method = step.get("send", "")
    if caller == "legacy" and step.get("era") == "modern":
        wanted["outcome"] = NOT_MODERN
    elif "roots" in step:
        got["outcome"] = wanted["outcome"]  # whether the SDK still sends the notification: the modern era has none
    elif "listen" in step:
        wanted["outcome"] = REFUSED  # by a legacy SDK; of a modern one `crossed` says what comes
    elif method in LEGACY_ONLY or method.startswith("tasks/") or method == "subscriptions/listen":
        wanted["outcome"] = answered_here(method, offered) if caller == "legacy" else REFUSED
    elif refusal := next((one["error"] for one in step.get("answers", {}).values() if "error" in one and "asks" in wanted), None):
        # A modern client fails its own call; a legacy caller's error ends the call that asked, in mcpool, which quotes it.
        wanted["outcome"] = {"error": refusal if caller == "modern" else {"code": -32603, "message": refusal["message"]}}
        if caller == "legacy" and "error" in got["outcome"] and refusal["message"] in got["outcome"]["error"]["message"]:
            got["outcome"]["error"]["message"] = refusal["message"]
    if "heard" in wanted and (caller == "modern" or "listen" in step):
        wanted["heard"] = {key: [] if key in ON_DEMAND else said for key, said in wanted["heard"].items()}
    crossed = step.get("crossed", {}).get(caller, {})
    if isinstance(crossed, str):  # why there is nothing to compare
        wanted["outcome"] = got["outcome"] = crossed
        return
    wanted |= copy.deepcopy(crossed)
    if wanted["outcome"] == {"error": {"code": -32602}} and "error" in got["outcome"]:
        got["outcome"] = {"error": {"code": got["outcome"]["error"]["code"]}}  # the words are mcpool's own
    if wanted["outcome"] == REFUSED and refused(got["outcome"]):
        got["outcome"] = REFUSED


def answered_here(method: str, offered: dict[str, Any]) -> Any:
    """What a legacy caller of a modern server gets from mcpool itself."""
    served = {
        "ping": True,
        "logging/setLevel": "logging" in offered,
        "resources/subscribe": (offered.get("resources") or {}).get("subscribe"),
        "resources/unsubscribe": (offered.get("resources") or {}).get("subscribe"),
    }
    return {"result": {}} if served.get(method) else REFUSED


def refused(outcome: Any) -> bool:
    """By the other side as an unknown method, or by the SDK, which knows its era."""
    return isinstance(outcome, dict) and ("raised" in outcome or outcome.get("error", {}).get("code") == -32601)


def of_rmcp(caller: str, offered: dict[str, Any], wanted: Outcomes) -> None:
    """rmcp's own checklist, which is the same for every server."""
    wanted.pop("discover", None)
    if isinstance(wanted.get("tools"), list):
        # Those that run as tasks only are not shown across the eras; the reference server has this one, whose mark rmcp drops.
        wanted["tools"] = [tool for tool in wanted["tools"] if tool.get("name") != "simulate-research-query"]
    for name in RMCP_NOT_MODERN:
        wanted.pop(name, None)
    if caller == "legacy":
        wanted["ping"] = {}
        if "logging" in offered:
            wanted["logging"] = None
