"""The command ``llmrec``. A command's module is imported when it is called, so that ``--help`` takes no time."""

from __future__ import annotations

import logging
import os
import sys
from importlib import import_module
from typing import Any

import typer
from rich.console import Console
from rich.logging import RichHandler
from typer.core import TyperGroup

from llmrec import __version__
from llmrec.errors import LlmrecError

COMMANDS = {
    "demo": "The main job on real films with a small language model: recall, LLM ranking, evaluation.",
    "prepare": "Turn a data set's files into a folder that every other command reads.",
    "data": "Describe a data set: counts, long tail, time span, text, cold shares.",
    "lint-split": "Name what leaks from test to training in a prepared folder.",
    "examples": "Write examples to tune a language model on.",
    "recall": "Fit classic recall and write candidates.",
    "ranker": "Fit classic rankers and re-rankers, or teach one what a language model scored.",
    "rank": "Rank candidates with a language model, in one resumable batch.",
    "recommend": "Recommend through a pipeline: recall, rankers, language model, re-ranking, each timed.",
    "score": "Score yes/no examples with a language model: the odds of yes, in one resumable batch.",
    "train": "Tune a language model: TALLRec, descriptions, reward models, PPO, GRPO, RLOO, DPO; merged models.",
    "generate": "Generate texts for contexts with a language model, in one resumable batch.",
    "judge": "Judge two files of texts by a language model, in both orders: win rate, ties, bias.",
    "enhance": "Recommend with generated texts: matchers that read them, items nearest to them.",
    "coldstart": "Simulate behaviour for items that nobody has touched, learn from it, tell what it brings.",
    "fuse": "Fuse recall with a language model's ranking, fitted on validation.",
    "prompts": "List, show, render and compare prompts: quality against cost, biases, one report.html.",
    "evaluate": "Compare rankings or yes/no predictions: metrics, intervals, paired tests, report.html.",
    "doctor": "Show what is installed, which engine will run and what is missing.",
}


class LazyGroup(TyperGroup):
    """A group that lists its commands from a table and imports one only to run it."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ANN401, ARG002 - typer's own click types are private
        """Return the names in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ANN401, ARG002
        """Return the command, importing its module."""
        if cmd_name not in COMMANDS:
            return None
        return typer.main.get_command(import_module(f"llmrec.cli.{cmd_name.replace('-', '_')}").app)

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401, ARG002
        """Write the table of commands without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


app = typer.Typer(cls=LazyGroup, no_args_is_help=True, add_completion=False, rich_markup_mode=None)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"llmrec {__version__}")
        raise typer.Exit


@app.callback()
def llmrec(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),  # noqa: ARG001
    verbose: bool = typer.Option(False, "--verbose", "-v", help="Log what is done."),
) -> None:
    """Large language models in recommender systems: recall, LLM ranking, evaluation."""
    level = logging.INFO if verbose or not sys.stderr.isatty() else logging.WARNING
    handler = RichHandler(console=Console(stderr=True), show_path=False, show_level=False)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", datefmt="%H:%M:%S", handlers=[handler])
    logging.getLogger("llmrec").setLevel(level)
    # transformers and vLLM talk a lot; what matters reaches the user through our own messages.
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")


def main() -> None:
    """Run the command line; an error that a user can cause is one line on stderr and exit code 2."""
    try:
        app()
    except LlmrecError as error:
        sys.stderr.write(f"llmrec: error: {error}\n")
        raise SystemExit(error.exit_code) from None
