"""``python -m llmrec``: the same as the command ``llmrec``."""

from llmrec.cli import main

main()
