"""Write the generated reference: ``python docs/generate.py`` (``make docs``); a test holds it against the code."""

from __future__ import annotations

import sys
from pathlib import Path

from typer.testing import CliRunner

from llmrec.cli import COMMANDS, app

SUB = {
    "prepare": ["movielens", "mind", "amazon", "jobs", "table", "sequences"],
    "data": ["describe"],
    "train": ["tallrec", "sft", "reward", "ppo", "grpo", "rloo", "dpo", "merge"],
    "prompts": ["list", "show", "render", "compare"],
    "recall": ["fit", "recommend", "shown", "list"],
    "coldstart": ["simulate", "fit", "evaluate"],
}
HERE = Path(__file__).parent


def help_page(*words: str) -> str:
    """Return a command's help as a terminal of 100 columns shows it."""
    plain = {"COLUMNS": "100", "TERMINAL_WIDTH": "100", "NO_COLOR": "1", "TERM": "dumb"}
    found = CliRunner().invoke(app, [*words, "--help"], prog_name="llmrec", env=plain, catch_exceptions=False)
    if found.exit_code:
        raise SystemExit(found.output)
    return found.output.strip()


def reference() -> str:
    """Return the whole page."""
    parts = ["# Command line", "Written by `make docs`."]
    for words in [[], *([name, *sub] for name in COMMANDS for sub in [[], *[[each] for each in SUB.get(name, [])]])]:
        parts += [f"## {' '.join(['llmrec', *words])}", f"```text\n{help_page(*words)}\n```"]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "cli.md"
    out.write_text(reference(), encoding="utf-8")
