"""Generating a file: rows, seeds, what fails, what a kill leaves, what a dry run foresees."""

import json
import sys
from pathlib import Path

import polars as pl
import pytest
from generated import CONTEXTS, Told, write_lines
from killing import kill_when_stored

from llmrec.config import load_config
from llmrec.errors import ConfigError, DataError
from llmrec.generate.describe import TEXTS, GenerateRecipe, generate_batch
from llmrec.llm import make
from llmrec.llm.fake import FakeConfig, FakeEngine
from llmrec.llm.transformers import TransformersConfig, TransformersEngine
from llmrec.protocols import Completion, Prompt, Sampling
from llmrec.testing import expect_error

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.fixture
def recipe(tmp_path):
    """A recipe of three contexts; fields may be given."""
    path = write_lines(tmp_path / "contexts.jsonl", CONTEXTS)

    def made(**fields):
        values = {"contexts": {"file": path}, "out": tmp_path / "out" / "texts.parquet", "cache": tmp_path / "a.sqlite"}
        return GenerateRecipe(**{**values, "engine": "fake", **fields})

    return made


@pytest.fixture
def told(monkeypatch):
    """Let an engine write what a function says."""

    def use(write, **config):
        engine = Told(write, FakeConfig(**config))
        monkeypatch.setattr(make, "make_engine", lambda _: engine)
        return engine

    return use


def read(recipe):
    return pl.read_parquet(recipe.out)


def test_each_context_s_texts_stand_together_each_with_its_seed(recipe, told):
    engine = told(lambda prompt, sampling: f"{prompt.user.split()[0]} {sampling.seed}")
    made = recipe(texts=2, temperature=0.5, top_p=0.9, max_tokens=7, stop=["#"], seed=10, block=2)
    run = generate_batch(made)
    found = read(made)
    assert found.schema == TEXTS
    assert found.select("context", "user", "sample", "text", "tokens", "finish").rows() == [
        (0, "ann", 0, "Ann 10", 2, "stop"),
        (0, "ann", 1, "Ann 11", 2, "stop"),
        (1, "bob", 0, "Bob 10", 2, "stop"),
        (1, "bob", 1, "Bob 11", 2, "stop"),
        (2, "eve", 0, "Eve 10", 2, "stop"),
        (2, "eve", 1, "Eve 11", 2, "stop"),
    ]
    assert found["prompt"][2] == CONTEXTS[1]["prompt"]
    assert set(found["system"]) == {"Write."}
    assert {sampling for _, sampling in engine.asked} == {Sampling(7, 0.5, 0.9, ("#",), seed) for seed in (10, 11)}
    assert engine.asked[0][0] == Prompt("Ann nurses at night.\nJob:", "Write.")
    assert (run.contexts, run.usage.prompts) == (3, 6)


def test_the_record_says_what_it_was_made_of(recipe, tmp_path):
    made = recipe(input_price=1e6, output_price=0.0)
    run = generate_batch(made)
    record = json.loads((tmp_path / "out" / "texts.run.json").read_text())
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["texts.parquet", "texts.run.json"]
    assert (record["engine"], record["contexts"], record["recipe"]["max_tokens"]) == ("fake/fake", 3, 256)
    assert record["report"]["texts"] == 3
    assert (
        record["money"]
        == run.usage.prompt_tokens
        == sum(FakeEngine().count_tokens([row["prompt"].replace("\n\n", " ")])[0] for row in CONTEXTS)
    )


def test_a_model_s_texts_are_those_of_the_engine_alone(recipe, tiny_model):
    engine = {"name": "transformers", "model": str(tiny_model), "device": "cpu"}
    made = recipe(engine=engine, texts=2, temperature=1.0, max_tokens=6, block=1)
    generate_batch(made)
    alone = TransformersEngine(TransformersConfig(model=str(tiny_model), device="cpu"))
    prompts = [Prompt(row["prompt"].removeprefix("Write.\n\n"), "Write.") for row in CONTEXTS]
    for seed in (0, 1):
        expected = [one.text for one in alone.generate(prompts, Sampling(6, 1.0, seed=seed))]
        assert read(made).filter(pl.col("sample") == seed)["text"].to_list() == expected


def test_what_failed_is_kept_in_its_place_and_asked_again(recipe, told):
    down = [True]

    def write(prompt, _):
        if down[0] and "Bob" in prompt.user:
            return Completion("", finish="error", error="no answer")
        return "some words"

    engine = told(write)
    run = generate_batch(recipe())
    assert read(recipe())["finish"].to_list() == ["stop", "error", "stop"]
    assert (run.report.texts, run.report.failed, run.first_error) == (2, 1, "no answer")
    down[0], before = False, len(engine.asked)
    again = generate_batch(recipe())
    assert len(engine.asked) == before + 1
    assert (again.report.texts, again.report.failed) == (3, 0)


def test_a_model_that_ends_at_once_gives_empty_texts(recipe, told):
    told(lambda *_: "")
    run = generate_batch(recipe())
    assert (run.report.empty, run.report.failed) == (1, 0)
    assert read(recipe())["text"].to_list() == [""] * 3


def test_training_answers_are_compared_with(recipe, told, tmp_path):
    told(lambda *_: "Nurse by night in the ward")
    answers = write_lines(tmp_path / "train.jsonl", [CONTEXTS[0] | {"completion": " Nurse by night in the city"}])
    run = generate_batch(recipe(report={"ngram": 2, "answers": answers}))
    assert run.report.answers_share == pytest.approx(4 / 5)
    assert run.report.copied_from_answers == 1


def test_progress_counts_texts(recipe, told):
    told(lambda *_: "a")
    seen = []
    generate_batch(
        recipe(texts=2, temperature=1, block=2, commit_every=1),
        progress=lambda done, total, _: seen.append((done, total)),
    )
    assert seen == [*((done, 6) for done in (1, 2, 3, 4, 5, 5)), (6, 6)]


def test_a_dry_run_says_what_it_takes_and_writes_nothing(recipe, tmp_path, told):
    engine = told(lambda *_: "a")
    foreseen = generate_batch(recipe(max_tokens=11), dry_run=True)
    assert (foreseen.usage.cache_misses, foreseen.usage.output_tokens) == (3, 33)
    assert foreseen.report is None
    assert not engine.asked
    assert sorted(path.name for path in tmp_path.iterdir()) == ["contexts.jsonl"]


@pytest.fixture
def many(tmp_path):
    """A recipe of four hundred contexts on an engine that takes its time."""
    rows = [{"prompt": f"One\nTwo\nThree {number}", "user": number} for number in range(400)]
    path = write_lines(tmp_path / "many.jsonl", rows)

    def made(name, **fields):
        folder = tmp_path / name
        values = {"contexts": {"file": path}, "out": folder / "texts.parquet", "cache": folder / "a.sqlite"}
        more = {"texts": 2, "temperature": 1.0, "block": 150, "commit_every": 20, "engine": "fake"}
        return GenerateRecipe(**{**values, **more, **fields})

    return made


def test_a_killed_run_goes_on_and_gives_the_same_file(many, tmp_path):
    whole = many("whole")
    generate_batch(whole)
    killed = many("killed", engine={"name": "fake", "delay": 0.001})
    (tmp_path / "generate.yaml").write_text(killed.model_dump_json())
    command = [sys.executable, "-m", "llmrec", "generate", "--config", str(tmp_path / "generate.yaml")]
    stored = kill_when_stored(command, killed.cache, 420)
    assert not killed.out.exists()
    run = generate_batch(killed)
    assert run.usage.cache_hits >= stored
    assert run.usage.cache_misses == 800 - run.usage.cache_hits > 0
    assert killed.out.read_bytes() == whole.out.read_bytes()
    assert sorted(path.name for path in killed.out.parent.iterdir() if "sqlite" not in path.name) == [
        "texts.parquet",
        "texts.run.json",
    ]


def test_the_block_changes_nothing(many):
    one, other = many("one", block=7), many("other", block=2048)
    generate_batch(one)
    generate_batch(other)
    assert read(one).equals(read(other))


def test_bad_recipes(recipe, tmp_path):
    expect_error(ConfigError, lambda: generate_batch(recipe(texts=2)), "texts = 2 with temperature = 0", "above 0")
    (tmp_path / "folder").mkdir()
    expect_error(DataError, lambda: generate_batch(recipe(out=tmp_path / "folder")), "cannot be written")
    bad = recipe(report={"answers": tmp_path / "no.jsonl"})
    expect_error(DataError, lambda: generate_batch(bad), "no.jsonl", "cannot be read")
    assert not (tmp_path / "a.sqlite").exists()


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("generate-*.yaml")), ids=lambda path: path.stem)
def test_shipped_recipes_can_be_read(path):
    recipe = load_config(GenerateRecipe, path)
    assert "test" in (recipe.contexts.parts or [recipe.contexts.examples.part])
    assert recipe.texts == 1 or recipe.temperature


@pytest.mark.data
def test_real_cvs(recipe, data_folder, tmp_path):
    """Nine hundred CVs of which most stand there several times: each is asked once."""
    cvs = pl.read_csv(data_folder / "jobs" / "UpdatedResumeDataSet.csv")["Resume"]
    path = write_lines(tmp_path / "cvs.jsonl", [{"prompt": f"CV:\n{cv}\n\nJob posting:"} for cv in cvs])
    made = recipe(contexts={"file": path}, max_tokens=50, block=64)
    run = generate_batch(made)
    assert run.contexts == cvs.n_unique() < len(cvs) / 2
    assert run.counts["repeated"] == len(cvs) - cvs.n_unique()
    assert run.report.copied_from_context > 0.5  # the fake engine writes the prompt's own lines
    assert run.report.cut > 0.9
