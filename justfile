# Install agentkit and the tools below into .venv
install:
    scripts/install --dev

# Format, and fix what ruff can fix by itself
fmt:
    .venv/bin/ruff check --fix .
    .venv/bin/ruff format .

# Everything that can be checked without running the code
check:
    scripts/check

# Everything, or what the arguments select: `just test tests/models -k digest`
test *args:
    scripts/test {{args}}

# Run the snippets of README.md and docs/
docs:
    scripts/test tests/docs

# Measure against a bare llama_decode loop and llama-server: `just bench --peer PATH`
bench *args:
    .venv/bin/python -m tests.bench {{args}}

# How far the grammars of JSON Schemas go, over ../shared/data: `just conformance core --failures`
conformance *args:
    .venv/bin/python -m tests.conformance {{args}}

# Tool choice on the real smollm2, over all fifty prompts of tests/support/awkward.py
calls:
    AGENTKIT_TEST_PROMPTS=50 .venv/bin/python -m pytest tests/test_real_calls.py -q

# Send the server what /openapi.json allows and forbids, two minutes long: `just fuzz --seconds 600`
fuzz *args:
    .venv/bin/python -m tests.fuzz {{args}}

# Write the pages of docs/reference that are made from the server itself
reference:
    .venv/bin/python scripts/http_reference.py > docs/reference/http.md
    .venv/bin/python -m tests.compatibility > docs/reference/compatibility.md

# Regenerate constraints.txt
lock:
    scripts/lock

# Published coding agents (Codex, Claude Code, ...) on the real server: `just clients --only Pi --show`
clients *args:
    .venv/bin/python -m tests.clients {{args}}
