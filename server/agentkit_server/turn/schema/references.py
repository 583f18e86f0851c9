"""Where a `$ref` leads inside one schema document. Nothing is ever fetched: a reference to another document
is an error, but for the published metaschemas, which are known."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, cast
from urllib.parse import unquote, urldefrag, urljoin

from jsonschema_specifications import REGISTRY

from agentkit_server.turn.schema.keywords import DATA, escaped

_NAMING = frozenset({"$id", "id", "$anchor", "$dynamicAnchor"})


class NoSuchPlace(Exception):
    """A reference that leads nowhere. The message says why."""


class Place(NamedTuple):
    """One schema in a document."""

    node: Any
    base: str
    """URI of the resource it is in."""
    pointer: str
    """JSON pointer from the root of the document it is in."""
    document: str = ""
    """"" = the caller's, else the URI of a metaschema."""


class References:
    """The identifiers and anchors of a document."""

    def __init__(self, root: Any) -> None:
        self._resources: dict[str, Place] = {}
        self._anchors: dict[tuple[str, str], Place] = {}
        self._bases: dict[int, str] = {}
        self._found: dict[tuple[str, str], Place] = {}
        self._base = ""
        """Of what is not in there."""
        self.dynamic: dict[str, list[Place]] = {}
        """Places by `$dynamicAnchor`."""
        self._add(Place(root, "", ""))

    def find(self, reference: str, node: Any) -> Place:
        """The schema that `reference`, met in schema `node`, names. Raises NoSuchPlace."""
        base = self._bases.get(id(node), self._base)
        place = self._found.get((base, reference))
        if place is None:
            place = self._found[base, reference] = self._sought(base, reference)
        return place

    def _sought(self, base: str, reference: str) -> Place:
        try:
            return self._find(urljoin(base, reference))
        except NoSuchPlace:
            # Many schemas give their parts identifiers and refer to the root all the same.
            if not reference.startswith("#/"):
                raise
            return self._find(reference)

    def _find(self, address: str) -> Place:
        address, fragment = urldefrag(address)
        resource = self._resource(address)
        if not fragment:
            return resource
        if fragment.startswith("/"):
            return _step(resource, unquote(fragment))
        anchor = self._anchors.get((address, unquote(fragment)))
        if anchor is None:
            raise NoSuchPlace(f"there is no anchor {fragment!r}")
        return anchor

    def _resource(self, address: str) -> Place:
        if address not in self._resources:
            known = REGISTRY.get(address) or REGISTRY.get(address + "#")
            if known is None:
                raise NoSuchPlace(f"{address!r} is another document, and none is ever fetched")
            self._add(Place(known.contents, address, "", address))
        return self._resources[address]

    def _add(self, root: Place) -> None:
        self._resources[root.base] = root
        if isinstance(root.node, dict) and not root.document:
            for keyword in ("$id", "id"):
                name = cast("dict[str, Any]", root.node).get(keyword)
                if isinstance(name, str):
                    self._resources.setdefault(urldefrag(name)[0], root)
            # Half of the time that large schemas took to read went into looking up every part's base, though
            # hardly any schema names a part of itself.
            if not _names_a_part(cast("dict[str, Any]", root.node)):
                self._base = self._identified(root, cast("dict[str, Any]", root.node)).base
                return
        waiting = [root]
        while waiting:
            place = waiting.pop()
            if isinstance(place.node, dict):
                place = self._identified(place, cast("dict[str, Any]", place.node))
            waiting.extend(_children(place))

    def _identified(self, place: Place, node: dict[str, Any]) -> Place:
        base = _base_of(node, place.base)
        self._bases[id(node)] = base
        place = Place(node, base, place.pointer, place.document)
        if base not in self._resources:
            self._resources[base] = place
        for keyword in ("$anchor", "$dynamicAnchor"):
            name = node.get(keyword)
            if isinstance(name, str):
                self._anchors[base, name] = place
                if keyword == "$dynamicAnchor":
                    self.dynamic.setdefault(name, []).append(place)
        old = node.get("$id", node.get("id"))
        if isinstance(old, str) and old.startswith("#") and len(old) > 1:
            self._anchors[base, old[1:]] = place
        return place


def _names_a_part(root: dict[str, Any]) -> bool:
    """Has a part of the document an identifier or an anchor?"""
    waiting: list[Any] = [root]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            given = cast("dict[str, Any]", node)
            named = () if _NAMING.isdisjoint(given) or given is root else _NAMING
            if any(isinstance(given.get(keyword), str) for keyword in named):
                return True
            waiting += [value for value in given.values() if isinstance(value, dict | list)]
        else:
            waiting += [value for value in node if isinstance(value, dict | list)]
    return False


def _base_of(node: dict[str, Any], base: str) -> str:
    """The base URI inside `node`, which is met where `base` holds."""
    name = node.get("$id", node.get("id"))
    return urldefrag(urljoin(base, name))[0] if isinstance(name, str) else base


def _children(place: Place) -> Iterator[Place]:
    node = place.node
    if isinstance(node, dict):
        for key, value in cast("dict[str, Any]", node).items():
            if isinstance(value, dict | list) and key not in DATA:
                yield Place(value, place.base, f"{place.pointer}/{escaped(key)}", place.document)
    elif isinstance(node, list):
        for at, value in enumerate(cast("list[Any]", node)):
            if isinstance(value, dict | list):
                yield Place(value, place.base, f"{place.pointer}/{at}", place.document)


def _step(place: Place, pointer: str) -> Place:
    node, base = place.node, place.base
    for written in pointer[1:].split("/"):
        key = written.replace("~1", "/").replace("~0", "~")
        if isinstance(node, dict) and key in node:
            node = cast("dict[str, Any]", node)[key]
        elif isinstance(node, list) and key.isdigit() and int(key) < len(cast("list[Any]", node)):
            node = cast("list[Any]", node)[int(key)]
        else:
            raise NoSuchPlace(f"there is nothing at {pointer!r}")
        if isinstance(node, dict):
            base = _base_of(cast("dict[str, Any]", node), base)
    return Place(node, base, place.pointer + pointer, place.document)
