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

# Regenerate constraints.txt
lock:
    scripts/lock
