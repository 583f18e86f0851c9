"""The words of a template's source: variables it reads, keys it looks for, values it compares them with."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, cast

from jinja2 import meta, nodes

MOST = 16
"""Words of one kind that are looked at."""


class Words(Protocol):
    """What a probe asks of a template's source."""

    def variables(self, *parts: str) -> list[str]:
        """Variables that the template is given from outside and whose names contain one of `parts`."""
        ...

    def keys(self, *parts: str) -> list[str]:
        """Keys of a message that it looks for and whose names contain one of `parts`."""
        ...

    def compared(self, variable: str) -> list[str]:
        """The texts that `variable` is compared with."""
        ...


@dataclass(frozen=True)
class Vocabulary:
    """Of one parsed template."""

    tree: nodes.Template

    def variables(self, *parts: str) -> list[str]:
        """Variables that the template is given from outside and whose names contain one of `parts`."""
        return _chosen(sorted(meta.find_undeclared_variables(self.tree)), parts)

    def keys(self, *parts: str) -> list[str]:
        """Attributes and items whose names contain one of `parts`, in the order of the source."""
        return _chosen(dict.fromkeys(self._keys), parts)

    def compared(self, variable: str) -> list[str]:
        """The texts that `variable` is compared with."""
        return list(dict.fromkeys(self._compared(variable)))[:MOST]

    @cached_property
    def _keys(self) -> list[str]:
        return [*self._looked_up()]

    def _looked_up(self) -> Iterator[str]:
        for node in self.tree.find_all((nodes.Getattr, nodes.Const)):
            if isinstance(node, nodes.Getattr):
                yield node.attr
            elif isinstance(node.value, str) and node.value.isidentifier():
                yield node.value

    def _compared(self, variable: str) -> Iterator[str]:
        for node in self.tree.find_all(nodes.Compare):
            names = {name.name for name in node.find_all(nodes.Name)}
            if variable in names:
                for constant in node.find_all(nodes.Const):
                    # Jinja folds a list of constants into one whenever it compiles the tree.
                    value: Any = constant.value
                    values = cast("Iterable[Any]", value if isinstance(value, list | tuple) else (value,))
                    yield from (one for one in values if isinstance(one, str))


def _chosen(words: list[str] | dict[str, None], parts: tuple[str, ...]) -> list[str]:
    return [word for word in words if any(part in word.lower() for part in parts)][:MOST]
