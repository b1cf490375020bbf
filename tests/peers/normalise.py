"""Takes out of a checklist's outcomes what differs between any two runs, and nothing else: each rule says why."""

import base64
import json
import re
from typing import Any

TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\d(T\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d))")
UUID = re.compile(r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b")
TASK = re.compile(r"\b[0-9a-f]{32}\b")
CLOCK = re.compile(r"created at \d+:\d\d:\d\d( ?[AP]M)?")
FILE_TIMES = re.compile(r"^(created|modified|accessed): .*$", re.MULTILINE)


def normalise(outcomes: dict[str, Any]) -> dict[str, Any]:
    return {name: check(name, outcome) for name, outcome in outcomes.items()}


def check(name: str, outcome: Any) -> Any:
    if name == "environment":
        # mcpool's daemon starts servers from an environment of its own: the configured part is what must arrive.
        return configured_environment(outcome)
    # Of a converted time only the day depends on when it is asked; the time of day is the answer.
    converted = name in ("convert", "twenty at once")
    return walk(outcome, lambda text: TIMESTAMP.sub(r"<date>\1" if converted else "<time>", text))


def walk(value: Any, times: Any) -> Any:
    if isinstance(value, str):
        return plain_text(times(value))
    if isinstance(value, list):
        return [walk(inner, times) for inner in value if not made_in_a_call(inner)]
    if not isinstance(value, dict):
        return value
    if "asks" in value:
        value = {**value, "asks": sorted((without_token(ask) for ask in value["asks"]), key=json.dumps)}
    if random_log_line(value):
        return {**value, "level": "<random>", "data": "<random>"}
    return {key: blob(inner) if key == "blob" and isinstance(inner, str) else walk(inner, times) for key, inner in value.items()}


def without_token(ask: dict[str, Any]) -> dict[str, Any]:
    """A server's progress token names its ask and nothing else: mcpool makes those of all servers distinct."""
    params = ask["params"] or {}
    meta = params.get("_meta", {})
    return ask if "progressToken" not in meta else {**ask, "params": {**params, "_meta": {**meta, "progressToken": "<token>"}}}


def plain_text(text: str) -> str:
    text = UUID.sub("<uuid>", text)  # ids of URL elicitations
    text = TASK.sub("<task>", text)
    text = CLOCK.sub("created at <time>", text)  # in every dynamic resource of server-everything
    return FILE_TIMES.sub(r"\1: <time>", text)  # file times, of get_file_info


def blob(data: str) -> str:
    """A blob resource of server-everything is a sentence with the time in it; other blobs stay as they are."""
    try:
        text = base64.b64decode(data).decode()
    except ValueError:
        return data
    return CLOCK.sub("created at <time>", text) if CLOCK.search(text) else data


def made_in_a_call(item: Any) -> bool:
    """server-everything lists what any earlier call made, so the list depends on how old the process is."""
    return isinstance(item, dict) and "name" in item and str(item.get("uri", "")).startswith("demo://resource/session/") \
        and item.get("type") != "resource_link"


def random_log_line(value: dict[str, Any]) -> bool:
    """Simulated logging picks one of eight lines at random; it must still be one of them, level and text agreeing."""
    data = value.get("data")
    return isinstance(data, str) and re.fullmatch(rf"{value.get('level')}[- ]level[- ]message", data, re.IGNORECASE) is not None


def configured_environment(outcome: Any) -> Any:
    try:
        content = outcome[0]["outcome"]["result"]["content"][0]["text"]
        return {key: value for key, value in json.loads(content).items() if key.startswith("PEER_")}
    except (KeyError, IndexError, TypeError, ValueError):
        return outcome
