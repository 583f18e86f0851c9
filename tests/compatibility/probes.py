"""What is sent to find out what the server does with a parameter."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Probe:
    """A value of a parameter, and what else has to be in the request for it to mean something."""

    value: Any
    beside: Mapping[str, Any] = field(default_factory=dict[str, Any])
    instead: Sequence[str] = ()
    """Parameters that are left out."""


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """A route, the parameters that its published SDK has, and a probe or several for each of them."""

    path: str
    source: str
    """Where the list of parameters is from."""
    published: Iterable[str]
    base: Mapping[str, Any]
    """A request that is answered."""
    probes: Mapping[str, Sequence[Any]]
    """By name: values, or Probes."""
    why: Mapping[str, str]
    """Of each parameter that is accepted without effect: why it may be."""
    within: str = ""
    """The parameter that all of them are part of."""
    method: str = "POST"
    echoes: bool = True
    """A field of the answer that is called like the parameter only says it back."""
    in_headers: Mapping[str, str] = field(default_factory=dict[str, str])
    """By name: the header that the SDK sends a parameter in."""
    afterwards: str = ""
    """A path that shows an effect beyond the answer; `{id}` is the answer's."""

    @property
    def names(self) -> set[str]:
        """The published parameters. `from_` is how Python has to write `from`."""
        return {name.rstrip("_") for name in self.published}

    def of(self, name: str) -> list[Probe]:
        """The probes of a parameter."""
        return [value if isinstance(value, Probe) else Probe(value) for value in self.probes[name]]

    def body(self, name: str, probe: Probe, *, given: bool) -> dict[str, Any]:
        """A request with the parameter, or the same without it."""
        kept = {key: value for key, value in self.base.items() if key != name and key not in probe.instead}
        body = {**kept, **probe.beside}
        if given:
            return self._with(body, name, probe.value)
        return self._with(body, name, self.base[name]) if name in self.base else body

    def _with(self, body: dict[str, Any], name: str, value: Any) -> dict[str, Any]:
        if not self.within:
            return {**body, name: value}
        return {**body, self.within: {**body.get(self.within, {}), name: value}}
