"""Three functions as tools, in the three flows; an answer in a nested model; branches on one prefix.

python three_tools.py [MODEL]
"""

import asyncio
import sys
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from agentkit import Agent, Limits, RunResult

City = Annotated[str, Field(max_length=20, description="Name of a city")]


def weather(city: City, day: Literal["today", "tomorrow"] = "today") -> str:
    """The weather of a city.

    Args:
        day: which day
    """
    return f"{city}, {day}: sunny, 21 degrees"


def convert(amount: Annotated[float, Field(ge=0, le=1e6)], to: Literal["EUR", "USD", "NOK"]) -> str:
    """Converts an amount of pounds to another currency."""
    rates = {"EUR": 1.15, "USD": 1.27, "NOK": 13.4}
    return f"{amount:g} GBP = {amount * rates[to]:.2f} {to}"


async def book_table(
    city: City, guests: Annotated[int, Field(ge=1, le=8)], at: Annotated[str, Field(pattern=r"^\d\d:\d\d$")]
) -> dict[str, object]:
    """Books a table in a restaurant.

    Args:
        guests: how many people
        at: time of the day, such as 19:30
    """
    return {"booked": True, "city": city, "guests": guests, "at": at}


class Place(BaseModel):
    city: str = Field(max_length=20)
    country: str = Field(max_length=20)


class Trip(BaseModel):
    """What the agent answers."""

    place: Place
    sky: Literal["sunny", "cloudy", "rainy"]
    days: int = Field(ge=1, le=14)
    notes: list[Annotated[str, Field(max_length=40)]] = Field(max_length=2)


TOOLS = [weather, convert, book_table]


async def main(model: str) -> None:
    options = {"temperature": 0, "seed": 7, "num_predict": 300}

    def agent(flow: Literal["single", "parallel", "loop"]) -> Agent[Trip]:
        limits = Limits(turns=4, tool_calls=4, wrap_up=True)
        return Agent(model, Trip, tools=TOOLS, flow=flow, limits=limits, options=options, keep_prefix=True)

    for flow in ("single", "parallel", "loop"):
        result = await agent(flow).run("What is the weather in Oslo? Plan two days there.")
        show(flow, result)

    # Three branches of the last run. They begin alike, so the server computes that part once.
    branches = result.run.fork(3)
    asked = ["Plan it for one day.", "Plan it for a week.", "Plan it for rain."]
    answers = await asyncio.gather(
        *(agent("loop").run(prompt, run=branch) for prompt, branch in zip(asked, branches, strict=True))
    )
    for answer in answers:
        before, now = result.usage, answer.usage
        show("branch", answer)
        cached, prompt = now.cached_tokens - before.cached_tokens, now.prompt_tokens - before.prompt_tokens
        print(f"  {cached} of {prompt} prompt tokens were not computed again")


def show(name: str, result: RunResult[Trip]) -> None:
    calls = [call.function for message in result.messages for call in message.tool_calls or ()]
    print(f"{name}: {result.usage.turns} turns")
    for call in calls:
        print(f"  call {call.name} {dict(call.arguments)}")
    print(f"  output {result.output.model_dump_json()}")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "smollm2"))
