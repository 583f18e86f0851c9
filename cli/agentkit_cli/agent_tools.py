"""Functions of Python files as tools.

A file is run once, as a module that can import its neighbours.
"""

from __future__ import annotations

import importlib.util
import inspect
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from agentkit import DefinitionError, Tool, Toolset, as_tool
from agentkit_cli.errors import CommandError

_PREFIX = "agentkit_tools:"


def absolute(text: str) -> str:
    """`FILE[:NAME,...]` with the whole path of the file.

    Raises:
        CommandError: there is no such file.
    """
    path, names = _split(text)
    return ":".join([str(path.resolve()), *([",".join(names)] if names else [])])


def load_tools(text: str) -> list[Tool | Toolset]:
    """The tools that `FILE[:NAME,...]` names.

    Without names these are the functions that the file decorates with `@tool`, or else its public functions.

    Raises:
        CommandError: there is no such file or name, or it cannot be a tool.
    """
    path, names = _split(text)
    module = _module(path)
    found = {name: _named(module, path, name) for name in names} if names else _all(module)
    if not found:
        raise CommandError(
            f"{str(path)!r} has no public function", hint="write one, with types and docstring"
        )
    return [_tool(value, f"{name!r} in {str(path)!r}") for name, value in found.items()]


def _split(text: str) -> tuple[Path, list[str]]:
    path = Path(text).expanduser()
    names = ""
    if not path.is_file():
        file, _, names = text.rpartition(":")
        path = Path(file or text).expanduser()
    if not path.is_file():
        raise CommandError(f"no file at {str(path)!r}", hint="give FILE.py, or FILE.py:NAME,NAME")
    return path, [name.strip() for name in names.split(",") if name.strip()]


def _module(path: Path) -> ModuleType:
    name = f"{_PREFIX}{path.resolve()}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise CommandError(f"{str(path)!r} is no Python file", hint="tools are functions of a .py file")
    # At the end: a neighbour called like an installed package must not replace it.
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.append(folder)
    sys.modules[name] = module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise CommandError(
            f"{str(path)!r} cannot be loaded{_place(error, path)}: {type(error).__name__}: {error}"
        ) from error
    return module


def _place(error: BaseException, path: Path) -> str:
    if isinstance(error, SyntaxError):
        return ""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == str(path)]
    return f", line {lines[-1]}" if lines else ""


def _named(module: ModuleType, path: Path, name: str) -> Any:
    if not hasattr(module, name):
        known = ", ".join(_all(module)) or "none"
        raise CommandError(f"there is no {name!r} in {str(path)!r}", hint=f"its functions are: {known}")
    return getattr(module, name)


def _all(module: ModuleType) -> dict[str, Any]:
    public = {name: value for name, value in vars(module).items() if not name.startswith("_")}
    decorated = {id(value): (name, value) for name, value in public.items() if isinstance(value, Tool)}
    if decorated:
        return dict(decorated.values())
    return {
        name: value
        for name, value in public.items()
        if inspect.isfunction(value) and value.__module__ == module.__name__
    }


def _tool(value: Any, what: str) -> Tool | Toolset:
    if isinstance(value, (Tool, Toolset)):
        return value
    if not callable(value):
        raise CommandError(f"{what} is no function, but {type(cast('object', value)).__name__!r}")
    try:
        return as_tool(value)
    except DefinitionError as error:
        raise CommandError(f"{what} cannot be a tool: {error.message}", hint=error.hint) from error
