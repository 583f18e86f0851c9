"""Prompts for the benchmark: text that a small model continues for long, and texts of a given number of
tokens that share nothing, or share everything but their last sentence."""

from __future__ import annotations

import random
import re
from collections.abc import Callable

STORIES = [
    "Once upon a time, in a village by the sea, there lived an old clockmaker named",
    "The history of the steam engine begins in the eighteenth century, when",
    "To bake a loaf of sourdough bread, first prepare the starter. Then",
    "Dear diary, today I travelled across the mountains with my two brothers and",
    "The solar system consists of eight planets. The first planet, Mercury, is",
    "A good garden needs water, light and patience. In early spring,",
    "The detective looked at the letter for a long time before she said:",
    "Computers store numbers in binary form. For example, the number",
]

WORDS = sorted({word for story in STORIES for word in re.findall("[a-z]{3,}", story)})

ENDINGS = [
    " In short, the first lesson of all this is",
    " The people of the town therefore decided that",
    " Nobody knew what would happen next, but",
    " Looking back, the most important thing was",
]


def filler(seed: int, n_tokens: int, count: Callable[[str], int]) -> str:
    """Words in a random order, `n_tokens` tokens or one or two fewer. Two seeds share no prefix."""
    pick = random.Random(seed)
    text = f"Note {seed}:"
    words = [f" {pick.choice(WORDS)}" for _ in range(n_tokens)]
    low, high = 0, len(words)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if count(text + "".join(words[:middle])) <= n_tokens else (low, middle - 1)
    return text + "".join(words[:low])


def stories(seed: int, streams: int) -> list[str]:
    """Prompts of about 20 tokens for streams that run side by side, no two alike."""
    return [f"{seed + i}. {STORIES[i % len(STORIES)]}" for i in range(streams)]
