"""From a folder of safetensors to a GGUF: `convert` for a model, `convert_adapter` for a LoRA.

Matrices keep their type where that is F16 or BF16 (the bits of BF16 are kept); F32 becomes F16, but for a
matrix with a number that F16 has not, which stays. Vectors are F32. A few MB of weights are in memory at
once; of a matrix whose rows change places, all of it.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agentkit_server.models.convert import bert, floats, weights
from agentkit_server.models.convert.architectures import BERT, architecture, read_config, read_plan
from agentkit_server.models.convert.files import Files
from agentkit_server.models.convert.gguf_file import Metadata, Sink, header, padding, sink_of
from agentkit_server.models.convert.license import read_license
from agentkit_server.models.convert.lora import convert_adapter, is_adapter
from agentkit_server.models.convert.safetensors import SUFFIX, Checkpoint, checkpoint
from agentkit_server.models.convert.special import read_special, read_templates, template_metadata
from agentkit_server.models.convert.tokenizer import read_vocabulary
from agentkit_server.models.convert.weights import Weight

__all__ = ["Converted", "convert", "convert_adapter", "is_adapter", "is_safetensors"]


@dataclass(frozen=True)
class Converted:
    """What has become of a folder. Size in bytes."""

    architecture: str
    """As config.json names it."""
    family: str
    """As llama.cpp names it: `general.architecture`."""
    size: int
    chat_template: str | None = None
    parameters: dict[str, Any] = field(default_factory=dict[str, Any])
    """Options (of a Modelfile's PARAMETER) that the folder asks for."""
    license: str | None = None
    """Its text, or its name where the folder has no more."""
    notes: tuple[str, ...] = ()
    """What is other than in transformers, or was left out: for whoever imports the model."""


def is_safetensors(files: Files) -> bool:
    """Whether a folder is one for `convert` or, when `is_adapter`, for `convert_adapter`."""
    return any(name.endswith(SUFFIX) for name in files)


def convert(files: Files, target: Sink | Path) -> Generator[tuple[int, int], None, Converted]:
    """Write the model of a folder to `target` as one GGUF.

    Blocking, in steps of a few MB: yields (bytes done, bytes in all). `target` is written front to back; what
    a failure leaves of it is the caller's to remove. Raises ConversionError, and what writing raises.
    """
    config = read_config(files)
    plan = read_plan(config, files)
    vocabulary = read_vocabulary(files, plan.vocab_size)
    special = read_special(files, config, vocabulary)
    templates = read_templates(files)
    with checkpoint(files) as found:
        matched = weights.match(plan, found)
        progress = _Progress(matched)
        matched = yield from _decided(matched, found, progress)
        metadata: Metadata = {
            "general.architecture": plan.architecture,
            "general.type": "model",
            "general.quantization_version": 2,
            "general.file_type": int(weights.file_type(matched)),
            **plan.metadata,
            **vocabulary.metadata(),
            **special,
            **template_metadata(templates),
        }
        with sink_of(target) as sink:
            size = yield from _write(sink, metadata, matched, found, progress)
    name = architecture(config)
    return Converted(
        architecture=name,
        family=plan.architecture,
        size=size,
        chat_template=templates.get("default"),
        parameters=bert.parameters(files) if name == BERT else {},
        license=read_license(files),
        notes=(*plan.notes, *vocabulary.notes),
    )


class _Progress:
    """Bytes of the checkpoint that are read; those that are looked at first count twice."""

    def __init__(self, matched: list[Weight]) -> None:
        self.done = 0
        self.total = sum(w.source_size * (2 if weights.undecided(w) else 1) for w in matched)

    def add(self, count: int) -> tuple[int, int]:
        self.done += count
        return self.done, self.total


def _decided(
    matched: list[Weight], found: Checkpoint, progress: _Progress
) -> Generator[tuple[int, int], None, list[Weight]]:
    """The same weights; matrices of F32 become F16 when all of their numbers fit."""
    decided: list[Weight] = []
    for weight in matched:
        fits = weights.undecided(weight)
        for piece in found.pieces(weight.stored) if fits and weight.stored else ():
            fits = fits and floats.fits_half(piece)
            yield progress.add(piece.nbytes)
        decided.append(weights.narrowed(weight) if fits else weight)
    return decided


def _write(
    sink: Sink, metadata: Metadata, matched: list[Weight], found: Checkpoint, progress: _Progress
) -> Generator[tuple[int, int], None, int]:
    """The whole file; returns its size."""
    head = header(metadata, [weight.tensor for weight in matched])
    sink.write(head)
    size = len(head)
    for weight in matched:
        for piece in weights.pieces(weight, found):
            sink.write(piece)
            yield progress.add(len(piece) * weight.source_size // weight.tensor.size)
        sink.write(padding(weight.tensor.size))
        size += weight.tensor.size + len(padding(weight.tensor.size))
    return size
