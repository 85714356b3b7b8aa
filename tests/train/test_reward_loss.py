"""What a scalar head says and learns: the losses by hand, batches of any make, padding, and reports by other means."""

import math

import numpy as np
import pytest
import torch
from accelerate.utils import set_seed
from hypothesis import given
from hypothesis import strategies as st
from judging import pairs, postings
from scipy.stats import pearsonr, spearmanr
from transformers import TrainingArguments
from trl import RewardConfig
from tuning import source

from llmrec.config import make_config
from llmrec.train.lora import add_adapter
from llmrec.train.recipe import LoraRecipe, RunRecipe, Source
from llmrec.train.reward_report import Judged, LengthPenalty, interval, report_labels, report_pairs, texts_of
from llmrec.train.reward_trainer import LabelCollator, LabelTrainer, PairCollator, PairTrainer
from llmrec.train.scalar import ScalarHead, load_scalar, score_texts
from llmrec.train.sources import load_rows


@pytest.fixture
def scalar(tiny_model, tmp_path):
    """A function that makes the tiny model with a scalar head and an adapter of random numbers, the same each time."""

    def make():
        recipe = make_config(
            RunRecipe, {"out": tmp_path, "model": str(tiny_model), "device": "cpu", "dtype": "float32"}
        )
        set_seed(3)
        model = add_adapter(load_scalar(recipe, 0), LoraRecipe(dropout=0.0), None, scalar=True)
        draw = torch.Generator().manual_seed(5)
        for name, weight in model.named_parameters():
            if "lora_" in name:
                weight.data = torch.randn(weight.shape, generator=draw) * 0.1
        return model

    return make


@pytest.fixture
def load(tokens, tmp_path):
    """A function that loads rows as a reward model reads them."""

    def make(rows, **more):
        read = Source.model_validate(source(tmp_path / "rows.jsonl", rows))
        return load_rows(read, tokens, 400, 0, cut=True, **more)

    return make


def alone(model, ids):
    """The number of one text, computed without padding."""
    with torch.inference_mode():
        return model(input_ids=torch.tensor([ids]), attention_mask=torch.ones(1, len(ids)).long()).logits.item()


def trainer_of(kind, model, rows, tokens, folder, **more):
    settings = {"model": model, "processing_class": tokens.tokenizer}
    common = {
        "use_cpu": True, "report_to": "none", "disable_tqdm": True, "remove_unused_columns": False, "bf16": False,
        "learning_rate": 3e-3, "max_grad_norm": 1e9, **more,
    }  # fmt: skip
    if kind is PairTrainer:
        args = RewardConfig(str(folder), max_length=None, disable_dropout=False, gradient_checkpointing=False, **common)
    else:
        args = TrainingArguments(str(folder), **common)
    return kind(rows, None, settings | {"args": args}, padding=0, mixed=False)


def test_padding_changes_no_number(scalar, load):
    model, rows = scalar().eval(), load(pairs(5, rejected=2), pairs=True)
    texts, _ = texts_of(rows)
    found = score_texts(model, texts, 0, 4, mixed=False)
    np.testing.assert_allclose(found, [alone(model, text) for text in texts], rtol=0, atol=1e-5)
    assert np.ptp(found) > 1e-3


def test_the_loss_of_pairs_is_minus_log_sigmoid(scalar, load, tokens, tmp_path):
    model, rows = scalar(), load(pairs(4), pairs=True)
    texts, _ = texts_of(rows)
    margins = [alone(model, texts[2 * row]) - alone(model, texts[2 * row + 1]) for row in range(4)]
    expected = -sum(math.log(1 / (1 + math.exp(-margin))) for margin in margins) / 4
    trainer = trainer_of(PairTrainer, model, rows, tokens, tmp_path)
    batch = PairCollator(0)([trainer.train_dataset[row] for row in range(4)])
    assert trainer.compute_loss(model, batch).item() == pytest.approx(expected, abs=1e-5)
    loss, ahead, _ = trainer.prediction_step(model.eval(), batch, prediction_loss_only=False)
    assert loss.item() == pytest.approx(expected, abs=1e-5)
    np.testing.assert_allclose(ahead, margins, rtol=0, atol=1e-4)


def test_the_loss_of_labels_is_log_loss(scalar, load, tokens, tmp_path):
    model, rows = scalar(), load(postings(4))
    texts, _ = texts_of(rows)
    scores = [alone(model, text) for text in texts]
    expected = (
        sum(
            math.log(1 + math.exp(-score if row["label"] else score))
            for score, row in zip(scores, postings(4), strict=True)
        )
        / 4
    )
    trainer = trainer_of(LabelTrainer, model, rows, tokens, tmp_path)
    batch = LabelCollator(0)([trainer.train_dataset[row] for row in range(4)])
    assert trainer.compute_loss(model, batch).item() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("kind", [PairTrainer, LabelTrainer])
def test_small_batches_that_are_accumulated_are_a_large_one(kind, scalar, load, tokens, tmp_path):
    rows = load(pairs(8), pairs=True) if kind is PairTrainer else load(postings(8))
    weights = []
    for size, steps in ((8, 1), (4, 2)):
        model = scalar()
        more = {"per_device_train_batch_size": size, "gradient_accumulation_steps": steps, "num_train_epochs": 2}
        trainer = trainer_of(kind, model, rows, tokens, tmp_path, **more)
        trainer.train()
        assert trainer.state.global_step == 2
        weights.append({n: weight.detach() for n, weight in model.named_parameters() if weight.requires_grad})
    assert sum("modules_to_save" in name for name in weights[0]) == 1  # the head
    for name, weight in weights[0].items():
        torch.testing.assert_close(weights[1][name], weight, rtol=0, atol=2e-5)


def test_a_head_in_a_half_format_computes_whole_numbers():
    """bfloat16 has eight bits: 8.01 would be 8."""
    head = ScalarHead(2, 1, bias=False)
    head.weight.data = torch.tensor([[8.0, 0.01]])
    with torch.autocast("cpu", torch.bfloat16):
        assert head(torch.ones(1, 2, dtype=torch.bfloat16)).item() == pytest.approx(8.01, abs=1e-6)


REWARDS = [2.0, 1.0, 0.0, 0.0, 5.0, 6.0, 3.0]
"""Of three rows: one chosen and two rejected answers, then one and one, twice; right, right, a tie, wrong."""


@pytest.fixture
def judged(load):
    rows = load([*pairs(1, rejected=2), *({**row, "rejected": [row["rejected"]]} for row in pairs(3)[1:])], pairs=True)
    _, empty = texts_of(rows)
    return rows, Judged(empty.rows, empty.answers, np.array([9.0, 4, 5, 6, 7, 3, 2]), np.array(REWARDS))


def test_a_report_of_pairs_by_hand(judged):
    rows, found = judged
    assert found.answers.tolist() == [0, 1, 2, 0, 1, 0, 1]
    report = report_pairs(found, rows)
    margins = [1.0, 2.0, -5.0, 3.0]
    values = {row["metric"]: row["mean"] for row in report.metrics}
    assert values["accuracy"] == 3 / 4
    assert values["log-loss"] == pytest.approx(sum(math.log(1 + math.exp(-margin)) for margin in margins) / 4)
    # Four pairs in ten bins: each is its own.
    sure = [1 / (1 + math.exp(-abs(margin))) for margin in margins]
    right = [1, 1, 0, 1]
    assert values["ece"] == pytest.approx(sum(abs(p - yes) for p, yes in zip(sure, right, strict=True)) / 4)
    assert [row["yes"] for row in report.calibration] == [1, 1, 1, 0]
    assert report.pearson == pytest.approx(pearsonr(found.lengths, found.rewards).statistic)
    assert report.spearman == pytest.approx(spearmanr(found.lengths, found.rewards).statistic)
    assert report.texts == 7


def test_a_tie_is_half_right(judged):
    rows, found = judged
    flat = Judged(found.rows, found.answers, found.lengths, np.zeros(7))
    report = report_pairs(flat, rows)
    assert {row["metric"]: row["mean"] for row in report.metrics}["accuracy"] == 0.5
    assert (report.pearson, report.spearman) == (None, None)


def test_an_interval_draws_contexts_not_pairs():
    """Ten pairs of one context say as much as one: with two contexts, one right and one wrong, all may come."""
    values, groups = np.repeat([1.0, 0.0], 10), np.repeat([0, 1], 10)
    assert interval(values, groups) == (0.0, 1.0)
    low, high = interval(values, np.arange(20))
    assert 0.2 < low < 0.5 < high < 0.8


def test_a_report_of_labels(load):
    rows = load(postings(8))
    _, empty = texts_of(rows)
    scores = np.where(rows.labels, 2.0, -1.0)
    report = report_labels(Judged(empty.rows, empty.answers, empty.lengths, scores), rows)
    values = {row["metric"]: row["mean"] for row in report.metrics}
    assert values["auc"] == 1.0
    assert values["log-loss"] == pytest.approx((math.log(1 + math.exp(-2)) + math.log(1 + math.exp(-1))) / 2)
    frame = Judged(empty.rows, empty.answers, empty.lengths, scores).frame(rows)
    assert frame["tokens"].to_list() == [len(row["completion"]) + 1 for row in postings(8)]


@given(st.lists(st.tuples(st.integers(1, 99), st.floats(-9, 9)), min_size=3, max_size=30))
def test_a_penalty_is_least_squares(drawn):
    lengths, rewards = (np.array(each, np.float64) for each in zip(*drawn, strict=True))
    penalty = LengthPenalty.fit(rewards, lengths)
    less = penalty.apply(rewards, lengths)
    assert less.mean() == pytest.approx(rewards.mean(), abs=1e-9)
    if np.ptp(lengths) == 0:
        assert penalty.slope == 0
        return
    slope, _ = np.polyfit(lengths, rewards, 1)
    assert penalty.slope == pytest.approx(slope, abs=1e-6)
    assert np.cov(lengths, less)[0, 1] == pytest.approx(0, abs=1e-6)
