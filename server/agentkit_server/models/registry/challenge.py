"""The `WWW-Authenticate` header of a registry: which credentials it wants, and who hands them out."""

from __future__ import annotations

import re
from dataclasses import dataclass

_MAX_HEADER = 8 << 10
# From the beginning of a word only: else a long one without `=` takes the square of its length.
_PARAMETER = re.compile(r'(?<![A-Za-z_-])([A-Za-z_-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^",\s]+))', re.ASCII)


@dataclass(frozen=True)
class Challenge:
    """What one 401 asks for. `scheme` is `bearer`, `basic`, or "" for anything else."""

    scheme: str
    realm: str = ""
    service: str = ""
    scope: str = ""

    @classmethod
    def parse(cls, header: str) -> Challenge:
        """Read the header; what makes no sense is a challenge without a scheme."""
        scheme, _, rest = header[:_MAX_HEADER].strip().partition(" ")
        if scheme.lower() not in ("bearer", "basic"):
            return cls("")
        given: dict[str, str] = {}
        for match in _PARAMETER.finditer(rest):
            value = match[3] if match[2] is None else re.sub(r"\\(.)", r"\1", match[2])
            given.setdefault(match[1].lower(), value)
        return cls(scheme.lower(), given.get("realm", ""), given.get("service", ""), given.get("scope", ""))
