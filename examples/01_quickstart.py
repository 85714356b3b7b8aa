"""The main job, readable top to bottom: recall -> language model -> fusion -> evaluation, on real films.

python examples/01_quickstart.py [users]
"""

import sys

from llmrec.classic.recall.factorization import EASE
from llmrec.classic.recall.fuse import weighted_fusion
from llmrec.data_prep.movielens import load_movielens
from llmrec.data_prep.split import leave_last_out
from llmrec.eval.evaluate import evaluate
from llmrec.eval.report import print_table
from llmrec.llm.transformers import TransformersEngine
from llmrec.rank.likelihood import LikelihoodRanker

users = int(sys.argv[1]) if len(sys.argv) > 1 else 20

# Real ratings; each user's last film is the test, the one before it is for choosing parameters.
data = load_movielens()
split = leave_last_out(data, short_users="train")
test = split.test.sample(users)

# Classic recall proposes ten films nobody asked has seen.
candidates = EASE().fit(split.train).recommend(test.queries, 10)

# A language model reads the last twenty titles and says how probable each candidate is as the next line.
ranker = LikelihoodRanker(TransformersEngine(), data.titles())
ranked = ranker.rank(test.queries, candidates)

# Both opinions together; a real run chooses the weight on split.valid, as `llmrec demo` does.
fused = weighted_fusion([candidates, ranked], [0.7, 0.3], k=10, normalise="zscore")

print_table(
    evaluate(
        {"recall": candidates, "LLM": ranked, "recall + LLM": fused},
        test,
        n_items=len(data.items),
        metrics=["ndcg@10", "hr@10"],
        baseline="recall",
    )
)
titles = data.titles()
for history, items in zip(test.queries.last(3).lists()[:3], fused.top(3).items, strict=False):
    print("after", " | ".join(titles[item] for item in history), "->", " | ".join(titles[item] for item in items))
