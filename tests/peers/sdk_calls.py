"""The Python SDK's own method for each request of the protocol, by the request's name; python_client.py calls them so."""

from typing import Any

import mcp_types as types
from mcp import Client
from pydantic import BaseModel, TypeAdapter

ANYTHING = TypeAdapter(dict[str, Any])


class AnyRequest(types.Request[dict[str, Any] | None, str]):
    """A request that the SDK has no method for, or one with params that its own method would refuse."""


class AnyNotification(types.Notification[dict[str, Any] | None, str]):
    """Likewise a notification."""


async def request(
    client: Client, method: str, params: Any, raw: bool, on_progress: Any = None, cursor: str | None = None
) -> Any:
    typed = None if raw else TYPED.get(method)
    if typed is None:
        anything = AnyRequest(method=method, params=params)
        return await client.session.send_request(anything, ANYTHING, progress_callback=on_progress)
    if method.endswith("/list"):
        return await typed(client, cursor=cursor)
    if method == "tools/call":
        more = {"progress_callback": on_progress, "meta": params.get("_meta")}
        return await client.call_tool(params["name"], params["arguments"], **more)
    return await typed(client, params)


def complete(client: Client, params: dict[str, Any]) -> Any:
    kind = types.PromptReference if params["ref"]["type"] == "ref/prompt" else types.ResourceTemplateReference
    context = params.get("context", {}).get("arguments")
    return client.complete(kind.model_validate(params["ref"]), params["argument"], context)


TYPED = {
    "tools/list": Client.list_tools,
    "prompts/list": Client.list_prompts,
    "resources/list": Client.list_resources,
    "resources/templates/list": Client.list_resource_templates,
    "tools/call": Client.call_tool,
    "prompts/get": lambda client, params: client.get_prompt(params["name"], params.get("arguments")),
    "resources/read": lambda client, params: client.read_resource(params["uri"]),
    "resources/subscribe": lambda client, params: client.subscribe_resource(params["uri"]),
    "resources/unsubscribe": lambda client, params: client.unsubscribe_resource(params["uri"]),
    "logging/setLevel": lambda client, params: client.set_logging_level(params["level"]),
    "completion/complete": complete,
    "ping": lambda client, params: client.send_ping(),
}


def plain(value: Any) -> Any:
    """What the SDK made of a message, as JSON again, without what it filled in itself."""
    return value.model_dump(by_alias=True, mode="json", exclude_unset=True) if isinstance(value, BaseModel) else value
