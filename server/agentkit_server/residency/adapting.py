"""The adapters of a tenant's guests: checked and loaded when a request first needs them, freed when the last
guest that has them is gone. A file that several guests have is loaded once."""

from __future__ import annotations

import logging
import math
from contextlib import suppress
from typing import NamedTuple

from anyio import to_thread

from agentkit_server.engine.types import AdapterFile
from agentkit_server.errors import AgentkitError, InvalidGGUF, LoadFailed, RunnerDied
from agentkit_server.models.adapters import check_adapter
from agentkit_server.models.model import Adapter, Model
from agentkit_server.residency.tenant import AdapterSet, Files, Guest, Tenant, base_of
from agentkit_server.runner.protocol import Runner

log = logging.getLogger(__name__)

_REMEMBERED = 1024
"""Files that were found to fit."""


class Checked(NamedTuple):
    """The adapters of a model. They fit it; `note` is what of them is left out."""

    files: Files
    note: str


NO_ADAPTERS = Checked((), "")


class CheckedAdapters:
    """The adapters of models as a runner is told of them. Each file is read once for each base."""

    def __init__(self) -> None:
        self._notes: dict[tuple[str | int, ...], str] = {}

    async def find(self, model: Model) -> Checked:
        """Raises LoadFailed, which names the adapter that does not fit the model."""
        return await to_thread.run_sync(self._find, model) if model.adapters else NO_ADAPTERS

    def _find(self, model: Model) -> Checked:
        files = tuple(_stamped(model, adapter) for adapter in model.adapters)
        notes = [self._note(model, file) for file in files]
        return Checked(files, "; ".join(filter(None, notes)))

    def _note(self, model: Model, file: AdapterFile) -> str:
        key = (file.path, file.version, *base_of(model))
        note = self._notes.get(key)
        if note is None:
            try:
                note = check_adapter(file.path, model.gguf)
            except InvalidGGUF as error:
                raise _refused(model, error.message) from None
            if note:
                log.warning("%s: %s", model.name, note)
            if len(self._notes) >= _REMEMBERED:
                self._notes.clear()
            self._notes[key] = note
        return note


async def adapt(tenant: Tenant, guest: Guest, checked: Checked) -> int:
    """Have the runner of `tenant`, which is ready, learn the adapters of `guest`, which holds a lease;
    returns what requests call them, 0 for none. Raises LoadFailed, which names the adapter at fault."""
    files = checked.files
    if not files:
        return 0
    assert tenant.runner is not None
    if files not in tenant.sets:
        tenant.numbered += 1
        tenant.sets[files] = AdapterSet(tenant.numbered)
    guest.files.add(files)
    guest.note, known = checked.note, tenant.sets[files]
    if not known.ready:
        try:
            await _load(tenant.runner, guest.model, known.number, files)
        except AgentkitError:
            # Nobody asks for what is not what it says.
            guest.leaves_after = True
            raise
        known.ready = True
    return known.number


async def _load(runner: Runner, model: Model, number: int, files: Files) -> None:
    try:
        await runner.load_adapters(number, list(files))
    except LoadFailed as error:
        raise _refused(model, error.message) from None
    except RunnerDied as error:
        paths = ", ".join(repr(file.path) for file in files)
        raise _refused(model, f"its runner ended while it loaded {paths}: {error.message}") from None


def let_go(tenant: Tenant, guest: Guest) -> list[int]:
    """The sets of a guest that has gone which no other guest has."""
    others = {files for other in tenant.guests.values() for files in other.files}
    return [tenant.sets.pop(files).number for files in guest.files - others]


async def drop(runner: Runner, number: int) -> None:
    """Free a set that nobody needs any more."""
    with suppress(RunnerDied):
        await runner.drop_adapters(number)


def _stamped(model: Model, adapter: Adapter) -> AdapterFile:
    if not math.isfinite(adapter.scale):
        raise _refused(model, f"the scale {adapter.scale!r} of {str(adapter.path)!r} is no finite number")
    try:
        version = adapter.path.stat().st_mtime_ns
    except OSError as error:
        why = f"the adapter {str(adapter.path)!r} cannot be read: {error.strerror or error}"
        raise _refused(model, why) from None
    return AdapterFile(str(adapter.path), version, adapter.scale)


def _refused(model: Model, why: str) -> LoadFailed:
    return LoadFailed(f"{model.name.short!r} could not be loaded: {why}")
