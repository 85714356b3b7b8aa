"""Cold start compared: numbers held against fits by hand, and nothing is asked or fitted twice."""

import json
from dataclasses import replace

import cold_run
import numpy as np
import polars as pl
import pytest
from cold_run import Reader

from llmrec.classic.recall.base.store import make_recommender
from llmrec.coldstart import lessons, simulations
from llmrec.coldstart.compare import compare, foresee
from llmrec.coldstart.report import gain_table, warnings, write_cold_start
from llmrec.config import Part
from llmrec.data import Split, Targets
from llmrec.errors import ConfigError, DataError, UnknownNameError
from llmrec.eval.metrics import compute
from llmrec.llm import make
from llmrec.testing import expect_error

METHODS = (
    *("bpr", "bpr + random pairs", "bpr + content pairs", "bpr + LLM pairs"),
    *("bpr + content interactions", "bpr + LLM interactions", "text", "category-popular"),
)


@pytest.fixture(autouse=True, scope="module")
def reader():
    with pytest.MonkeyPatch.context() as patch:
        for module in (make, simulations):
            patch.setattr(module, "make_engine", lambda _: Reader())
        yield


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """The shop, compared once: folder, recipe, what was found."""
    folder = tmp_path_factory.mktemp("ran")
    cold_run.save_shop(folder / "shop")
    made = cold_run.recipe(folder)
    return folder, made, compare(made)


def value(found, method, metric="recall@5", group="cold items", column="mean", model="bpr"):
    table = found.plain[model].table
    return table.filter((pl.col("method") == method) & (pl.col("metric") == metric) & (pl.col("group") == group))[
        column
    ][0]


def tables(found):
    frames = [found.plain["bpr"].table, found.content["bpr"], found.truth, found.trials()]
    return [frame.to_dicts() for frame in frames]


def test_all_methods_are_on_the_same_queries_and_reading_the_tastes_finds_cold_items(ran):
    _, made, found = ran
    assert found.plain["bpr"].methods == METHODS
    assert not found.failed
    assert found.plain["bpr"].table.group_by("metric", "group").agg(pl.col("queries").n_unique())["queries"].max() == 1
    assert value(found, "bpr") == 0  # which knows no cold item
    for method in ("bpr + LLM interactions", "text", "category-popular"):
        assert value(found, method) > 0.2
    assert value(found, "bpr + LLM pairs") > 0
    assert {source for _, source in found.choices} == {"random pairs", "content pairs", "LLM pairs"}
    assert set(found.content["bpr"]["method"]) == {"bpr + LLM pairs", "bpr + LLM interactions"}
    for choice in found.choices.values():
        assert choice.chosen.pairs in made.pairs
        assert choice.chosen.weight in made.weights
        assert choice.plain.cold == 0
    reader, _, coin = found.truth["accuracy"].to_list()
    assert reader == 1 > coin


def test_the_plain_model_and_a_control_are_what_a_fit_by_hand_gives(ran):
    folder, made, found = ran
    split = Split.load(folder / "shop" / "split")
    warm = np.isin(split.test.relevant, split.train.interactions.items) & (split.test.relevant >= 0)
    cold = np.where((split.test.relevant >= 0) & ~warm, split.test.relevant, -1)
    for part in (made.models[0], made.controls[1]):
        top = make_recommender(part).fit(split.train, seed=0).recommend(split.test.queries, 5)
        by_hand = compute(top, split.test, ["ndcg@5"])["ndcg@5"].mean()
        assert value(found, part.name, "ndcg@5", "all") == pytest.approx(by_hand, abs=1e-12)
        hits = [
            len(set(row) & set(wanted[wanted >= 0])) / (wanted >= 0).sum()
            for row, wanted in zip(top.items.tolist(), cold, strict=True)
            if (wanted >= 0).any()
        ]
        assert value(found, part.name) == pytest.approx(np.mean(hits), abs=1e-12)


def test_a_second_call_asks_nothing_fits_nothing_and_finds_the_same(ran, monkeypatch):
    folder, made, found = ran
    files = {path: path.stat().st_mtime_ns for path in (folder / "run" / "results").iterdir()}
    before, told = Reader.asked, []
    monkeypatch.setattr("llmrec.coldstart.results.learn", lambda *_, **__: told.append("fitted"))
    again = compare(made)
    assert (Reader.asked, told) == (before, [])
    assert tables(again) == tables(found)
    assert again.spent == found.spent
    assert {path: path.stat().st_mtime_ns for path in (folder / "run" / "results").iterdir()} == files


def test_a_result_that_a_disk_lost_is_made_anew(ran, monkeypatch):
    folder, made, found = ran
    results = sorted((folder / "run" / "results").iterdir())
    kept = results[0].read_bytes()
    results[0].write_bytes(kept[: len(kept) // 2])
    fitted, learn = [], lessons.learn
    counted = lambda *words, **named: fitted.append(words) or learn(*words, **named)  # noqa: E731
    monkeypatch.setattr("llmrec.coldstart.results.learn", counted)
    assert tables(compare(made)) == tables(found)
    assert len(fitted) == 1


def test_calls_are_counted_and_gains_told_per_thousand_of_them(ran):
    _, _, found = ran
    # Two prompts a pair, one an interaction, and one without history in which all titles stand alone.
    calls = {name: each.calls for name, each in found.spent.items()}
    assert calls["LLM pairs of known truth"] == 121
    assert calls["LLM pairs, validation cut"] == 801
    assert calls["LLM interactions, test cut"] == 17 * 12 + 1
    most = max(choice.chosen.pairs for choice in found.choices.values())
    assert calls["LLM pairs, test cut"] == 2 * most + 1
    gains = {row["method"]: row for row in gain_table(found).to_dicts()}
    row = gains["bpr + LLM interactions"]
    assert row["gain per 1,000 calls"] == pytest.approx(value(found, "bpr + LLM interactions") / 205 * 1000)
    chosen = found.choices["bpr", "LLM pairs"].chosen.pairs
    assert gains["bpr + LLM pairs"]["calls"] == pytest.approx((2 * most + 1) * chosen / most, abs=1)


def test_choices_and_prompts_do_not_depend_on_what_happened_later(ran):
    """The same training events with other targets: whoever reads the test to choose chooses otherwise."""
    folder, made, found = ran
    split = Split.load(folder / "shop" / "split")
    rolled = [np.roll(each.relevant, 3, axis=0) for each in (split.valid, split.test)]
    parts = [Targets(each.queries, rows) for each, rows in zip((split.valid, split.test), rolled, strict=True)]
    other = replace(split, valid=parts[0], test=parts[1])
    other.save(folder / "other" / "split")
    again = compare(made.model_copy(update={"dataset": folder / "other", "out": folder / "run-other", "truth": 0}))
    assert again.trials().to_dicts() == found.trials().to_dicts()
    asked = (
        "validation-pairs-*.answers.parquet",
        "test-pairs-*.answers.parquet",
        "test-interactions-*.answers.parquet",
    )
    for pattern in asked:
        one, two = (next((folder / run / "simulated").glob(pattern)) for run in ("run", "run-other"))
        assert one.read_bytes() == two.read_bytes()


def test_several_seeds_are_the_mean_of_one_each(ran):
    folder, made, found = ran
    both = compare(made.model_copy(update={"seeds": (0, 1), "interactions": None}))
    split = Split.load(folder / "shop" / "split")
    one, two = (
        make_recommender(made.models[0]).fit(split.train, seed=seed).recommend(split.test.queries, 5) for seed in (0, 1)
    )
    means = [compute(each, split.test, ["ndcg@5"])["ndcg@5"].mean() for each in (one, two)]
    assert value(both, "bpr", "ndcg@5", "all") == pytest.approx(np.mean(means), abs=1e-12)
    assert value(both, "text") == value(found, "text")


def fresh(folder, name, **values):
    return cold_run.recipe(folder, **{"out": folder / name, "cache": folder / f"{name}.sqlite", **values})


def test_a_budget_is_for_all_simulations_and_what_there_is_is_compared(ran):
    folder, _, _ = ran
    before = Reader.asked
    found = compare(fresh(folder, "poor", budget={"calls": 500}))
    assert sum(each.calls for each in found.spent.values()) <= 500
    assert Reader.asked - before <= 500
    assert found.spent["LLM pairs, validation cut"].calls <= (500 - 121) // 2
    assert found.spent["LLM pairs, validation cut"].exhausted
    assert {"bpr", "bpr + LLM pairs", "text"} <= set(found.plain["bpr"].methods)
    assert any(
        "the budget ended LLM pairs, validation cut after 94 of 400 questions" in each for each in warnings(found)
    )


def test_a_budget_that_ends_among_the_first_pairs_keeps_their_answers(ran):
    folder, _, _ = ran
    for _ in range(2):
        found = compare(fresh(folder, "first", budget={"calls": 101}))
        assert found.truth["pairs"].to_list() == [50] * 3
        assert found.spent["LLM pairs of known truth"].calls == 100 + 1


def test_a_budget_that_buys_nothing_leaves_what_needs_none(ran):
    folder, _, _ = ran
    found = compare(fresh(folder, "nothing", budget={"calls": 1}))
    assert found.plain["bpr"].methods == ("bpr", "bpr + content interactions", "text", "category-popular")
    assert "a budget of 0 calls" in found.failed["LLM pairs, validation cut"]
    assert found.truth is None
    assert gain_table(found) is None
    page = write_cold_start(found, folder / "nothing" / "report.html").read_text()
    assert "failed: LLM interactions: a budget of" in page


def test_a_method_that_fails_is_told_and_the_others_are_compared(ran):
    folder, _, _ = ran
    data = cold_run.shop()
    cold_run.save_shop(folder / "plain-shop", replace(data, item_table=data.item_table.drop("categories")))
    models = [{"name": "bpr", "factors": 8, "epochs": 5}, "als"]
    found = compare(fresh(folder, "less", dataset=folder / "plain-shop", models=models))
    assert "no column 'categories'" in found.failed["category-popular"]
    assert "'als' cannot learn from preferences" in found.failed["als + LLM pairs"]
    assert found.plain["als"].methods == ("als", "als + content interactions", "als + LLM interactions", "text")


def test_a_dry_run_tells_what_a_run_takes_and_asks_nothing(ran):
    folder, _, found = ran
    before = Reader.asked
    usage = foresee(fresh(folder, "dry"))
    assert Reader.asked == before
    assert not (folder / "dry" / "simulated").exists()
    for name in ("LLM pairs of known truth", "LLM pairs, validation cut", "LLM interactions, test cut"):
        assert usage[name].prompts == found.spent[name].calls
    assert usage["LLM pairs, test cut"].prompts == 801
    assert foresee(cold_run.recipe(folder)).keys() <= {"LLM pairs, test cut"}  # the rest is kept


def test_the_record_and_the_files_hold_what_was_found(ran):
    _, made, found = ran
    found.save(made.out)
    record = json.loads((made.out / "run.json").read_text())
    assert record["metrics"]["bpr"] == found.plain["bpr"].table.to_dicts()
    assert record["counts"]["test: cold items"] == 17
    assert [each["source"] for each in record["choices"]] == ["random pairs", "content pairs", "LLM pairs"]
    trials = pl.read_parquet(made.out / "trials.parquet")
    # The plain model, two weights, and the smaller number of pairs.
    assert len(trials) == 3 * (1 + 2 + 1)
    assert trials["chosen"].sum() == 3
    page = write_cold_start(found, made.out / "report.html")
    first = page.read_bytes()
    assert write_cold_start(found, page).read_bytes() == first
    text = page.read_text()
    assert text.count("<figure") == 4
    for words in ("bpr + LLM pairs", "recall@5, cold", "content: ", "accuracy", "LLM pairs, test cut", "by weight"):
        assert words in text


def changed(folder, **values):
    return lambda: compare(fresh(folder, "bad", **values))


def test_bad_input_is_named_before_anything_is_asked(ran):
    folder, _, _ = ran
    before = Reader.asked
    twice = ["bpr", {"name": "bpr", "factors": 4}]
    expect_error(ConfigError, changed(folder, models=twice), "two recommenders called 'bpr'", "once")
    expect_error(ConfigError, changed(folder, train=0.8, valid=0.3), "train = 0.8 and valid = 0.3", "below 1")
    expect_error(UnknownNameError, changed(folder, models=["brp"]), "unknown recommender 'brp'", "'bpr'")
    expect_error(ConfigError, changed(folder, models=[Part(name="bpr", parameters={"factor": 4})]), "factor")
    expect_error(DataError, changed(folder, dataset=folder / "gone"), "no file", "split.json")
    (folder / "mine").mkdir()
    (folder / "mine" / "thesis.txt").write_text("do not lose")
    expect_error(DataError, changed(folder, out=folder / "mine"), "holds something else")
    assert Reader.asked == before
    assert not (folder / "bad" / "simulated").exists()
