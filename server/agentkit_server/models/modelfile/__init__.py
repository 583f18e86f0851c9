"""Modelfiles: read with `parse`, written with `render`; `render_modelfile` is that of a stored model."""

from __future__ import annotations

from agentkit_server.models.modelfile.reading import parse
from agentkit_server.models.modelfile.stored import modelfile_of, render_modelfile
from agentkit_server.models.modelfile.structure import AdapterLine, MessageLine, Modelfile
from agentkit_server.models.modelfile.writing import render, render_parameters

__all__ = [
    "AdapterLine",
    "MessageLine",
    "Modelfile",
    "modelfile_of",
    "parse",
    "render",
    "render_modelfile",
    "render_parameters",
]
