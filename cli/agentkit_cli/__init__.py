"""The `agentkit` command. It speaks to the server through the SDK and has no HTTP code of its own."""
