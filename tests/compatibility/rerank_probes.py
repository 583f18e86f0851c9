"""Every parameter of rerank. Jina and Cohere publish no types of it that are installed here."""

from __future__ import annotations

from agentkit_server.dialects.openai_parameters import IGNORED
from tests.compatibility.openai_probes import EMBEDDINGS, EXTENSIONS, WHY
from tests.compatibility.probes import Endpoint

RERANK = Endpoint(
    path="/v1/rerank",
    source="Jina's and Cohere's rerank",
    published=(
        *("model", "query", "documents", "top_n", "return_documents", "max_tokens_per_doc"),
        *("rank_fields", "max_chunks_per_doc", "truncate", "priority"),
    ),
    base={"model": "reranker", "query": "Where?", "documents": ["In China.", "In the sea."]},
    probes={
        "model": ["reranker"],
        "query": ["Where?"],
        "documents": [["In China.", "In the sea."]],
        "top_n": [1],
        "return_documents": [True],
        "max_tokens_per_doc": [8],
        "max_chunks_per_doc": [2],
        "rank_fields": [["text"]],
        "priority": [1],
        "raw_scores": [True],
        **{name: EXTENSIONS[name] for name in ("num_ctx", "keep_alive", "truncate", "max_seconds", "run_id")},
        **{name: EMBEDDINGS.probes[name] for name in sorted(IGNORED)},
    },
    why=WHY | {"run_id": "documents leave no prefix to keep"},
)
