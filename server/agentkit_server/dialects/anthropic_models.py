"""The store's models as Anthropic lists them: what openai_models answers to a client of Anthropic's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from agentkit_server.dialects.anthropic_errors import new_request_id
from agentkit_server.dialects.openai_wire import json_response
from agentkit_server.errors import BadRequest
from agentkit_server.models.model import Model

PAGE, LONGEST_PAGE = 20, 1000
"""Models of a page that says nothing, and at most."""
ACTIVE = "active"
ContextLength = Callable[[Model], int]


def models_page(request: Request, models: Sequence[Model], context_length: ContextLength) -> Response:
    """One page of `models`, which `limit`, `after_id`, `before_id` and `lifecycle` in the query choose.

    Raises BadRequest for a value that cannot be read, and for a cursor that is no model.
    """
    query = request.query_params
    stages = [*query.getlist("lifecycle"), *query.getlist("lifecycle[]")]
    if stages and ACTIVE not in stages:
        models = []
    names = [model.name.short for model in models]
    limit, (begin, end) = _limit(query.get("limit")), (0, len(models))
    before, after = query.get("before_id"), query.get("after_id")
    if before is not None:
        end = _place(names, before, "before_id")
    if after is not None:
        begin = _place(names, after, "after_id") + 1
    # A page before something ends there; every other one begins where it may.
    first = max(begin, end - limit) if before is not None and after is None else begin
    page = models[first : max(first, min(end, first + limit))]
    told = {
        "data": [model_object(model, context_length(model)) for model in page],
        "has_more": end - begin > len(page),
        "first_id": page[0].name.short if page else None,
        "last_id": page[-1].name.short if page else None,
    }
    return json_response(told, {"request-id": new_request_id()})


def one_model(model: Model, context_length: int) -> Response:
    """`model` alone."""
    return json_response(model_object(model, context_length), {"request-id": new_request_id()})


def model_object(model: Model, context_length: int) -> dict[str, Any]:
    """The `model` object. An answer may take all of the context that its prompt leaves."""
    return {
        "type": "model",
        "id": model.name.short,
        "display_name": model.name.short.removesuffix(":latest"),
        "created_at": model.modified_at.isoformat(),
        "lifecycle": ACTIVE,
        "max_input_tokens": context_length,
        "max_tokens": context_length,
        "capabilities": _capabilities(model),
    }


def _capabilities(model: Model) -> dict[str, Any]:
    answers = "completion" in model.capabilities
    thinks = answers and "thinking" in model.capabilities
    levels = {level: _supported(thinks) for level in ("low", "medium", "high", "xhigh", "max")}
    types = {
        "enabled": _supported(thinks),
        "adaptive": _supported(answers),
        "disabled": _supported(answers),
        "between_tools": _supported(False),
    }
    return {
        "batch": _supported(False),
        "citations": _supported(False),
        "code_execution": _supported(False),
        "context_management": _supported(False),
        "effort": _supported(thinks) | levels,
        "image_input": _supported(False),
        "pdf_input": _supported(False),
        "server_tools": _supported(False)
        | {"code_execution": _supported(False), "web_search": _supported(False)},
        "structured_outputs": _supported(answers),
        "thinking": _supported(thinks) | {"types": types},
    }


def _supported(is_so: bool) -> dict[str, Any]:
    return {"supported": is_so}


def _limit(given: str | None) -> int:
    if given is None:
        return PAGE
    if not (given.isascii() and given.isdigit() and 1 <= int(given[:9]) <= LONGEST_PAGE):
        raise BadRequest(f"limit is {given[:100]!r}; it must be from 1 to {LONGEST_PAGE}", param="limit")
    return int(given)


def _place(names: Sequence[str], id: str, param: str) -> int:
    if id not in names:
        raise BadRequest(f"{param} is {id[:100]!r}, which is no model here", param=param)
    return names.index(id)
