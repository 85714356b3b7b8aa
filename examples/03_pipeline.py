"""The whole funnel as one object: two recall channels, a light ranker, a strong one, a last step for variety.

    python examples/03_pipeline.py

Films come as in 01_quickstart.py. A language model stands in any place as LikelihoodRanker(engine, titles) does there.
"""

from llmrec.classic.recall.factorization import ALS, EASE
from llmrec.classic.recall.fused import FusedRecommender
from llmrec.classic.recall.neighbours import ItemKNN
from llmrec.classic.reranking.mmr import MMR
from llmrec.data_prep.movielens import load_movielens
from llmrec.data_prep.split import leave_last_out
from llmrec.eval.evaluate import evaluate
from llmrec.eval.report import print_table
from llmrec.pipeline.funnel import Pipeline
from llmrec.pipeline.limit import TimeLimit
from llmrec.pipeline.stages import Stage
from llmrec.pipeline.vectors import VectorRanker

split = leave_last_out(load_movielens(), short_users="train")
train, test = split.train, split.test

# Recall proposes 200 films of 9,066; every stage ranks what is left and hands on fewer.
ease = EASE().fit(train)
pipeline = Pipeline(
    recall=FusedRecommender(members=[ease, ItemKNN().fit(train)]),
    keep=200,
    stages=(
        Stage("pre-rank", VectorRanker(ALS().fit(train)), keep=50, weight=0.5),
        # A stage that fails or takes longer than its limit is skipped: the order that came in stays.
        Stage("re-rank", MMR().fit(train), keep=10, limit=TimeLimit(60)),
    ),
)
funnel = pipeline.run(test.queries, relevant=test.relevant)
for run in funnel.runs:
    size, moved = run.left / run.queries, f"moved by {run.shift:.1f} places, " if run.entered else ""
    print(
        f"{run.name}: {size:.0f} films a user in {run.seconds:.2f} s, {moved}"
        f"{run.found} of {len(test)} true ones among them, skipped for {run.skipped} users"
    )

print_table(
    evaluate(
        {"recall": funnel.lists[0], "pre-rank": funnel.lists[1], "pipeline": funnel.candidates},
        test,
        n_items=len(train.items),
        metrics=["ndcg@10", "hr@10", "coverage@10"],
        baseline="recall",
    )
)
titles = train.titles()
for history, items in zip(test.queries.last(3).lists()[:3], funnel.candidates.top(3).items, strict=False):
    print("after", " | ".join(titles[item] for item in history), "->", " | ".join(titles[item] for item in items))
