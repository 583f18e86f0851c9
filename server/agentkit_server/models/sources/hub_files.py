"""The files of a repository on Hugging Face's hub, and which of them a tag means.

A tag is a quantisation (`Q4_K_M`, whatever its case), or the name of a file without its ending. Shards are
one choice; `mmproj` files are projectors of images, and go with whatever is chosen.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, cast

import msgspec
from msgspec import Meta

from agentkit_server.errors import AgentkitError, PullFailed
from agentkit_server.models.digest import Digest
from agentkit_server.models.names import DEFAULT_TAG

PREFERRED = "Q4_K_M"
"""What is taken when nobody says what, as the hub does."""
MAX_SHARDS = 1000
_LONGEST_PATH = 500
"""Characters; the expressions here take the square of it."""
_ENDING = ".gguf"
_SHARD = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})", re.DOTALL)
_QUANTIZATION = re.compile(
    r"(?:^|[-_.])((?:UD-)?(?:I?Q\d+(?:_[A-Z0-9]+)*|TQ\d_\d|MXFP4(?:_MOE)?|BF16|F16|F32|FP16|FP32))$",
    re.IGNORECASE | re.ASCII,
)
_PROJECTORS = ("F16", "BF16", "Q8_0", "F32")
"""The types of projectors, the best first."""


@dataclass(frozen=True)
class HubFile:
    """A file whose digest the hub states. Size in bytes."""

    path: str
    digest: Digest
    size: int

    @property
    def stem(self) -> str:
        """Its name without folder and ending."""
        return self.path.rpartition("/")[2][: -len(_ENDING)]


@dataclass(frozen=True)
class Choice:
    """One file, or the shards of one model, and what it is called."""

    label: str
    files: tuple[HubFile, ...]
    stem: str

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files)


@dataclass(frozen=True)
class Repository:
    """What the hub says about a repository."""

    revision: str
    license: str | None
    choices: tuple[Choice, ...]
    projectors: tuple[HubFile, ...]


class _LFS(msgspec.Struct):
    sha256: str
    size: Annotated[int, Meta(ge=0)]


class _Sibling(msgspec.Struct):
    rfilename: str
    lfs: _LFS | None = None


class _Info(msgspec.Struct):
    sha: Annotated[str, Meta(pattern=r"^[0-9a-f]{6,64}$")]
    siblings: list[_Sibling]
    cardData: Any = None


def read_repository(content: bytes, name: str) -> Repository:
    """Read the hub's description of a repository. Raises PullFailed when it is none, or has no GGUF file."""
    try:
        info = msgspec.json.decode(content, type=_Info)
        files = [_file(sibling) for sibling in info.siblings]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, AgentkitError) as error:
        raise PullFailed(f"what the hub says about {name!r} cannot be read: {error}") from None
    models = [file for file in files if file is not None]
    projectors = [file for file in models if "mmproj" in file.stem.lower()]
    rest = [file for file in models if file not in projectors and "imatrix" not in file.stem.lower()]
    choices = _choices(rest)
    if not choices:
        raise PullFailed(f"{name!r} has no GGUF file; find a GGUF build of it, often named …-GGUF")
    return Repository(info.sha, _license(info.cardData), choices, tuple(projectors))


def choose(repository: Repository, tag: str, name: str) -> Choice:
    """The choice that `tag` means; without one, `latest`, the usual one. Raises PullFailed with a list of all
    when that is none, or more than one."""
    wanted = PREFERRED if tag == DEFAULT_TAG else tag
    found = [each for each in repository.choices if each.label.lower() == wanted.lower()]
    found = [each for each in repository.choices if each.stem.lower() == wanted.lower()] or found
    if tag == DEFAULT_TAG and not found and len(repository.choices) == 1:
        found = list(repository.choices)
    if len(found) == 1:
        return found[0]
    what = f"has {len(found)} models for {wanted!r}" if found else f"has no {wanted!r}"
    if tag == DEFAULT_TAG and not found:
        what = f"has no {PREFERRED}, which is taken when none is asked for"
    listed = sorted(found or repository.choices, key=lambda each: each.size)
    several = len({each.label for each in listed}) < len(listed)
    names = ", ".join(f"{each.stem if several else each.label} ({_gigabytes(each.size)})" for each in listed)
    raise PullFailed(f"{name} {what}; say which: {name}:TAG with one of {names}")


def _file(sibling: _Sibling) -> HubFile | None:
    """None for files that are no models, for those whose digest nobody knows, and for names that are to leave
    the repository's folder, to play with a terminal or to keep us busy."""
    path = sibling.rfilename
    odd = not path.isprintable() or not {"", ".", ".."}.isdisjoint(path.split("/"))
    if sibling.lfs is None or odd or len(path) > _LONGEST_PATH or not path.lower().endswith(_ENDING):
        return None
    return HubFile(path, Digest.parse(f"sha256:{sibling.lfs.sha256}"), sibling.lfs.size)


def _choices(files: Sequence[HubFile]) -> tuple[Choice, ...]:
    """Whole files, and models whose shards are all there."""
    groups: dict[tuple[str, int], dict[int, HubFile]] = {}
    for file in files:
        path = file.path[: -len(_ENDING)]
        shard = _SHARD.fullmatch(path)
        key = (path, 1) if shard is None else (shard["stem"], int(shard["count"]))
        groups.setdefault(key, {})[1 if shard is None else int(shard["number"])] = file
    return tuple(
        _choice(path, [shards[number] for number in range(1, count + 1)])
        for (path, count), shards in groups.items()
        if count <= MAX_SHARDS and sorted(shards) == list(range(1, count + 1))
    )


def _choice(path: str, files: Sequence[HubFile]) -> Choice:
    folder, _, stem = path.rpartition("/")
    match = _QUANTIZATION.search(stem) or _QUANTIZATION.search(folder.rpartition("/")[2])
    return Choice(match[1].upper() if match else stem, tuple(files), stem)


def _license(card: object) -> str | None:
    """Its short name, such as apache-2.0."""
    license = cast("dict[str, Any]", card).get("license") if isinstance(card, dict) else None
    return license if isinstance(license, str) else None


def projector_of(repository: Repository) -> HubFile | None:
    """The projector that goes with every model of the repository."""

    def rank(file: HubFile) -> int:
        match = _QUANTIZATION.search(file.stem)
        kind = match[1].upper().replace("FP", "F") if match else ""
        return _PROJECTORS.index(kind) if kind in _PROJECTORS else len(_PROJECTORS)

    return min(repository.projectors, key=rank, default=None)


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.1f} GB"
