"""The agentkit SDK: clients for a local model server, sync and async, with typed answers.

from agentkit import Client
print(Client().chat("smollm2", [{"role": "user", "content": "Hello"}]).message.content)
"""

from __future__ import annotations

from agentkit._api import (
    chat,
    copy,
    delete,
    embed,
    embeddings,
    generate,
    list,
    ps,
    pull,
    show,
    stop,
    version,
)
from agentkit._async_client import AsyncClient
from agentkit._client import Client
from agentkit._errors import AgentkitError, ConnectionError, RequestError, ResponseError, TimeoutError
from agentkit._types import (
    ChatResponse,
    EmbeddingsResponse,
    EmbedResponse,
    GenerateResponse,
    Image,
    ListResponse,
    LoadedModel,
    Logprob,
    Message,
    ModelDetails,
    Options,
    ProcessResponse,
    ProgressResponse,
    ShowResponse,
    StatusResponse,
    StoredModel,
    TokenLogprob,
    ToolCall,
    ToolFunction,
    VersionResponse,
)
from agentkit._version import __version__

__all__ = [
    "AgentkitError",
    "AsyncClient",
    "ChatResponse",
    "Client",
    "ConnectionError",
    "EmbedResponse",
    "EmbeddingsResponse",
    "GenerateResponse",
    "Image",
    "ListResponse",
    "LoadedModel",
    "Logprob",
    "Message",
    "ModelDetails",
    "Options",
    "ProcessResponse",
    "ProgressResponse",
    "RequestError",
    "ResponseError",
    "ShowResponse",
    "StatusResponse",
    "StoredModel",
    "TimeoutError",
    "TokenLogprob",
    "ToolCall",
    "ToolFunction",
    "VersionResponse",
    "__version__",
    "chat",
    "copy",
    "delete",
    "embed",
    "embeddings",
    "generate",
    "list",
    "ps",
    "pull",
    "show",
    "stop",
    "version",
]
