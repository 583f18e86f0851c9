"""The commands about models in memory: `ps` and `stop`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from agentkit_cli.arguments import JsonOption, LoadedModelArgument
from agentkit_cli.errors import CommandError
from agentkit_cli.output import note, say, say_json, say_record, size_text, table, time_text
from agentkit_cli.server import connected

if TYPE_CHECKING:
    from agentkit import LoadedModel


def ps(
    prefix: Annotated[str, typer.Argument(help="Only names that begin so")] = "", json: JsonOption = False
) -> None:
    """List the models in memory."""
    with connected() as client:
        answer = client.ps()
    kept = [model for model in answer.models if (model.name or "").lower().startswith(prefix.lower())]
    if json:
        say_record(answer.model_copy(update={"models": kept}))
        return
    rows = [
        (
            model.name or "",
            (model.digest or "")[:12],
            size_text(model.size or 0),
            _processor(model),
            str(model.context_length or ""),
            _until(model),
        )
        for model in kept
    ]
    say(table(("NAME", "ID", "SIZE", "PROCESSOR", "CONTEXT", "UNTIL"), rows))
    for model in kept:
        if model.note:
            note(f"{model.name}: {model.note}")


def stop(model: LoadedModelArgument, json: JsonOption = False) -> None:
    """Unload a model from memory."""
    from agentkit import ResponseError

    with connected() as client:
        try:
            client.stop(model)
        except ResponseError as error:
            if error.status_code == 404:
                raise CommandError(f'couldn\'t find model "{model}" to stop') from error
            raise
    if json:
        say_json({"stopped": model})
    else:
        say(f"stopped '{model}'")


def _processor(model: LoadedModel) -> str:
    size, on_gpu = model.size or 0, model.size_vram or 0
    if on_gpu == 0:
        return "100% CPU" if size else "Unknown"
    if on_gpu > size:
        return "Unknown"
    if on_gpu == size:
        return "100% GPU"
    on_cpu = round((size - on_gpu) / size * 100)
    return f"{on_cpu}%/{100 - on_cpu}% CPU/GPU"


def _until(model: LoadedModel) -> str:
    if model.loading is not None:
        return f"Loading {model.loading:.0%}"
    if model.stopping or (model.expires_at and model.expires_at.astimezone(UTC) <= datetime.now(UTC)):
        return "Stopping..."
    return time_text(model.expires_at)
