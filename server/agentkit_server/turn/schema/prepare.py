"""A JSON Schema made ready for a grammar: read, rewritten, taken by llguidance; and kept, so that the same
schema is not prepared twice."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any

import msgspec

from agentkit_server.errors import BadRequest, SchemaProblem, SchemaRefused
from agentkit_server.turn.schema.cycles import endless, is_finite
from agentkit_server.turn.schema.distinct import distinct
from agentkit_server.turn.schema.document import Document, read
from agentkit_server.turn.schema.prepared import PreparedSchema
from agentkit_server.turn.schema.rewrite import Rewrite
from agentkit_server.turn.schema.settle import Settled, settle
from agentkit_server.turn.schema.validation import Validation

MAX_BYTES = 1 << 20
"""A schema's JSON, without white space."""

WHITESPACE = r"(\n[ \t]{0,40}| {1,2})"
"""White space between two JSON tokens, at most once: compact, spaced and indented JSON has no other."""

_NOTHING = SchemaProblem("", "schema", "no value can satisfy it", "remove what contradicts itself")
_ENDLESS = SchemaProblem(
    "", "$ref", "no finite value can satisfy it", "leave a recursive property out of 'required'"
)
_MOST_KEPT = 512
_MOST_KEPT_BYTES = 32 << 20


def prepare(
    schema: dict[str, Any] | bool, *, compact: bool = False, whitespace_pattern: str | None = None
) -> PreparedSchema:
    """`schema`, ready for a grammar. Of any draft from 4 to 2020-12, up to 1 MiB.

    Raises SchemaRefused with every problem, and BadRequest for what is no JSON.
    """
    try:
        key = msgspec.json.encode((compact, whitespace_pattern, schema))
    except (TypeError, ValueError, RecursionError, msgspec.MsgspecError) as error:
        raise BadRequest(f"the schema is no JSON: {error}") from error
    if len(key) > MAX_BYTES:
        reason = f"has {len(key)} bytes, and {MAX_BYTES} are the most"
        raise SchemaRefused([SchemaProblem("", "schema", reason, "split it")])
    kept = _cache.get(key)
    if kept is None:
        kept = _prepared(msgspec.json.decode(key)[2], _white_space(compact, whitespace_pattern))
        _cache.put(key, kept)
    if isinstance(kept, SchemaRefused):
        raise SchemaRefused(kept.problems)
    return kept


def _white_space(compact: bool, pattern: str | None) -> dict[str, Any]:
    if compact:
        return {"whitespace_flexible": False}
    return {"whitespace_pattern": pattern or WHITESPACE}


def _prepared(schema: Any, options: dict[str, Any]) -> PreparedSchema | SchemaRefused:
    document = read(schema)
    document.problems += endless(document)
    if document.problems:
        return SchemaRefused(document.problems)
    rewrite, settled = _settled(document, options, plain=False)
    if settled.refused and not settled.hopeless:
        rewrite, settled = _settled(document, options, plain=True)
    if settled.refused:
        return SchemaRefused(settled.refused)
    return PreparedSchema(
        schema=schema,
        level="checked" if rewrite.loose else "exact",
        loose=tuple(rewrite.loose),
        distinct=distinct(document) if rewrite.loose else None,
        warnings=tuple(document.warnings),
        fragment=lambda rule: f"{rule}: %json {settled.text}\n",
        problems=Validation(document).problems,
    )


def _settled(document: Document, options: dict[str, Any], *, plain: bool) -> tuple[Rewrite, Settled]:
    rewrite = Rewrite(document, plain=plain)
    if not is_finite(rewrite.root, rewrite.defs):
        return rewrite, Settled(refused=(_ENDLESS if rewrite.defs else _NOTHING,), hopeless=True)
    if rewrite.names_may_be_respelled:
        # Otherwise "\u0061" would pass as another property than "a".
        options = {**options, "json_allowed_escapes": 'nrbtf\\"'}
    return rewrite, settle(rewrite, options)


class _Cache:
    """The schemas prepared last."""

    def __init__(self) -> None:
        self._kept: OrderedDict[bytes, PreparedSchema | SchemaRefused] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, key: bytes) -> PreparedSchema | SchemaRefused | None:
        with self._lock:
            kept = self._kept.get(key)
            if kept is not None:
                self._kept.move_to_end(key)
            return kept

    def put(self, key: bytes, prepared: PreparedSchema | SchemaRefused) -> None:
        with self._lock:
            if key not in self._kept:
                self._bytes += len(key)
            self._kept[key] = prepared
            while len(self._kept) > _MOST_KEPT or self._bytes > _MOST_KEPT_BYTES:
                oldest, _ = self._kept.popitem(last=False)
                self._bytes -= len(oldest)


_cache = _Cache()
