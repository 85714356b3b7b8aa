"""A loss that is no number stops the run at once, names step and rows, and spoils no checkpoint."""

import shutil

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM
from tuning import questions, source

from llmrec.errors import TrainingError
from llmrec.testing import expect_error
from llmrec.train.stage import Job, run_stage
from llmrec.train.tallrec import tune


def spoilt(tiny_model, folder, letter=None):
    """The tiny model with an infinite embedding, of one letter or of all."""
    shutil.copytree(tiny_model, folder)
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    weight = model.get_input_embeddings().weight
    rows = slice(None) if letter is None else 5 + ord(letter) - 32  # <pad> <bos> <eos> <unk> \n, then from the space
    weight.data[rows, 0] = torch.inf
    model.save_pretrained(folder)
    return str(folder)


def test_an_infinite_weight_is_named_with_step_and_rows(recipe, tiny_model, tmp_path):
    model = spoilt(tiny_model, tmp_path / "spoilt")
    with pytest.raises(TrainingError) as caught:
        tune(recipe(model=model, stage={"train": [source(tmp_path / "a.jsonl", questions(3))], "batch_size": 3}))
    said = str(caught.value)
    assert "loss nan at step 1, in the batch of rows " in said
    rows = said.split("rows ")[1].split(" of a.jsonl", maxsplit=1)[0]
    assert sorted(rows.split(", ")) == ["1", "2", "3"]
    for word in ("expected a finite number", "lower learning_rate", "dtype=float32"):
        assert word in said


def test_validation_that_is_no_number_is_named_too(recipe, tiny_model, tmp_path):
    model = spoilt(tiny_model, tmp_path / "spoilt")
    valid = source(tmp_path / "v.jsonl", questions(2))
    expect_error(
        TrainingError,
        lambda: tune(recipe(model=model, stage={"valid": valid})),
        "loss nan at step 0, in the validation of rows 1, 2 of v.jsonl",
    )


def test_a_learning_rate_that_is_far_too_large(recipe, tmp_path):
    """The first updates are saved, those after the numbers overflow are not."""
    with pytest.raises(TrainingError, match=r"(loss|gradient of norm) (nan|inf) at step \d+") as caught:
        tune(recipe(stage={"learning_rate": 1e30, "evaluate_every": 1, "epochs": 5}))
    step = int(str(caught.value).split("at step ")[1].split(",")[0])
    (kept,) = (tmp_path / "run" / "checkpoints" / "0-tuning").glob("checkpoint-*")
    assert int(kept.name.removeprefix("checkpoint-")) == step - 1
    assert str(kept.parent) in str(caught.value)
    assert not (tmp_path / "run" / "adapter").exists()


def test_an_infinite_gradient_is_no_checkpoint(recipe, tokens, tuned, encode, tmp_path, monkeypatch):
    """With a finite loss and an infinite gradient the update makes the weights NaN: they must not be saved."""
    model, head = tuned()
    made = recipe(stage={"evaluate_every": 2, "epochs": 3})
    job = Job(made.stages[0], encode(questions(8)), None, tmp_path / "stage")
    weight = next(weight for weight in model.parameters() if weight.requires_grad)
    steps = []

    def overflow(gradient):
        steps.append(len(steps))
        return gradient * torch.inf if len(steps) == 4 else gradient

    weight.register_hook(overflow)
    expect_error(
        TrainingError,
        lambda: run_stage(model, head, tokens, made, job),
        "gradient of norm",
        "at step 4, in the batch of rows",
    )
    (kept,) = (tmp_path / "stage").glob("checkpoint-*")
    assert kept.name == "checkpoint-2"
    assert all(tensor.isfinite().all() for tensor in load_file(kept / "adapter_model.safetensors").values())


def test_rows_of_all_batches_of_an_update_are_named(recipe, tokens, tuned, encode, tmp_path):
    model, head = tuned()
    made = recipe(stage={"batch_size": 2, "accumulation": 3, "epochs": 2})
    job = Job(made.stages[0], encode(questions(6), source="a"), None, tmp_path / "stage")
    weight = next(weight for weight in model.parameters() if weight.requires_grad)
    seen = []

    def overflow(gradient):
        seen.append(1)
        return gradient * torch.inf if len(seen) == 5 else gradient

    weight.register_hook(overflow)
    with pytest.raises(TrainingError) as caught:
        run_stage(model, head, tokens, made, job)
    rows = str(caught.value).split("rows ")[1].split(" of a")[0]
    assert sorted(rows.split(", ")) == ["1", "2", "3", "4", "5", "6"]
