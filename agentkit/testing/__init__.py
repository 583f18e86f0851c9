"""What tests of agents need: a model that follows a script, one that was recorded, no requests by accident.

from agentkit.testing import ScriptedModel, calls
agent = Agent("any", tools=[weather], backend=ScriptedModel([calls(("weather", {"city": "Oslo"})), "Rain."]))
"""

from __future__ import annotations

from agentkit._connection import forbid_requests
from agentkit._session import MemorySessions
from agentkit.testing._recorder import Recorder
from agentkit.testing._script import Answer, Hang, answer, broken, calls, cut, hanging, thinking
from agentkit.testing._scripted import ScriptedModel, Step

__all__ = [
    "Answer",
    "Hang",
    "MemorySessions",
    "Recorder",
    "ScriptedModel",
    "Step",
    "answer",
    "broken",
    "calls",
    "cut",
    "forbid_requests",
    "hanging",
    "thinking",
]
