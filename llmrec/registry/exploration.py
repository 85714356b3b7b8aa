"""Names of exploration policies."""

from __future__ import annotations

from llmrec.registry.table import Registry, Row

POLICIES = Registry(
    "exploration policy",
    "llmrec.policies",
    {
        "epsilon-greedy": Row(
            "llmrec.classic.exploration.counts:EpsilonGreedy", "the best mean, now and then any arm", "Watkins 1989"
        ),
        "ucb1": Row(
            "llmrec.classic.exploration.counts:UCB1",
            "the highest upper confidence bound of a mean",
            "Auer, Cesa-Bianchi, Fischer, Machine Learning 2002",
        ),
        "thompson": Row(
            "llmrec.classic.exploration.counts:ThompsonSampling",
            "each arm as often as it is likely to be the best, by Beta posteriors of clicks",
            "Thompson, Biometrika 1933; Chapelle, Li, NeurIPS 2011",
        ),
        "lin-ucb": Row(
            "llmrec.classic.exploration.linear:LinUCB",
            "the highest upper confidence bound of a linear model of the context, one for each arm",
            "Li et al., WWW 2010",
            needs=("contexts",),
        ),
        "linear-thompson": Row(
            "llmrec.classic.exploration.linear:LinearThompson",
            "Thompson sampling with a linear model of the context, one for each arm",
            "Agrawal, Goyal, ICML 2013",
            needs=("contexts",),
        ),
        "neural-linear": Row(
            "llmrec.classic.exploration.neural_linear:NeuralLinear",
            "Thompson sampling with linear models on the last layer of a network",
            "Riquelme, Tucker, Snoek, ICLR 2018",
            needs=("contexts",),
        ),
    },
)
