"""DPO and S-DPO: the loss by hand and as trl has it, what is learnt, where it starts, and going on after a kill."""

import json
import math

import numpy as np
import pytest
import torch
from judging import pairs
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, TrainingArguments
from trl import DPOConfig, DPOTrainer
from tuning import questions, source

from llmrec.config import make_config
from llmrec.data_prep.examples.table import make_frame
from llmrec.errors import DataError, ModelError, TrainingError
from llmrec.llm.adapters import resolve_adapter
from llmrec.llm.transformers import TransformersConfig, TransformersEngine
from llmrec.protocols import Prompt
from llmrec.testing import expect_error
from llmrec.train.dpo import train_dpo
from llmrec.train.dpo_trainer import GroupCollator, PreferenceTrainer, reference_logprobs, softmax_loss
from llmrec.train.feedback_recipe import DpoRecipe
from llmrec.train.packages import datasets
from llmrec.train.recipe import TallrecRecipe
from llmrec.train.rows import ROW, encode_rows
from llmrec.train.tallrec import tune


class KilledError(Exception):
    """Stands for a kill in the middle of an update."""


def kill_at(update):
    def report(done, *_):
        if done == update:
            raise KilledError

    return report


@pytest.fixture
def recipe(tiny_model, tmp_path):
    """A function that makes a recipe of rows with three rejected answers; keys go on top, those of the stage too."""

    def make(*, stage=(), **changed):
        one = {
            "train": [source(tmp_path / "train.jsonl", pairs(24, rejected=3))],
            "valid": source(tmp_path / "valid.jsonl", pairs(8, seed=1, rejected=3)),
            "epochs": 3,
            "batch_size": 4,
            "learning_rate": 3e-3,
        } | dict(stage)
        values = {"out": tmp_path / "run", "model": str(tiny_model), "device": "cpu", "dtype": "float32", "stage": one}
        return make_config(DpoRecipe, values | changed)

    return make


@pytest.fixture
def encoded(tokens):
    """A function that turns pairs into tokens."""

    def make(rows):
        rejected = [row["rejected"] if isinstance(row["rejected"], list) else [row["rejected"]] for row in rows]
        columns = {name: [row[name] for row in rows] for name in ("prompt", "system")}
        columns |= {"completion": [row["chosen"] for row in rows], "rejected": rejected}
        return encode_rows(make_frame(columns).with_row_index(ROW), tokens, 400, source="rows")

    return make


def test_the_loss_is_that_of_the_paper():
    """-log sigmoid(-log sum exp(rejected - chosen)), by hand; rows of unlike many answers in one batch."""
    rewards = torch.tensor([1.0, 0.5, -1.0, 0.0, 2.0])
    rows, chosen = torch.tensor([0, 0, 0, 1, 1]), torch.tensor([True, False, False, True, False])
    first = -math.log(1 / (1 + math.exp(math.log(math.exp(-0.5) + math.exp(-2.0)))))
    second = -math.log(1 / (1 + math.exp(2.0)))
    torch.testing.assert_close(softmax_loss(rewards, rows, chosen), torch.tensor([first, second]))
    assert softmax_loss(torch.zeros(4), torch.zeros(4).long(), torch.arange(4) == 0).item() == pytest.approx(
        math.log(4)
    )


def ours(parts, rows, tokens, folder, references, beta=0.1, **more):
    model, head = parts
    args = TrainingArguments(
        str(folder), use_cpu=True, report_to="none", disable_tqdm=True, remove_unused_columns=False, **more
    )
    settings = {"model": model, "args": args, "processing_class": tokens.tokenizer}
    return PreferenceTrainer(
        head, rows, None, settings, beta=beta, padding=0, mixed=False, references=(references, np.zeros(0))
    )


def test_with_one_rejected_answer_the_loss_is_trl_s(tuned, encoded, tokens, tiny_model, tmp_path):
    rows = encoded(made := pairs(5, seed=4))
    base = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    args = DPOConfig(
        str(tmp_path / "theirs"), beta=0.3, per_device_train_batch_size=5, use_cpu=True, bf16=False, report_to="none",
        gradient_checkpointing=False, max_length=None,
    )  # fmt: skip
    theirs = DPOTrainer(
        tuned()[0].merge_and_unload(), base, args,
        train_dataset=datasets.Dataset.from_list(made), processing_class=tokens.tokenizer,
    )  # fmt: skip
    batch = theirs._prepare_inputs(next(iter(theirs.get_train_dataloader())))
    expected = theirs.compute_loss(theirs.model, batch).item()
    model, head = tuned()
    with model.disable_adapter():
        references = reference_logprobs(model.eval(), head, rows, 0, 3, mixed=False)
    trainer = ours((model, head), rows, tokens, tmp_path, references, beta=0.3, per_device_train_batch_size=5)
    mine = next(iter(trainer.get_train_dataloader()))
    assert trainer.compute_loss(model, mine).item() == pytest.approx(expected, abs=1e-5)
    assert expected != pytest.approx(math.log(2), abs=1e-3)


def test_references_are_what_an_engine_says(encoded, tuned, tiny_model, tokens):
    rows = encoded(made := pairs(4, seed=2, rejected=2))
    model, head = tuned()
    with model.disable_adapter():
        found = reference_logprobs(model.eval(), head, rows, 0, 5, mixed=False)
    engine = TransformersEngine(TransformersConfig(model=str(tiny_model), device="cpu", dtype="float32"))
    # An engine's answers have no end: a line break is one.
    lines = [
        {**row, "chosen": row["chosen"] + "\n", "rejected": [text + "\n" for text in row["rejected"]]} for row in made
    ]
    with model.disable_adapter():
        found = reference_logprobs(model, head, encoded(lines), 0, 5, mixed=False)
    said = engine.logprobs(
        [Prompt(row["prompt"]) for row in lines], [[row["chosen"], *row["rejected"]] for row in lines]
    )
    np.testing.assert_allclose(found, np.concatenate(said), rtol=0, atol=1e-3)


def test_small_batches_that_are_accumulated_are_a_large_one(tuned, encoded, tokens, tmp_path):
    """Batch 8 x 1 and 4 x 2, rows of one and of three rejected answers: the same weights."""
    rows = encoded([*pairs(4, rejected=3), *pairs(4, seed=3)])
    weights = []
    for size, steps in ((8, 1), (4, 2)):
        model, head = tuned()
        references = reference_logprobs(model.eval(), head, rows, 0, 4, mixed=False)
        more = {"per_device_train_batch_size": size, "gradient_accumulation_steps": steps, "learning_rate": 3e-3}
        trainer = ours((model, head), rows, tokens, tmp_path, references, num_train_epochs=2, max_grad_norm=1e9, **more)
        trainer.train()
        assert trainer.state.global_step == 2
        weights.append({n: weight.detach() for n, weight in model.named_parameters() if weight.requires_grad})
    for name, weight in weights[0].items():
        torch.testing.assert_close(weights[1][name], weight, rtol=0, atol=2e-5)


def test_a_collator_puts_the_chosen_answer_first():
    rows = [
        {"prompt": [1, 5], "answers": [[6], [7, 8]], "references": [-1.0, -2.0], "number": 4},
        {"prompt": [1], "answers": [[9], [3]], "references": [-3.0, -4.0], "number": 7},
    ]
    batch = GroupCollator(0)(rows)
    assert batch["input_ids"].tolist() == [[1, 5, 6, 0], [1, 5, 7, 8], [1, 9, 0, 0], [1, 3, 0, 0]]
    assert batch["answers"].tolist() == [
        [-100, -100, 6, -100],
        [-100, -100, 7, 8],
        [-100, 9, -100, -100],
        [-100, 3, -100, -100],
    ]
    assert batch["rows"].tolist() == [0, 0, 1, 1]
    assert batch["chosen"].tolist() == [True, False, True, False]
    assert batch["references"].tolist() == [-1.0, -2.0, -3.0, -4.0]
    assert batch["labels"].tolist() == [4, 7]


def test_a_preference_is_learnt_by_a_policy_that_engines_take(recipe, tiny_model, tmp_path):
    done = train_dpo(recipe(test=source(tmp_path / "test.jsonl", pairs(10, seed=2, rejected=3))))
    looks = [entry for entry in done.history["tuning"] if "eval_accuracy" in entry]
    assert looks[0]["eval_accuracy"] == 0.5  # the reference itself: ties
    assert looks[0]["eval_loss"] == pytest.approx(math.log(4), abs=1e-4)
    assert {row["metric"]: row["mean"] for row in done.test.metrics}["accuracy"] == 1.0
    assert done.counts == {"tuning": {"train": 24, "valid": 8}, "test": {"test": 10}}
    resolve_adapter(str(done.adapter), str(tiny_model))
    again = train_dpo(recipe(test=source(tmp_path / "test.jsonl", pairs(10, seed=2, rejected=3))))
    assert again.before
    assert again.test.to_dict() == done.test.to_dict()


def test_it_starts_from_an_adapter_which_is_its_reference(recipe, tiny_model, tmp_path):
    base = {"model": str(tiny_model), "device": "cpu", "dtype": "float32", "out": tmp_path / "sft"}
    stage = {"train": [source(tmp_path / "q.jsonl", questions(12))], "epochs": 1, "learning_rate": 0.02}
    start = tune(make_config(TallrecRecipe, base | {"stages": [stage]})).adapter
    before = load_file(start / "adapter_model.safetensors")
    done = train_dpo(recipe(start=start, stage={"epochs": 1}))
    looks = [entry for entry in done.history["tuning"] if "eval_loss" in entry]
    assert looks[0]["eval_loss"] == pytest.approx(math.log(4), abs=1e-4)
    after = load_file(done.adapter / "adapter_model.safetensors")
    moved = max(float((after[name] - before[name]).abs().max()) for name in before)
    assert 0 < moved < 6 * 3e-3  # six updates of Adam
    expect_error(ModelError, lambda: train_dpo(recipe(start=tmp_path / "no", out=tmp_path / "b")), "no folder")
    # Another adapter under the same name is not gone on with.
    begun = recipe(start=start, out=tmp_path / "c")
    with pytest.raises(KilledError):
        train_dpo(begun, report=kill_at(15))
    save_file({name: weight * 2 for name, weight in before.items()}, start / "adapter_model.safetensors")
    expect_error(DataError, lambda: train_dpo(begun), "the adapter it started from (digest")


def test_a_run_that_breaks_goes_on(recipe, tmp_path):
    rest = {"stage": {"evaluate_every": 3, "patience": None}, "lora": {"dropout": 0.2}}
    whole = train_dpo(recipe(**rest, out=tmp_path / "whole"))
    begun = recipe(**rest)
    for update in (2, 8, 18):
        with pytest.raises(KilledError):
            train_dpo(begun, report=kill_at(update))
    done = train_dpo(begun)
    one, two = (load_file(each.adapter / "adapter_model.safetensors") for each in (done, whole))
    assert all(one[name].equal(two[name]) for name in two)
    assert [entry.get("eval_loss") for entry in done.history["tuning"]] == [
        entry.get("eval_loss") for entry in whole.history["tuning"]
    ]


def test_a_loss_that_is_no_number_names_the_batch(recipe):
    with pytest.raises(
        TrainingError, match=r"(loss|gradient of norm) (nan|inf) at step \d+, in the (batch|validation)"
    ):
        train_dpo(recipe(stage={"learning_rate": 1e30, "evaluate_every": 1}))


def test_contexts_of_a_policy_are_not_cut(recipe, tmp_path):
    long = {"prompt": "w" * 90, "system": "", "chosen": " a", "rejected": [" b", " c"]}
    rows = [*pairs(4, rejected=2), long]
    stage = {"train": [source(tmp_path / "t.jsonl", rows)], "epochs": 1, "valid": None}
    assert train_dpo(recipe(stage=stage, max_length=64)).counts["tuning"] == {"train": 4, "longer_than_max_length": 1}
    run = json.loads((tmp_path / "run" / "run.json").read_text())
    assert run["test"] is None


def test_less_memory_changes_nothing(recipe, tmp_path):
    """Activations that are computed twice are the same ones."""
    found = []
    for again in (False, True):
        made = recipe(
            gradient_checkpointing=again, stage={"epochs": 1}, lora={"dropout": 0.0}, out=tmp_path / str(again)
        )
        found.append(load_file(train_dpo(made).adapter / "adapter_model.safetensors"))
    for name, weight in found[0].items():
        torch.testing.assert_close(found[1][name], weight, rtol=0, atol=1e-6)
