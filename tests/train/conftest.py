"""Recipes for the tiny model, and its parts ready to train."""

import pytest
import torch
from transformers import AutoModelForCausalLM, set_seed
from tuning import questions, source, titles

from llmrec.config import make_config
from llmrec.data_prep.examples.table import make_frame
from llmrec.llm.answer_head import AnswerHead
from llmrec.llm.tokens import PromptTokenizer
from llmrec.train.lora import add_adapter
from llmrec.train.recipe import LoraRecipe, TallrecRecipe
from llmrec.train.rows import ROW, encode_rows


@pytest.fixture
def recipe(tiny_model, tmp_path):
    """A function that makes a recipe of one stage of yes/no rows; keys go on top, those of the stage too."""

    def make(*, stage=(), **changed):
        one = {
            "train": [source(tmp_path / "train.jsonl", questions(24))],
            "epochs": 2,
            "batch_size": 4,
            "learning_rate": 3e-3,
        } | dict(stage)
        return make_config(
            TallrecRecipe,
            {"out": tmp_path / "run", "model": str(tiny_model), "device": "cpu", "dtype": "float32", "stages": [one]}
            | changed,
        )

    return make


@pytest.fixture
def two_stages(tmp_path):
    """Stages of next titles, then of questions with validation, many small updates each."""
    general = source(tmp_path / "general.jsonl", titles(40))
    return [
        {"name": "general", "train": [general], "epochs": 1, "batch_size": 2, "evaluate_every": 4},
        {
            "name": "films",
            "train": [source(tmp_path / "films.jsonl", questions(40))],
            "valid": source(tmp_path / "valid.jsonl", questions(20, seed=1)),
            "epochs": 2,
            "batch_size": 4,
            "evaluate_every": 4,
            "patience": None,
            "learning_rate": 3e-3,
        },
    ]


@pytest.fixture
def tokens(tiny_model):
    return PromptTokenizer(str(tiny_model))


@pytest.fixture
def encode(tokens):
    """A function that turns rows into tokens."""

    def make(rows, source="the examples"):
        columns = {name: [row.get(name) for row in rows] for name in rows[0]}
        return encode_rows(make_frame(columns).with_row_index(ROW), tokens, 400, source=source)

    return make


@pytest.fixture
def tuned(tiny_model):
    """A function that makes the tiny model with an adapter of random numbers, the same each time, and its head."""

    def make(dropout=0.0, size=0.1):
        base = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
        head = AnswerHead(base)
        set_seed(3)
        model = add_adapter(base, LoraRecipe(dropout=dropout), None)
        draw = torch.Generator().manual_seed(5)
        for name, weight in model.named_parameters():
            if "lora_" in name:
                weight.data = torch.randn(weight.shape, generator=draw) * size
        return model, head

    return make
