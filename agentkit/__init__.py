"""The agentkit SDK: clients for a local model server, tools made of functions, and agents that run on them.

from agentkit import Client
print(Client().chat("smollm2", [{"role": "user", "content": "Hello"}]).message.content)

A name is imported when it is first used, so that `import agentkit` costs next to nothing.
"""

from __future__ import annotations

import builtins
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agentkit._agent import (
        Agent,
        AgentOptions,
        RunOptions,
        RunResult,
        RunStream,
        Toolset,
    )
    from agentkit._api import (
        chat,
        copy,
        create,
        delete,
        embed,
        embeddings,
        generate,
        list,
        ps,
        pull,
        push,
        show,
        stop,
        verify,
        version,
        web_fetch,
        web_search,
    )
    from agentkit._async_client import (
        AsyncClient,
    )
    from agentkit._backends import (
        OpenAICompatible,
        Server,
    )
    from agentkit._client import (
        Client,
    )
    from agentkit._comparison import (
        Difference,
    )
    from agentkit._context import (
        RunContext,
    )
    from agentkit._errors import (
        AgentkitError,
        ConnectionError,
        DefinitionError,
        FetchRefused,
        LimitReached,
        OutputInvalid,
        RequestError,
        ResponseError,
        RunError,
        TimeoutError,
        ToolArgumentsError,
        ToolError,
        ToolFailed,
        ToolTimeout,
        WebError,
    )
    from agentkit._events import (
        Notice,
        PartialOutput,
        PendingCall,
        RunEnded,
        RunEvent,
        RunPaused,
        RunStarted,
        TextDelta,
        ThinkingDelta,
        ToolArgumentsDelta,
        ToolCallClosed,
        ToolCallOpened,
        ToolResult,
        ToolStarted,
        TurnEnded,
        TurnStarted,
    )
    from agentkit._hooks import (
        Hooks,
    )
    from agentkit._replay import (
        Replay,
        areplay,
        replay,
    )
    from agentkit._result import (
        result_text,
    )
    from agentkit._retry import (
        Retry,
    )
    from agentkit._run import (
        Run,
    )
    from agentkit._session import (
        MemorySessions,
        Session,
        SessionInfo,
        SessionStore,
    )
    from agentkit._sqlite import (
        SQLiteSessions,
    )
    from agentkit._tool import (
        Tool,
        ToolOptions,
        as_tool,
        tool,
    )
    from agentkit._types import (
        ChatResponse,
        DetokenizeResponse,
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
        TemplateResponse,
        TokenizeResponse,
        TokenLogprob,
        ToolCall,
        ToolFunction,
        VerifyResponse,
        VersionResponse,
        WebFetchResponse,
        WebSearchResponse,
        WebSearchResult,
    )
    from agentkit._usage import (
        Limits,
        Usage,
    )
    from agentkit._version import (
        __version__,
    )
    from agentkit.mcp import (
        McpOptions,
        McpServer,
    )

_HOMES = {
    "_agent": "Agent AgentOptions RunOptions RunResult RunStream Toolset",
    "_api": (
        "chat copy create delete embed embeddings generate list ps pull push show stop verify version "
        "web_fetch web_search"
    ),
    "_async_client": "AsyncClient",
    "_backends": "OpenAICompatible Server",
    "_client": "Client",
    "_comparison": "Difference",
    "_context": "RunContext",
    "_errors": (
        "AgentkitError ConnectionError DefinitionError FetchRefused LimitReached OutputInvalid "
        "RequestError ResponseError RunError TimeoutError ToolArgumentsError ToolError ToolFailed "
        "ToolTimeout WebError"
    ),
    "_events": (
        "Notice PartialOutput PendingCall RunEnded RunEvent RunPaused RunStarted TextDelta "
        "ThinkingDelta ToolArgumentsDelta ToolCallClosed ToolCallOpened ToolResult ToolStarted "
        "TurnEnded TurnStarted"
    ),
    "_hooks": "Hooks",
    "_replay": "Replay areplay replay",
    "_result": "result_text",
    "_retry": "Retry",
    "_run": "Run",
    "_session": "MemorySessions Session SessionInfo SessionStore",
    "_sqlite": "SQLiteSessions",
    "_tool": "Tool ToolOptions as_tool tool",
    "_types": (
        "ChatResponse DetokenizeResponse EmbedResponse EmbeddingsResponse GenerateResponse Image "
        "ListResponse LoadedModel Logprob Message ModelDetails Options ProcessResponse ProgressResponse "
        "ShowResponse StatusResponse StoredModel TemplateResponse TokenLogprob TokenizeResponse ToolCall "
        "ToolFunction VerifyResponse VersionResponse "
        "WebFetchResponse WebSearchResponse WebSearchResult"
    ),
    "_usage": "Limits Usage",
    "_version": "__version__",
    "mcp": "McpOptions McpServer",
}
"""The module of each public name, as the imports above tell type checkers; a test compares them."""
_MODULES = {name: module for module, names in _HOMES.items() for name in names.split()}

__all__ = [
    "Agent",
    "AgentOptions",
    "AgentkitError",
    "AsyncClient",
    "ChatResponse",
    "Client",
    "ConnectionError",
    "DefinitionError",
    "DetokenizeResponse",
    "Difference",
    "EmbedResponse",
    "EmbeddingsResponse",
    "FetchRefused",
    "GenerateResponse",
    "Hooks",
    "Image",
    "LimitReached",
    "Limits",
    "ListResponse",
    "LoadedModel",
    "Logprob",
    "McpOptions",
    "McpServer",
    "MemorySessions",
    "Message",
    "ModelDetails",
    "Notice",
    "OpenAICompatible",
    "Options",
    "OutputInvalid",
    "PartialOutput",
    "PendingCall",
    "ProcessResponse",
    "ProgressResponse",
    "Replay",
    "RequestError",
    "ResponseError",
    "Retry",
    "Run",
    "RunContext",
    "RunEnded",
    "RunError",
    "RunEvent",
    "RunOptions",
    "RunPaused",
    "RunResult",
    "RunStarted",
    "RunStream",
    "SQLiteSessions",
    "Server",
    "Session",
    "SessionInfo",
    "SessionStore",
    "ShowResponse",
    "StatusResponse",
    "StoredModel",
    "TemplateResponse",
    "TextDelta",
    "ThinkingDelta",
    "TimeoutError",
    "TokenLogprob",
    "TokenizeResponse",
    "Tool",
    "ToolArgumentsDelta",
    "ToolArgumentsError",
    "ToolCall",
    "ToolCallClosed",
    "ToolCallOpened",
    "ToolError",
    "ToolFailed",
    "ToolFunction",
    "ToolOptions",
    "ToolResult",
    "ToolStarted",
    "ToolTimeout",
    "Toolset",
    "TurnEnded",
    "TurnStarted",
    "Usage",
    "VerifyResponse",
    "VersionResponse",
    "WebError",
    "WebFetchResponse",
    "WebSearchResponse",
    "WebSearchResult",
    "__version__",
    "areplay",
    "as_tool",
    "chat",
    "copy",
    "create",
    "delete",
    "embed",
    "embeddings",
    "generate",
    "list",
    "ps",
    "pull",
    "push",
    "replay",
    "result_text",
    "show",
    "stop",
    "tool",
    "verify",
    "version",
    "web_fetch",
    "web_search",
]


def __getattr__(name: str) -> Any:
    if (module := _MODULES.get(name)) is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{module}"), name)
    globals()[name] = value
    return value


def __dir__() -> builtins.list[str]:
    return sorted({*globals(), *__all__})
