"""Names of recommenders."""

from __future__ import annotations

from llmrec.registry.table import Registry, Row

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
        "category-popular": Row(
            "llmrec.classic.recall.followed:CategoryPopular",
            "popular items of the history's categories; a new item counts like the others of its category",
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
