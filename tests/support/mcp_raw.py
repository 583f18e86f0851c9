"""An MCP server over stdio that answers what it is told to, valid or not: `python mcp_raw.py <script.json>`.

The script: `{"tools": [page, page, …]}`, each page the result of `tools/list` at the cursor of its number,
and `{"forever": true}` to repeat the last page under ever new cursors. `tools/call` kills the process.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

script = json.loads(Path(sys.argv[1]).read_text())


def answer(method: str, params: dict[str, Any]) -> dict[str, Any] | None:
    if method == "initialize":
        info = {"name": "raw", "version": "1"}
        return {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": info}
    if method == "tools/call":
        print("giving up", file=sys.stderr, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    if method == "tools/list":
        pages = script["tools"]
        at = int(params.get("cursor") or 0)
        more = script.get("forever") or at + 1 < len(pages)
        page = {"tools": pages[min(at, len(pages) - 1)]}
        return page | ({"nextCursor": str(script.get("stuck", at + 1))} if more else {})
    return None


for line in sys.stdin:
    message = json.loads(line)
    if "id" not in message or "method" not in message:
        continue
    result = answer(message["method"], message.get("params") or {})
    reply = {"result": result} if result else {"error": {"code": -32601, "message": "not known"}}
    print(json.dumps({"jsonrpc": "2.0", "id": message["id"], **reply}), flush=True)
