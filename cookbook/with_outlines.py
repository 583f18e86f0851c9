"""The server as a model of outlines: its own adapter for vLLM speaks to it unchanged.

pip install outlines openai
python with_outlines.py [MODEL]
"""

import os
import sys
from typing import Literal

import openai
import outlines
from outlines.types import Regex
from pydantic import BaseModel, Field


class Person(BaseModel, extra="forbid"):
    name: str = Field(max_length=20)
    age: int = Field(ge=0, le=120)


def server() -> str:
    host = os.environ.get("AGENTKIT_HOST", "127.0.0.1:11434")
    return host if "://" in host else f"http://{host}"


def main(model_name: str) -> None:
    with openai.OpenAI(base_url=f"{server()}/v1", api_key="unused") as client:
        model = outlines.from_vllm(client, model_name)
        print("choice:", model("Is the sky blue or green?", Literal["blue", "green"]))
        print(
            "regex:", model("When did people first land on the moon?", Regex(r"(19|20)\d\d"), max_tokens=20)
        )
        text = model("Ada is 36 years old.", Person, max_tokens=200, temperature=0)
        print("pydantic:", Person.model_validate_json(text))


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "smollm2")
