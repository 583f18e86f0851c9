"""Quantising with llama.cpp. For a process of its own: a hostile file may end it, and nothing can stop it.

The other file that touches ctypes; everything else of llama.cpp is in llama.py.
"""

# As in llama.py: llama_cpp ships no type stubs.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false

from __future__ import annotations

import ctypes
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agentkit_server.engine.importance import Importance, InvalidImportance, read_importance
from agentkit_server.engine.llama import lib
from agentkit_server.engine.quantize_job import AtTensor, NotQuantized, Quantized, QuantizeJob, QuantizeReply
from agentkit_server.machine import cores

_AT_TENSOR = re.compile(r"\[ *(?P<number>\d+)/ *(?P<count>\d+)\] (?P<name>\S+)")
_PREFIX = "failed to quantize: "
_ERROR = 4
_MOST_CHARACTERS = 500
"""Of what went wrong: names that a hostile file makes up are in it."""
_INT, _STRING = 0, 3
"""Tags of llama_model_kv_override."""
_LONGEST_TEXT = 127
"""Bytes of a text in it."""


def quantize(job: QuantizeJob, say: Callable[[QuantizeReply], None]) -> None:
    """Write the file of `job`. The last reply is Quantized or NotQuantized."""
    try:
        importance = read_importance(Path(job.importance)) if job.importance else None
    except InvalidImportance as error:
        say(NotQuantized(str(error)[:_MOST_CHARACTERS], importance=True))
        return
    log = _Log(say)
    lib.llama_log_set(log.callback, ctypes.c_void_p(0))
    lib.llama_backend_init()
    params, _kept = _params(job, importance)
    code = lib.llama_model_quantize(os.fsencode(job.source), os.fsencode(job.target), ctypes.byref(params))
    # What Python forgets must not be called any more.
    lib.llama_log_set(lib.llama_log_callback(), ctypes.c_void_p(0))
    if code == 0:
        say(_done(log, importance))
        return
    said = log.last_error.partition(_PREFIX)[2] or log.last_error or f"llama_model_quantize returned {code}"
    say(NotQuantized(said[:_MOST_CHARACTERS], importance="imatrix" in said))


def _done(log: _Log, importance: Importance | None) -> QuantizeReply:
    """llama.cpp passes over an importance matrix that is of another model."""
    if importance is not None and importance.entries.keys().isdisjoint(log.tensors):
        return NotQuantized("none of its entries is for a tensor of this model", importance=True)
    return Quantized()


class _Log:
    """llama.cpp's log: the tensors that it comes to, and what went wrong last."""

    def __init__(self, say: Callable[[QuantizeReply], None]) -> None:
        self.last_error = ""
        self.tensors: set[str] = set()
        self._say = say
        self.callback = lib.llama_log_callback(self._on_log)

    def _on_log(self, level: int, text: bytes, _: Any) -> None:
        line = text.decode("utf-8", "replace")
        if (match := _AT_TENSOR.match(line)) is not None:
            self.tensors.add(match["name"])
            self._say(AtTensor(match["name"], int(match["number"]), int(match["count"])))
            return
        line = line.strip("\n =")
        if level == _ERROR and line:
            self.last_error = line
            sys.stderr.write(f"{line}\n")


def _params(job: QuantizeJob, importance: Importance | None) -> tuple[Any, list[Any]]:
    """The parameters, and what must live as long as they do."""
    params = lib.llama_model_quantize_default_params()
    params.nthread = cores()
    params.ftype = job.file_type
    if importance is None:
        return params, []
    entries = (lib.llama_model_imatrix_data * (len(importance.entries) + 1))()
    for entry, (name, values) in zip(entries, importance.entries.items(), strict=False):
        entry.name, entry.size = name.encode(), len(values)
        entry.data = values.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
    said = _overrides(job, importance)
    params.imatrix = ctypes.cast(entries, ctypes.POINTER(lib.llama_model_imatrix_data))
    params.kv_overrides = ctypes.cast(said, ctypes.POINTER(lib.llama_model_kv_override))
    return params, [entries, said, importance]


def _overrides(job: QuantizeJob, importance: Importance) -> Any:
    """Metadata of the new file, as llama-quantize writes it."""
    facts: dict[str, int | str] = {
        "quantize.imatrix.file": job.importance_name,
        "quantize.imatrix.dataset": importance.dataset,
        "quantize.imatrix.entries_count": len(importance.entries),
        "quantize.imatrix.chunks_count": importance.chunks,
    }
    stated = {key: value for key, value in facts.items() if value}
    overrides = (lib.llama_model_kv_override * (len(stated) + 1))()
    for override, (key, value) in zip(overrides, stated.items(), strict=False):
        override.key = key.encode()
        if isinstance(value, int):
            override.tag, override.value.val_i64 = _INT, value
        else:
            # Cut between characters: half of one is no text to whoever reads the file.
            text = value.encode()[:_LONGEST_TEXT].decode(errors="ignore")
            override.tag, override.value.val_str = _STRING, text.encode()
    return overrides
