"""From token bytes to text that is certain: whole characters, and nothing that may become a stop string."""

from __future__ import annotations

import codecs


class TextStream:
    """Feed the bytes of each token; get back text that will not be taken back."""

    def __init__(self, stops: list[str]) -> None:
        self._stops = [s for s in stops if s]
        self._longest = max(map(len, self._stops), default=0)
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = ""
        self.stopped_by: str | None = None

    def push(self, piece: bytes) -> str:
        """Text now certain. After a stop string was met, `stopped_by` names it and no more comes."""
        fresh = self._decoder.decode(piece)
        if not self._stops:
            return fresh
        return self._release(self._held + fresh)

    def flush(self) -> str:
        """What was held back: generation has ended for another reason, or something that is no text stands
        between this and what comes next."""
        if self.stopped_by is not None:
            return ""
        rest = self._held + self._decoder.decode(b"", final=True)
        self._held = ""
        return self._release(rest, final=True) if self._stops else rest

    def _release(self, text: str, *, final: bool = False) -> str:
        found = min(((text.find(s), s) for s in self._stops if s in text), default=None)
        if found is not None:
            at, self.stopped_by = found
            self._held = ""
            return text[:at]
        keep = 0 if final else self._overlap(text)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def _overlap(self, text: str) -> int:
        """Length of the longest tail of `text` that begins a stop string."""
        for length in range(min(self._longest - 1, len(text)), 0, -1):
            tail = text[-length:]
            if any(stop.startswith(tail) for stop in self._stops):
                return length
        return 0
