"""Names of rankers that learn from data."""

from __future__ import annotations

from llmrec.registry.table import Registry, Row

LEARNED_RANKERS = Registry(
    "ranker",
    "llmrec.learned_rankers",
    {
        "lr": Row(
            "llmrec.classic.ranking.linear:LogisticRegression",
            "logistic regression on the features",
            "McMahan et al., KDD 2013",
        ),
        "gbdt": Row(
            "llmrec.classic.ranking.trees:GBDT",
            "gradient-boosted trees on numbers, statistics and columns",
            "Ke et al., NeurIPS 2017 (LightGBM)",
        ),
        "lambdamart": Row(
            "llmrec.classic.ranking.trees:LambdaMART",
            "gradient-boosted trees that learn the order of each list",
            "Burges, MSR-TR 2010",
        ),
        "gbdt-lr": Row(
            "llmrec.classic.ranking.trees:GBDTLR",
            "logistic regression on the leaves of trees and on the features",
            "He et al., ADKDD 2014",
        ),
        "fm": Row(
            "llmrec.classic.ranking.linear:FM",
            "a factorisation machine: inner products of all pairs of fields",
            "Rendle, ICDM 2010",
        ),
        "wide-deep": Row(
            "llmrec.classic.ranking.deep:WideDeep",
            "a linear part with crossed features beside layers",
            "Cheng et al., DLRS 2016",
        ),
        "fnn": Row(
            "llmrec.classic.ranking.deep:FNN",
            "layers on what a factorisation machine learned first",
            "Zhang, Du, Wang, ECIR 2016",
        ),
        "pnn": Row(
            "llmrec.classic.ranking.deep:PNN",
            "layers on inner or outer products of fields",
            "Qu et al., ICDM 2016",
        ),
        "nfm": Row(
            "llmrec.classic.ranking.deep:NFM",
            "layers on the pooled products of all pairs of fields",
            "He, Chua, SIGIR 2017",
        ),
        "deepfm": Row(
            "llmrec.classic.ranking.deep:DeepFM",
            "a factorisation machine and layers on the same vectors",
            "Guo et al., IJCAI 2017",
        ),
        "dcn": Row(
            "llmrec.classic.ranking.cross:DCN",
            "cross layers of rank 1 beside layers",
            "Wang et al., ADKDD 2017",
        ),
        "dcn-v2": Row(
            "llmrec.classic.ranking.cross:DCNv2",
            "cross layers with a matrix, full or of low rank, beside layers",
            "Wang et al., WWW 2021",
        ),
        "autoint": Row(
            "llmrec.classic.ranking.cross:AutoInt",
            "self-attention between fields",
            "Song et al., CIKM 2019",
        ),
        "deep-crossing": Row(
            "llmrec.classic.ranking.deep:DeepCrossing",
            "residual layers on the fields",
            "Shan et al., KDD 2016",
        ),
        "autorec": Row(
            "llmrec.classic.ranking.autorec:AutoRec",
            "an autoencoder of users' or items' ratings",
            "Sedhain et al., WWW 2015",
        ),
        "din": Row(
            "llmrec.classic.ranking.din:DIN",
            "the history's items, each as much as it has to do with the candidate",
            "Zhou et al., KDD 2018",
        ),
        "shared-bottom": Row(
            "llmrec.classic.ranking.multitask:SharedBottom",
            "layers that several tasks share, and a tower for each",
            "Caruana, Machine Learning 1997",
        ),
        "esmm": Row(
            "llmrec.classic.ranking.multitask:ESMM",
            "a funnel: the probability of each step is a product of all up to it",
            "Ma et al., SIGIR 2018",
        ),
        "mmoe": Row(
            "llmrec.classic.ranking.multitask:MMoE",
            "experts that each task mixes by a gate of its own",
            "Ma et al., KDD 2018",
        ),
        "ple": Row(
            "llmrec.classic.ranking.multitask:PLE",
            "levels of experts, shared ones and each task's own",
            "Tang et al., RecSys 2020",
        ),
        "sim": Row(
            "llmrec.classic.ranking.long:SIM",
            "long histories: a search by category or vectors, then attention to what was found",
            "Pi et al., CIKM 2020",
        ),
        "eta": Row(
            "llmrec.classic.ranking.long:ETA",
            "long histories: a search by hashes of vectors, then attention to what was found",
            "Chen et al., 2022",
        ),
        "dien": Row(
            "llmrec.classic.ranking.dien:DIEN",
            "how the interest in what the candidate is about has moved",
            "Zhou et al., AAAI 2019",
        ),
        "bst": Row(
            "llmrec.classic.ranking.bst:BST",
            "a Transformer over the history and the candidate",
            "Chen et al., DLP-KDD 2019",
        ),
        "lhuc": Row(
            "llmrec.classic.ranking.personal:LHUC",
            "layers whose units count more or less by who the user is",
            "Swietojanski, Li, Renals, TASLP 2016",
        ),
        "poso": Row(
            "llmrec.classic.ranking.personal:POSO",
            "copies of a network, mixed by how much is known of the user",
            "Dai et al., 2021",
        ),
        "pepnet": Row(
            "llmrec.classic.ranking.personal:PEPNet",
            "gates on features by domain and on layers by user and item, for several tasks",
            "Chang et al., KDD 2023",
        ),
    },
)
