"""Every ranker: the contract, the interaction that a linear model cannot see, seeds, checkpoints, names."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from histories import held_out_auc

from llmrec.classic.ranking.base.examples import ExamplesConfig
from llmrec.classic.ranking.base.ranker import load_learned_ranker, make_learned_ranker
from llmrec.classic.ranking.cross import DCN, AutoInt, AutoIntConfig, DCNConfig, DCNv2, DCNv2Config
from llmrec.classic.ranking.deep import (
    FNN,
    NFM,
    PNN,
    DeepCrossing,
    DeepCrossingConfig,
    DeepFM,
    DeepFMConfig,
    FNNConfig,
    NFMConfig,
    PNNConfig,
    WideDeep,
    WideDeepConfig,
)
from llmrec.classic.ranking.features import FeatureConfig
from llmrec.classic.ranking.linear import FM, FMConfig, LogisticConfig, LogisticRegression
from llmrec.classic.training import STATE
from llmrec.config import Part
from llmrec.data import Candidates
from llmrec.errors import ConfigError, ModelError, UnknownNameError
from llmrec.protocols import Watch
from llmrec.registry import LEARNED_RANKERS
from llmrec.testing import LearnedRankerContract, assert_same, expect_error, toy

TINY = {"epochs": 2, "batch_size": 8, "embedding_dim": 4}
RATED = {"examples": ExamplesConfig(labels="ratings"), "batch_size": 128, "embedding_dim": 8, "learning_rate": 2e-2}
# What users are is told by columns alone, and histories and statistics are not read.
KINDS = FeatureConfig(categories=("user.kind", "item.kind"), statistics=(), history=0)
MODELS = [
    (LogisticRegression, LogisticConfig, {}),
    (FM, FMConfig, {}),
    (WideDeep, WideDeepConfig, {"hidden": (16,), "crosses": (("user.kind", "item.kind"),), "cross_buckets": 1000}),
    (FNN, FNNConfig, {"hidden": (16,)}),
    (PNN, PNNConfig, {"hidden": (16,)}),
    (PNN, PNNConfig, {"hidden": (16,), "product": "outer"}),
    (NFM, NFMConfig, {"hidden": (16,)}),
    (DeepFM, DeepFMConfig, {"hidden": (16,)}),
    (DCN, DCNConfig, {"hidden": (16,), "layers": 2}),
    (DCNv2, DCNv2Config, {"hidden": (), "layers": 2}),
    (DCNv2, DCNv2Config, {"hidden": (), "layers": 2, "rank": 4}),
    (AutoInt, AutoIntConfig, {"head_dim": 8}),
    (AutoInt, AutoIntConfig, {"head_dim": 4, "hidden": (8,)}),
    (DeepCrossing, DeepCrossingConfig, {"hidden": (16,)}),
]
IDS = [f"{kind.name}{number}" for number, (kind, *_) in enumerate(MODELS)]


def small(config_class, more):
    """Return a config for the toy data, which has no kinds to cross."""
    changed = {**more, "crosses": (("user", "item"),)} if "crosses" in more else more
    return config_class(**{**TINY, **changed})


@pytest.mark.parametrize("model", MODELS, ids=IDS)
class TestTorchRankers(LearnedRankerContract):
    @pytest.fixture(autouse=True)
    def _model(self, model):
        self.kind, self.config = model[0], small(*model[1:])

    def new(self):
        return self.kind(self.config)


@pytest.mark.parametrize("model", MODELS[1:], ids=IDS[1:])
def test_it_learns_which_kind_likes_which(planted, model):
    kind, config_class, more = model
    config = config_class(**RATED, features=KINDS, epochs=12, weight_decay=0.0, **more)
    ranker = kind(config).fit(planted.train, seed=0, watch=Watch(planted.valid))
    assert held_out_auc(ranker, planted.valid) > 0.95
    assert ranker.validation_auc.max() == pytest.approx(held_out_auc(ranker, planted.valid), abs=1e-6)


def test_a_linear_model_cannot(planted):
    config = LogisticConfig(**RATED, features=KINDS, epochs=12)
    ranker = LogisticRegression(config).fit(planted.train, seed=0)
    assert abs(held_out_auc(ranker, planted.valid) - 0.5) < 0.07


def test_a_crossed_feature_is_what_a_linear_model_lacks(planted):
    """With the layers held at no width, only the crossed weights can tell."""
    one = {**RATED, "features": KINDS, "epochs": 12, "hidden": (1,), "dropout": 0.0, "embedding_dim": 1}
    crossed = WideDeepConfig(**one, crosses=(("user.kind", "item.kind"),), cross_buckets=500)
    found = WideDeep(crossed).fit(planted.train, seed=0)
    assert held_out_auc(found, planted.valid) > 0.99
    expect_error(
        ConfigError,
        lambda: WideDeep(crossed.model_copy(update={"crosses": (("user", "item.kind"),)})).fit(planted.train),
        "'user'",
        "user.kind",
    )


def test_histories_alone_serve_unseen_users(planted):
    """Without any word on users: what was liked before tells what is liked next."""
    features = FeatureConfig(categories=("item", "item.kind"), category="kind", history=30)
    config = FMConfig(**RATED, features=features, epochs=10)
    ranker = FM(config).fit(planted.train, seed=0)
    assert held_out_auc(ranker, planted.valid) > 0.9


def test_fnn_starts_where_the_machine_ended(planted):
    starts = []

    class Noted(FNN):
        def _start(self, space, config, fit):
            def noted(module, name):
                log = fit(module, name)
                starts.append(module.vectors.table.detach().clone())
                return log

            module = super()._start(space, config, noted)
            starts.append(module.vectors.table.detach().clone())
            return module

    Noted(FNNConfig(**RATED, features=KINDS, epochs=2, hidden=(4,))).fit(planted.train)
    torch.testing.assert_close(starts[0], starts[1])
    assert starts[0].abs().max() > 0.3  # it began at 0.05


def test_another_seed_gives_other_numbers():
    one, two = (FM(FMConfig(**TINY)).fit(toy(), seed=seed)._arrays for seed in (0, 1))
    assert not np.allclose(one["module.vectors.table"], two["module.vectors.table"])


def test_early_stopping_keeps_the_epoch_of_the_best_auc(planted):
    seen = []
    watch = Watch(planted.valid, report=lambda done, total, text: seen.append(text))
    config = FMConfig(**RATED, features=KINDS, epochs=40, patience=2)
    ranker = FM(config).fit(planted.train, seed=0, watch=watch)
    values = ranker.validation_auc
    assert len(values) < 40
    assert int(np.argmax(values)) == len(values) - 3
    assert "validation AUC" in seen[-1]


def test_a_killed_fit_goes_on_where_it_stopped(planted, tmp_path):
    config = FNNConfig(**RATED, features=KINDS, epochs=3, hidden=(4,))
    whole = FNN(config).fit(planted.train, seed=3, watch=Watch(planted.valid))

    def killed(done, total, text):
        if text.startswith("epoch 3") and (tmp_path / "fnn" / STATE).exists():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        FNN(config).fit(planted.train, seed=3, watch=Watch(planted.valid, tmp_path, killed))
    again = FNN(config).fit(planted.train, seed=3, watch=Watch(planted.valid, tmp_path))
    np.testing.assert_array_equal(again.validation_auc, whole.validation_auc)
    for name, array in whole._arrays.items():
        np.testing.assert_array_equal(again._arrays[name], array, err_msg=name)


def test_every_name_is_made_and_comes_back_from_its_folder(tmp_path):
    for name in ("lr", "deepfm"):
        ranker = make_learned_ranker(Part(name=name, parameters=TINY)).fit(toy())
        again = load_learned_ranker(ranker.save(tmp_path / name))
        assert type(again) is type(ranker) is LEARNED_RANKERS.get(name)
        queries = toy().queries([0, 1])
        items = Candidates(np.array([[4, 5], [3, 4]]), np.zeros((2, 2)))
        assert_same(again.rank(queries, items), ranker.rank(queries, items))
    expect_error(UnknownNameError, lambda: make_learned_ranker(Part(name="depfm")), "'depfm'", "'deepfm'?")
    expect_error(ModelError, lambda: FM.load(tmp_path / "lr"), "'lr'", "'fm'")
    expect_error(ModelError, lambda: load_learned_ranker(tmp_path), "config.json", "ranker")
    folder = tmp_path / "lr" / "config.json"
    folder.write_text(folder.read_text().replace('"name": "lr"', '"name": "mine"'))
    expect_error(ModelError, lambda: load_learned_ranker(tmp_path / "lr"), "'mine'", "install")
