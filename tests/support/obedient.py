"""Scripted runners that follow whatever grammar a request comes with, for tests that make up requests."""

from __future__ import annotations

from collections.abc import Iterator

from agentkit_server.engine.types import Generate, LoadSpec
from agentkit_server.runner.protocol import OnProgress
from agentkit_server.runner.scripted import Scripted, ScriptedLauncher, ScriptedModel

# What closes something comes first, white space last: an answer is to end.
EAGER = b'"}]>/)' + bytes(range(33, 127))
ORDER = list(dict.fromkeys(EAGER + bytes(range(256))))


class Obedient(Scripted):
    """Says its script, and under a grammar the first thing that comes to an end."""

    def _steps(self, request: Generate) -> Iterator[list[int]]:
        return self._obeying(request.grammar) if request.grammar else super()._steps(request)

    def _obeying(self, grammar: str) -> Iterator[list[int]]:
        constraint = self.model.constraint(grammar)
        ends = [self.model.id(text) for text in self.model.eog]
        control = range(256, self.model.n_vocab)
        while not (constraint.accepting or constraint.complete):
            token = next((token for token in (*ORDER, *control) if constraint.take(token)), None)
            if token is None:
                return
            yield [token]
            if token in ends:
                return


class ObedientLauncher(ScriptedLauncher):
    """Launches Obedient runners; `models` says what those of single paths can do."""

    def __init__(self, script: str, model: ScriptedModel, models: dict[str, ScriptedModel]) -> None:
        super().__init__(script, model)
        self._models = models

    async def launch(self, spec: LoadSpec, on_progress: OnProgress | None = None) -> Scripted:
        plain = await super().launch(spec, on_progress)
        model = self._models.get(spec.path, plain.model)
        runner = self.runners[self.runners.index(plain)] = Obedient(plain.script, spec, model)
        return runner
