"""The Modelfile of a stored model, for `show` and `export`: it builds the same model again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from agentkit_server.errors import ModelfileError
from agentkit_server.models.model import Model
from agentkit_server.models.modelfile.parameters import KINDS
from agentkit_server.models.modelfile.reading import parse
from agentkit_server.models.modelfile.structure import ROLES, AdapterLine, MessageLine, Modelfile
from agentkit_server.models.modelfile.writing import render, written_parameters


def render_modelfile(model: Model, modelfile: Modelfile | None = None, head: Sequence[str] = ()) -> str:
    """The Modelfile of a stored model. What Ollama stored and no Modelfile can say is a comment in it.

    `modelfile` is `modelfile_of(model)` on other files; `head` are other lines to begin with.
    """
    head = head or (
        "# The Modelfile of this model. To change it, save it to a file and put there:",
        f"# FROM {model.name.short}",
    )
    left_out = (f"# {line}\n" for line in _left_out(model))
    text = render(modelfile_of(model) if modelfile is None else modelfile)
    return "\n".join((*head, "", text)) + "".join(left_out)


def modelfile_of(model: Model) -> Modelfile:
    """The commands that build a stored model, on its files where they are."""
    return Modelfile(
        from_=tuple(str(path) for path in (model.path, *model.projectors)),
        adapters=tuple(AdapterLine(str(adapter.path), adapter.scale) for adapter in model.adapters),
        draft=None if model.draft is None else str(model.draft),
        template=model.go_template,
        system=model.system,
        parameters={name: value for name, value in model.parameters.items() if _is_read(name, value)},
        messages=tuple(
            MessageLine(message["role"], message.get("content", ""))
            for message in model.messages
            if message.get("role") in ROLES
        ),
        license=model.license,
        renderer=model.renderer,
        parser=model.parser,
        requires=_version(model),
    )


def _left_out(model: Model) -> Iterator[str]:
    strange = {name: value for name, value in model.parameters.items() if not _is_read(name, value)}
    yield from (f"not a parameter of this version: {name!r}: {value!r}" for name, value in strange.items())
    if model.requires is not None and _version(model) is None:
        yield f"not a version that is required: {model.requires!r}"
    strays = [message.get("role", "") for message in model.messages if message.get("role") not in ROLES]
    yield from (f"a message in the role {role!r}, which MESSAGE does not have" for role in strays)


def _version(model: Model) -> str | None:
    """What the model requires, where that can be read back."""
    try:
        return parse(render(Modelfile(("x",), requires=model.requires))).requires
    except ModelfileError:
        return None


def _is_read(name: str, value: object) -> bool:
    """Whether a stored parameter is read back when it is written out."""
    lines = [f"PARAMETER {each} {text}" for each, text in written_parameters({name: value})]
    try:
        return name in KINDS and bool(parse("\n".join(["FROM x", *lines])).parameters)
    except ModelfileError:
        return False
