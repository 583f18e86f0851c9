"""Which files a FROM, ADAPTER or DRAFT of a Modelfile means, by the names that they have for the server.

Names are relative, with forward slashes. Raises CommandError for what is no model.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from agentkit_cli.errors import CommandError

Files = dict[str, Path]

_SHARD = re.compile(r"(?P<stem>.*)-\d{5}-of-(?P<count>\d{5})\.gguf", re.IGNORECASE)
_SETTINGS = (
    *("*.json", "*.jinja", "tokenizer.model", "vocab.txt", "merges.txt"),
    # The parts of a sentence-transformers model.
    "[0-9]*_*/config.json",
    "additional_chat_templates/*.jinja",
    # What they say of the license.
    *("LICENSE", "LICENSE.txt", "LICENSE.md", "README.md"),
)
_ADAPTER_SETTINGS = ("adapter_config.json",)
_PATH_ENDS = (".gguf", ".safetensors", ".bin", ".pth", ".pt")
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://|pypi:")
_DRIVE = re.compile(r"[A-Za-z]:[/\\]")
_UNSAFE = re.compile(r"[\\:\x00-\x1f\x7f\ud800-\udfff]")


def found(text: str, folder: Path) -> Path | None:
    """The file or folder that `text` names, seen from `folder`; None when there is none.

    Raises PermissionError where that cannot be known.
    """
    path = folder / os.path.expanduser(text)
    try:
        path.stat()
    except PermissionError:
        raise
    except (OSError, ValueError):
        return None
    return path


def is_an_address(text: str) -> bool:
    """Whether `text` says where to get a model from, in a form that a model name does not have."""
    return _ADDRESS.match(text) is not None


def looks_like_a_path(text: str) -> bool:
    """Whether `text` can only be a path, and no model name."""
    return not is_an_address(text) and (
        text.startswith((".", "/", "~"))
        or "\\" in text
        or _DRIVE.match(text) is not None
        or text.lower().endswith(_PATH_ENDS)
    )


def model_files(path: Path) -> Files:
    """The files of the model at `path`: a GGUF file, all shards of one, or a folder of either kind."""
    if path.is_dir():
        return _folder(path)
    if path.suffix.lower() == ".safetensors":
        raise CommandError(f"a safetensors model is a whole folder: give {str(path.parent)!r}")
    _check_file(path)
    return _named(_shards(path), path.parent)


def adapter_files(path: Path) -> Files:
    """The files of the adapter at `path`: a GGUF file, or a folder with safetensors."""
    if path.is_dir():
        tensors, ggufs = _weights(path)
        _check_one(path, ggufs, "adapters")
        return _named([*tensors, *_within(path, _ADAPTER_SETTINGS)] if tensors else ggufs, path)
    _check_file(path)
    if path.suffix.lower() == ".safetensors":
        return _named([path, *_within(path.parent, _ADAPTER_SETTINGS)], path.parent)
    return _named([path], path.parent)


def has_a_model(folder: Path) -> bool:
    """Whether there are weights in `folder`."""
    return any(_matching(folder, ["*.safetensors", "*.gguf"]))


def _check_file(path: Path) -> None:
    # Reading a pipe or a device may never end.
    if not path.is_file():
        raise CommandError(f"{str(path)!r} is neither a file nor a folder")


def _folder(folder: Path) -> Files:
    tensors, ggufs = _weights(folder)
    if tensors:
        return _named([*_once(tensors), *_within(folder, _SETTINGS)], folder)
    weights = [path for path in ggufs if "mmproj" not in path.name.lower()]
    _check_one(folder, weights, "models")
    for path in weights[:1]:
        # Refuses it when one of its shards is missing.
        _shards(path)
    return _named(ggufs, folder)


def _weights(folder: Path) -> tuple[list[Path], list[Path]]:
    """The .safetensors and the .gguf files of `folder`: there are some of one kind."""
    tensors, ggufs = _within(folder, ["*.safetensors"]), _within(folder, ["*.gguf"])
    if tensors and ggufs:
        raise CommandError(
            f"the folder {str(folder)!r} has both .safetensors and .gguf files; give the .gguf file"
        )
    if not tensors and not ggufs:
        raise CommandError(f"the folder {str(folder)!r} has no .safetensors and no .gguf file")
    return tensors, ggufs


def _once(tensors: list[Path]) -> list[Path]:
    """Without the second copy of the weights that some models have in their author's own layout."""
    usual = [path for path in tensors if not path.name.startswith("consolidated")]
    return usual or tensors


def _check_one(folder: Path, weights: Iterable[Path], what: str) -> None:
    names = sorted({_first(path) for path in weights})
    if len(names) > 1:
        raise CommandError(
            f"the folder {str(folder)!r} has several {what}; give the file of one: {', '.join(names[:5])}"
        )


def _first(path: Path) -> str:
    """The name of the file itself, or of the first of its shards."""
    shard = _SHARD.fullmatch(path.name)
    return f"{shard['stem']}-00001-of-{shard['count']}{path.suffix}" if shard else path.name


def _shards(path: Path) -> list[Path]:
    shard = _SHARD.fullmatch(path.name)
    if shard is None:
        return [path]
    count = int(shard["count"])
    names = [
        f"{shard['stem']}-{number:05}-of-{shard['count']}{path.suffix}" for number in range(1, count + 1)
    ]
    if path.name not in names:
        return [path]
    missing = next((name for name in names if not (path.parent / name).is_file()), None)
    if missing is not None:
        raise CommandError(f"the shard {missing!r} is not in {str(path.parent)!r}; all {count} must be there")
    return [path.parent / name for name in names]


def _within(folder: Path, patterns: Iterable[str]) -> list[Path]:
    """The files of `folder` that match, none of which may lead out of it."""
    # Matching passes over what cannot be read.
    os.listdir(folder)
    root = folder.resolve()
    files = sorted(_matching(folder, patterns))
    for file in files:
        target = file.resolve()
        if not target.is_relative_to(root):
            raise CommandError(
                f"insecure path: {str(file)!r} leads out of its folder, to {str(target)!r}; "
                f"put the file itself there"
            )
    return files


def _matching(folder: Path, patterns: Iterable[str]) -> Iterator[Path]:
    for pattern in patterns:
        yield from (path for path in folder.glob(pattern) if path.is_file() and path.name[0] != ".")


def _named(paths: Iterable[Path], folder: Path) -> Files:
    named: Files = {}
    for path in paths:
        # The server takes no name that some system could read as more than a relative path.
        name = _UNSAFE.sub("_", path.relative_to(folder).as_posix())
        if name in named:
            raise CommandError(f"{str(path)!r} and {str(named[name])!r} have names too alike; rename one")
        named[name] = path
    return named
