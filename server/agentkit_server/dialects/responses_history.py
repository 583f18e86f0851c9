"""What a response continues: the items of those before it, and items that a request only refers to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from agentkit_server.dialects.responses_items import Item
from agentkit_server.errors import BadRequest, PreviousResponseNotFound
from agentkit_server.responses.responses import Responses
from agentkit_server.responses.store import Kept

_decode = msgspec.json.Decoder().decode


def response_of(kept: Kept) -> dict[str, Any]:
    """The response object that is stored in `kept`."""
    response = _decode(kept.response)
    if kept.lost:
        response["status"] = "failed"
        response["error"] = {
            "code": "server_error",
            "message": "its server ended before it did, or could not store its end; create it again",
        }
    return response


def items_of(chain: Iterable[Kept]) -> list[Item]:
    """Every item of `chain`, in order: what was put in and what came out."""
    return [item for kept in chain for item in (*_decode(kept.input), *_decode(kept.response)["output"])]


def input_of(chain: Sequence[Kept]) -> list[Item]:
    """What the model was given for the last response of `chain`."""
    return [*items_of(chain[:-1]), *_decode(chain[-1].input)]


async def history(responses: Responses, previous: str | None) -> list[Item]:
    """The items of the response `previous` and of all that it continues; [] for None.

    Raises PreviousResponseNotFound, and BadRequest while it is being made.
    """
    if previous is None:
        return []
    chain = await responses.chain(previous)
    if not chain or chain[0].previous is not None:
        what = f"it continues {chain[0].previous!r}, which" if chain else "it"
        raise PreviousResponseNotFound(
            f"the response {previous!r} cannot be continued: {what} is not stored here, or not any more; "
            f"send the whole conversation as input",
            param="previous_response_id",
        )
    if chain[-1].running:
        raise BadRequest(
            f"the response {previous!r} is still in progress; wait for its end, or cancel it",
            param="previous_response_id",
        )
    return items_of(chain)


async def resolved(responses: Responses, items: Sequence[Item], earlier: Sequence[Item]) -> list[Item]:
    """`items` with what they refer to in the place of references. Raises BadRequest."""
    known = {item["id"]: item for item in (*earlier, *items) if item["type"] != "item_reference"}
    found: list[Item] = []
    for at, item in enumerate(items):
        if item["type"] != "item_reference":
            found.append(item)
            continue
        meant = known.get(item["id"]) or await _stored(responses, item["id"])
        if meant is None:
            raise BadRequest(
                f"input[{at}] refers to the item {item['id']!r}, which is not stored here; "
                f"send the item itself",
                param=f"input[{at}].id",
            )
        found.append(meant)
    return found


async def _stored(responses: Responses, id: str) -> Item | None:
    holder = await responses.holder(id)
    output: list[Item] = [] if holder is None else _decode(holder.response)["output"]
    return next((item for item in output if item["id"] == id), None)
