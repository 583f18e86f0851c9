"""A cassette: what a real backend answered once, kept in a JSON file for the tests that come after."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from agentkit._errors import AgentkitError, ConnectionError, ResponseError, TimeoutError
from agentkit._pieces import piece_from_json, piece_to_json, request_digest, request_fields
from agentkit._turn import ModelBackend, ModelSession, Piece, TurnRequest

_FORMAT = "agentkit.cassette"
_VERSION = 1
_ERRORS: dict[str, type[AgentkitError]] = {
    one.__name__: one for one in (ConnectionError, ResponseError, TimeoutError)
}


class Recorder:
    """A backend that answers from the cassette at `path`; where there is none yet, `backend` answers, and the
    cassette is made of it.

    It is written when a run ends without an exception, and after each further one. `again`: record anew.
    Requests are found by what they are, so runs at the same time may share one; each answer is given once. A
    request that is not in the cassette is an AgentkitError, which says what about it is new.
    """

    def __init__(
        self, path: str | PathLike[str], backend: ModelBackend | None = None, *, again: bool = False
    ) -> None:
        self.path = fspath(path)
        self.requests: list[TurnRequest] = []
        """What was asked in this process."""
        self.recording = again or not Path(path).exists()
        """Does the backend answer, and not the cassette?"""
        self._backend = backend
        self._turns: list[dict[str, Any]] = [] if self.recording else _read(self.path)
        if self.recording and backend is None:
            raise AgentkitError(
                f"there is no cassette at {self.path!r}",
                hint="give a backend to record one from",
            )

    @asynccontextmanager
    async def connect(self) -> AsyncGenerator[ModelSession]:
        """A session with the backend, or with the cassette."""
        async with AsyncExitStack() as stack:
            inner = None
            if self.recording and self._backend is not None:
                inner = await stack.enter_async_context(self._backend.connect())
            yield _Session(self, inner)
            if self.recording:
                self.save()

    def save(self) -> None:
        """Write the cassette."""
        text = json.dumps({"format": _FORMAT, "version": _VERSION, "turns": self._turns}, indent=1)
        Path(self.path).write_text(text + "\n", encoding="ascii")

    def begin(self, request: TurnRequest) -> dict[str, Any]:
        """The turn of `request`: a new one, or the one in the cassette, which is then used up."""
        self.requests.append(request)
        fields = request_fields(request)
        digest = request_digest(fields)
        if self.recording:
            turn: dict[str, Any] = {"sha256": digest, "request": fields, "pieces": [], "error": None}
            self._turns.append(turn)
            return turn
        for turn in self._turns:
            if turn["sha256"] == digest:
                self._turns.remove(turn)
                return turn
        raise AgentkitError(
            f"no answer in the cassette {self.path!r} fits this request: {_new(fields, self._turns)}",
            hint="if it is meant to be new, record again with again=True or without the file",
        )


@dataclass(frozen=True)
class _Session:
    recorder: Recorder
    inner: ModelSession | None

    async def turn(self, request: TurnRequest) -> AsyncGenerator[Piece]:
        turn = self.recorder.begin(request)
        if self.inner is None:
            for piece in turn["pieces"]:
                yield piece_from_json(piece)
            if turn["error"] is not None:
                raise _error(turn["error"])
            return
        try:
            async with aclosing(self.inner.turn(request)) as pieces:
                async for piece in pieces:
                    turn["pieces"].append(piece_to_json(piece))
                    yield piece
        except tuple(_ERRORS.values()) as error:
            status = getattr(error, "status_code", None)
            turn["error"] = {"type": type(error).__name__, "message": str(error.args[0]), "status": status}
            raise

    async def release(self, run_id: str) -> None:
        if self.inner is not None:
            await self.inner.release(run_id)


def _error(said: Mapping[str, Any]) -> AgentkitError:
    if said["status"] is not None:
        return ResponseError(said["message"], said["status"])
    return _ERRORS[said["type"]](said["message"])


def _new(fields: Mapping[str, Any], turns: list[dict[str, Any]]) -> str:
    """What about a request differs from the next one in the cassette."""
    if not turns:
        return "all of them are used up"
    recorded: Mapping[str, Any] = turns[0]["request"]
    return ", ".join(
        f"{name} is {value!r}, and was {recorded.get(name)!r}"
        for name, value in fields.items()
        if recorded.get(name) != value
    )


def _read(path: str) -> list[dict[str, Any]]:
    try:
        cassette: Any = json.loads(Path(path).read_bytes())
    except ValueError as error:
        raise AgentkitError(
            f"{path!r} is no cassette: {error}", hint="delete it to record a new one"
        ) from error
    if not isinstance(cassette, dict) or cassette.get("format") != _FORMAT or cassette["version"] != _VERSION:  # pyright: ignore[reportUnknownMemberType]
        raise AgentkitError(f"{path!r} is no cassette of this version", hint="delete it to record a new one")
    return cassette["turns"]  # pyright: ignore[reportUnknownVariableType]
