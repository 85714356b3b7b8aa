"""Names of re-rankers."""

from __future__ import annotations

from llmrec.registry.table import Registry, Row

RERANKERS = Registry(
    "re-ranker",
    "llmrec.rerankers",
    {
        "mmr": Row(
            "llmrec.classic.reranking.mmr:MMR",
            "relevant, and unlike what stands before",
            "Carbonell, Goldstein, SIGIR 1998",
        ),
        "dpp": Row(
            "llmrec.classic.reranking.dpp:DPP",
            "the list that spans the largest volume (determinantal point process)",
            "Chen, Zhang, Zhou, NeurIPS 2018",
        ),
        "calibrated": Row(
            "llmrec.classic.reranking.calibrated:Calibrated",
            "categories in the shares that the history has them",
            "Steck, RecSys 2018",
            needs=("item columns",),
        ),
        "rules": Row(
            "llmrec.classic.reranking.rules:Rules",
            "business rules: block, pin, insert, quota, distance, fresh",
        ),
        "prm": Row(
            "llmrec.classic.reranking.prm:PRM",
            "a transformer over the whole list, learned from clicked lists",
            "Pei et al., RecSys 2019",
            needs=("impressions, or candidates with targets",),
        ),
        "explore": Row(
            "llmrec.classic.exploration.explore:Explore",
            "a chance for little shown candidates: epsilon-greedy, UCB or Thompson sampling",
            "Auer, Cesa-Bianchi, Fischer, Machine Learning 2002; Chapelle, Li, NeurIPS 2011",
        ),
    },
)
