"""Write the generated reference: ``python docs/generate.py`` (``make docs``); a test holds it against the code."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from llmrec.cli import COMMANDS

SUB = {
    "prepare": ["movielens", "mind", "amazon", "jobs", "table", "sequences"],
    "data": ["describe"],
    "recall": ["fit", "recommend", "shown", "list"],
    "coldstart": ["simulate", "fit", "evaluate"],
}
HERE = Path(__file__).parent


def help_page(*words: str) -> str:
    """Return a command's help as a terminal of 100 columns shows it."""
    plain = {**os.environ, "COLUMNS": "100", "TERMINAL_WIDTH": "100", "NO_COLOR": "1", "TERM": "dumb"}
    command = [sys.executable, "-m", "llmrec", *words, "--help"]
    text = subprocess.run(command, capture_output=True, text=True, check=True, env=plain).stdout  # noqa: S603
    return re.sub(r"python -m llmrec|__main__\.py", "llmrec", text).strip()


def reference() -> str:
    """Return the whole page."""
    parts = ["# Command line", "Written by `make docs`."]
    for words in [[], *([name, *sub] for name in COMMANDS for sub in [[], *[[each] for each in SUB.get(name, [])]])]:
        parts += [f"## {' '.join(['llmrec', *words])}", f"```text\n{help_page(*words)}\n```"]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    (HERE / "cli.md").write_text(reference(), encoding="utf-8")
