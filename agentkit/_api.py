"""Module-level functions on one client of default settings: `agentkit.chat(...)` without making a client.

The client reads the environment at its first request, not at import.
"""

from __future__ import annotations

from agentkit._client import Client

_client = Client()

generate = _client.generate
chat = _client.chat
embed = _client.embed
embeddings = _client.embeddings
pull = _client.pull
push = _client.push
create = _client.create
list = _client.list
show = _client.show
ps = _client.ps
copy = _client.copy
delete = _client.delete
stop = _client.stop
verify = _client.verify
version = _client.version
web_search = _client.web_search
web_fetch = _client.web_fetch
