"""Names that the shell completes with Tab. Never an error and never a wait: no server means no names."""

from __future__ import annotations

_SECONDS = 1.0
_QUANTIZATIONS = """
    f16 bf16 f32 q8_0 q6_K q5_K_M q5_K_S q4_K_M q4_K_S q3_K_L q3_K_M q3_K_S q2_K iq4_nl iq4_xs
"""


def model_names(incomplete: str) -> list[str]:
    """Names in the store that begin with `incomplete`."""
    return [name for name in _names(loaded=False) if name.startswith(incomplete)]


def loaded_names(incomplete: str) -> list[str]:
    """Names of models in memory that begin with `incomplete`."""
    return [name for name in _names(loaded=True) if name.startswith(incomplete)]


def quantizations(incomplete: str) -> list[str]:
    """The usual types of weights that begin with `incomplete`; the server knows more."""
    return [name for name in _QUANTIZATIONS.split() if name.lower().startswith(incomplete.lower())]


def _names(*, loaded: bool) -> list[str]:
    from agentkit import AgentkitError, Client

    try:
        with Client(timeout=_SECONDS, retries=0) as client:
            models = client.ps().models if loaded else client.list().models
    except AgentkitError:
        return []
    return [model.name or model.model or "" for model in models]
