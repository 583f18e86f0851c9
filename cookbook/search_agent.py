"""An agent that searches and reads pages. The pages are a folder, so that this works without a network; with
`Searxng("http://localhost:8080")` or `Cloud()` as the provider it is the web.

python search_agent.py [MODEL]
"""

import asyncio
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from agentkit import Agent, Limits, ToolCallClosed, ToolResult, web

PAGES = {
    "otters.md": "# Sea otters\n\nSea otters hold hands while they sleep, so that they do not drift apart.\n",
    "owls.md": "# Owls\n\nA barn owl hears a mouse under the snow.\n",
    "rivers.md": "# Rivers\n\nThe Nile and the Amazon are the longest rivers.\n",
}
INSTRUCTIONS = "Search first. Then answer in one short sentence, from what you found."


async def main(model: str, folder: Path) -> None:
    for name, text in PAGES.items():
        (folder / name).write_text(text)
    tools = web.tools(web.FixturePages(folder), max_tokens=300)
    agent = Agent(
        model,
        instructions=INSTRUCTIONS,
        tools=tools,
        flow="single",
        limits=Limits(turns=4, seconds=300, wrap_up=True),
        options={"temperature": 0, "num_predict": 300},
    )
    async with agent.run_stream("How do sea otters sleep?") as events:
        async for event in events:
            if isinstance(event, ToolCallClosed):
                print(f"call: {event.name} {event.arguments}")
            elif isinstance(event, ToolResult):
                print(f"read: {len(event.content)} characters, {event.outcome}")
        print("answer:", events.result.output)


if __name__ == "__main__":
    with TemporaryDirectory() as made:
        asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "smollm2", Path(made)))
