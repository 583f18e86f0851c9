"""Names that the shell completes with Tab. Never an error and never a wait: no server means no names."""

from __future__ import annotations

_SECONDS = 1.0


def model_names(incomplete: str) -> list[str]:
    """Names in the store that begin with `incomplete`."""
    return [name for name in _names(loaded=False) if name.startswith(incomplete)]


def loaded_names(incomplete: str) -> list[str]:
    """Names of models in memory that begin with `incomplete`."""
    return [name for name in _names(loaded=True) if name.startswith(incomplete)]


def _names(*, loaded: bool) -> list[str]:
    from agentkit import AgentkitError, Client

    try:
        with Client(timeout=_SECONDS, retries=0) as client:
            models = client.ps().models if loaded else client.list().models
    except AgentkitError:
        return []
    return [model.name or model.model or "" for model in models]
