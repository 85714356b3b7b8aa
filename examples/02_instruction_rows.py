"""From ratings to rows that a language model can be tuned on: TALLRec's yes/no questions, cut so that nothing leaks.

    python examples/02_instruction_rows.py

Films come as in 01_quickstart.py. Rows are written as JSON lines with trl's columns; no model is needed.
"""

from pathlib import Path

from llmrec.data_prep.describe import describe, print_description
from llmrec.data_prep.examples import next_item, yes_no_from_ratings
from llmrec.data_prep.lint import lint_split
from llmrec.data_prep.movielens import load_movielens
from llmrec.data_prep.split import global_time_cut

data = load_movielens()
split = global_time_cut(data, train=0.7, valid=0.1, history=50)
print_description(describe(data, split))
print("leaks:", [finding.message for finding in lint_split(data, split) if finding.severity == "leak"] or "none")

rows = yes_no_from_ratings(split.train, window=10, like_above=3.0, last=8_000, template="tallrec-movie")
print(rows)
print(rows.frame["prompt"][0], "->", rows.frame["completion"][0])

test = next_item(split.train, targets=split.test, history=10)
print(test)
print(f"written: {rows.save(Path('runs/yes-no.jsonl'))}, {test.save(Path('runs/next-item.jsonl'))}")
