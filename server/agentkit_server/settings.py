"""Settings, read once at start. Each `AGENTKIT_X` falls back to its `OLLAMA_X` twin.

Values are trimmed of spaces and surrounding quotes, as Ollama does.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BeforeValidator, Field
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

DEFAULT_PORT = 11434
_FALSE = frozenset({"", "0", "f", "false", "n", "no", "off"})


def _trim(value: Any) -> Any:
    return value.strip().strip("\"'") if isinstance(value, str) else value


def _split(value: Any) -> Any:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _flag(value: Any) -> Any:
    """A boolean as Ollama reads it: what is not plainly false is true."""
    return value.lower() not in _FALSE if isinstance(value, str) else value


def _on_off(value: Any) -> Any:
    """`auto`, or a boolean in any form as `on` or `off`."""
    if isinstance(value, str) and value.lower() in ("", "auto"):
        return "auto"
    return "on" if _flag(value) else "off"


def _both(name: str) -> AliasChoices:
    return AliasChoices(f"AGENTKIT_{name}", f"OLLAMA_{name}", name.lower())


Text = Annotated[str, BeforeValidator(_trim)]
Flag = Annotated[bool, BeforeValidator(_flag), BeforeValidator(_trim)]
OnOff = Annotated[Literal["auto", "on", "off"], BeforeValidator(_on_off), BeforeValidator(_trim)]
CommaList = Annotated[list[str], NoDecode, BeforeValidator(_split), BeforeValidator(_trim)]


class Settings(BaseSettings):
    """Everything the server can be told by the environment."""

    model_config = SettingsConfigDict(extra="ignore", populate_by_name=True, env_ignore_empty=True)

    host: Text = Field(f"127.0.0.1:{DEFAULT_PORT}", validation_alias=_both("HOST"))
    """Bind address, `host[:port]` or a URL."""
    models: Annotated[Path | None, BeforeValidator(_trim)] = Field(None, validation_alias=_both("MODELS"))
    """Store root; None = the `models` folder in the user's ollama folder, as Ollama does."""
    origins: CommaList = Field([], validation_alias=_both("ORIGINS"))
    keep_alive: Text = Field("5m", validation_alias=_both("KEEP_ALIVE"))
    load_timeout: Text = Field("5m", validation_alias=_both("LOAD_TIMEOUT"))
    num_parallel: int = Field(0, ge=0, le=256, validation_alias=_both("NUM_PARALLEL"))
    """Full-length sequences whose cells are reserved; 0 = auto (up to 4, as memory allows)."""
    max_loaded_models: int = Field(0, ge=0, validation_alias=_both("MAX_LOADED_MODELS"))
    """0 = auto (3 on CPU, 3 per GPU)."""
    max_queue: int = Field(512, ge=1, validation_alias=_both("MAX_QUEUE"))
    context_length: int = Field(0, ge=0, validation_alias=_both("CONTEXT_LENGTH"))
    """Default num_ctx; 0 = by memory tier."""
    flash_attention: OnOff = Field("auto", validation_alias=_both("FLASH_ATTENTION"))
    kv_cache_type: Literal["f16", "q8_0", "q4_0"] = Field("f16", validation_alias=_both("KV_CACHE_TYPE"))
    num_threads: int = Field(0, ge=0, validation_alias=_both("NUM_THREADS"))
    debug: Text = Field("0", validation_alias=_both("DEBUG"))
    noprune: Flag = Field(False, validation_alias=_both("NOPRUNE"))
    api_keys: CommaList = Field([], validation_alias="AGENTKIT_API_KEYS")
    """Accepted keys; only their hashes are kept after start."""
    max_body_bytes: int = Field(64 << 20, ge=1024, validation_alias="AGENTKIT_MAX_BODY_BYTES")
    """Largest JSON request body. Blob uploads have no such limit."""
    responses: Annotated[Path | None, BeforeValidator(_trim)] = Field(
        None, validation_alias="AGENTKIT_RESPONSES"
    )
    """File of stored responses; None = `agentkit/responses.sqlite` in the store root."""
    responses_keep: Text = Field("720h", validation_alias="AGENTKIT_RESPONSES_KEEP")
    """How long a response is kept after it was made or last continued; 0 = none are, negative = for ever."""
    responses_max_bytes: int = Field(1 << 30, ge=1 << 20, validation_alias="AGENTKIT_RESPONSES_MAX_BYTES")
    """Most bytes of stored responses; beyond, the longest unused go."""
    search: Text = Field("", validation_alias="AGENTKIT_SEARCH")
    """URL of a SearXNG instance that models may search the web with; "" = none."""
    max_transfer_streams: int = Field(4, ge=1, le=64, validation_alias=_both("MAX_TRANSFER_STREAMS"))
    """Connections that one pull or push uses at once."""
    transfer_rate: int = Field(0, ge=0, validation_alias="AGENTKIT_TRANSFER_RATE")
    """Most bytes a second of all pulls and pushes together; 0 = as fast as the line is."""
    transfer_stall: float = Field(30.0, gt=0, le=3600, validation_alias="AGENTKIT_TRANSFER_STALL")
    """Seconds without a byte after which a connection counts as stalled, and is made anew."""
    registry_auth: CommaList = Field([], repr=False, validation_alias="AGENTKIT_REGISTRY_AUTH")
    """What to log in with: `HOST=TOKEN` or `HOST=USER:PASSWORD` for each private registry."""
    registry_realms: CommaList = Field([], validation_alias="AGENTKIT_REGISTRY_REALMS")
    """`HOST=REALM_HOST` for each registry whose tokens another host hands out."""
    hf_token: Text = Field("", repr=False, validation_alias=AliasChoices("HF_TOKEN", "hf_token"))
    """Token for private and gated models of hf.co."""
    hf_endpoint: Text = Field("", validation_alias=AliasChoices("HF_ENDPOINT", "hf_endpoint"))
    """Where hf.co is reached, for mirrors; "" = there."""
