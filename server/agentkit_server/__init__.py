"""The agentkit server: wire dialects in front of one engine. See docs/architecture.md."""
