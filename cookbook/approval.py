"""A tool that needs a person's yes. The run pauses before it, is kept as JSON, and goes on from there, as it
could in another process or on another day.

python approval.py [MODEL]
"""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

from pydantic import Field

from agentkit import Agent, Run, tool


@tool(requires_approval=True)
def delete_file(name: Annotated[str, Field(max_length=30, description="Name of the file")]) -> str:
    """Deletes a file."""
    return f"{name} is gone"


def main(model: str, folder: Path) -> None:
    agent = Agent(model, tools=[delete_file], flow="single", options={"temperature": 0, "num_predict": 200})

    paused = agent.run_sync("Delete the file notes.txt")
    for call in paused.pending:
        print(f"waits: {call.name} {call.arguments}")
    kept = folder / "run.json"
    kept.write_text(paused.run.model_dump_json())

    run = Run.model_validate_json(kept.read_text())
    run.approve_all()
    done = agent.run_sync(run=run)
    print("result:", next(message.content for message in done.messages if message.role == "tool"))
    print("answer:", done.output)


if __name__ == "__main__":
    with TemporaryDirectory() as made:
        main(sys.argv[1] if len(sys.argv) > 1 else "smollm2", Path(made))
