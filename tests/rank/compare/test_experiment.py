"""An experiment says what each variant is worth and costs, survives what fails, and shows what was asked."""

import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from llmrec.data import Candidates, Split, Targets
from llmrec.data.files import read_json
from llmrec.errors import ConfigError, DataError, EngineError, UnknownNameError
from llmrec.eval.metrics import compute
from llmrec.llm.cache import AnswerStore
from llmrec.llm.fake import FakeEngine
from llmrec.prompts.template import load_template
from llmrec.rank.compare.differing import widest_pairs
from llmrec.rank.compare.experiment import compare, foresee
from llmrec.rank.likelihood import LikelihoodConfig, LikelihoodRanker
from llmrec.testing import expect_error

SHORT = {"name": "fake", "context": 5}
FILES = {
    "leaderboard.json",
    "leaderboard.parquet",
    "metrics.json",
    "metrics.parquet",
    "per_query.parquet",
    "position_bias.parquet",
    "run.json",
    "timings.json",
}


def row(found, variant):
    return next(each for each in found.leaderboard.iter_rows(named=True) if each["variant"] == variant)


def test_a_variant_is_what_its_strategy_gives_by_itself(make_recipe, films, targets, candidates):
    found = compare(make_recipe(metrics=["mrr@3", "hr@3"]))
    for template in ("likelihood-list", "likelihood-sentence"):
        ranker = LikelihoodRanker(FakeEngine(), films.titles(), LikelihoodConfig(template=template))
        ranked = ranker.rank(targets.queries, candidates)
        for metric, values in compute(ranked, targets, ["mrr@3", "hr@3"]).items():
            assert row(found, template)[f"{metric} mean"] == pytest.approx(values.mean())
    came = compute(candidates, targets, ["mrr@3"])["mrr@3"].mean()
    assert row(found, "incoming order")["mrr@3 mean"] == pytest.approx(came)
    means = found.leaderboard["mrr@3 mean"].to_list()
    assert means == sorted(means, reverse=True)


def test_costs_are_of_all_that_is_asked_for(make_recipe, films, targets, candidates):
    found = compare(make_recipe(prices={"fake": {"input": 10, "output": 1000}}))
    template, titles = load_template("likelihood-list"), films.titles()
    prompts = [template.render(history=[titles[item] for item in row]).user for row in targets.queries.lists()]
    answers = [titles[item] + "\n" for item in candidates.items.ravel().tolist() if item >= 0]
    read, written = (sum(FakeEngine().count_tokens(texts)) for texts in (prompts, answers))
    mine = row(found, "likelihood-list")
    assert (mine["prompts"], mine["answers"], mine["computed"], mine["cached"]) == (30, 178, 178, 0)
    assert (mine["prompt_tokens"], mine["output_tokens"]) == (read, written)
    assert mine["money"] == pytest.approx((10 * read + 1000 * written) / 1e6)
    assert mine["users_per_second"] == pytest.approx(30 / mine["seconds"])
    recorded = read_json(found.recipe.out / "timings.json").values()
    told = [each["seconds"] for each in found.leaderboard.iter_rows(named=True) if each["prompts"]]
    assert sorted(told) == pytest.approx(sorted(each["seconds"] for each in recorded))
    assert {each["answers"] for each in recorded} == {178}
    assert mine["unreadable"] is None
    assert row(found, "incoming order")["prompts"] is None


def test_a_dry_run_foresees_what_a_run_takes_and_writes_nothing(make_recipe):
    recipe = make_recipe(prices={"fake": {"input": 10, "output": 1000}})
    foreseen = foresee(recipe)
    assert not recipe.out.exists()
    ran = compare(recipe).outcomes
    for before, after in zip(foreseen, ran, strict=True):
        assert before.variant == after.variant
        assert replace(before.spent, seconds=0) == replace(after.spent, seconds=0)
        assert before.spent.cache_misses > 0
        assert before.money(recipe.prices) == after.money(recipe.prices)
    again = foresee(recipe)
    assert [each.spent.cache_misses for each in again] == [0] * len(ran)


def test_answers_that_cannot_be_read_are_counted(make_recipe):
    listwise = [{"name": "listwise", "max_tokens": n} for n in (1, 400)]
    found = compare(make_recipe(grid={"strategies": listwise, "engines": ["fake"]}))
    cut, whole = (row(found, f"listwise max_tokens={n}") for n in (1, 400))
    assert cut["unreadable"] == 30
    assert "30 unread" in cut["counts"]
    assert whole["unreadable"] == 0
    assert cut["order_kept"] == 1.0
    assert whole["order_kept"] < 1


def test_the_same_call_again_computes_nothing_and_says_the_same(make_recipe):
    recipe = make_recipe()
    first, second = compare(recipe), compare(recipe)
    assert first.spent.cache_misses == 2 * 178
    assert second.spent.cache_misses == 0
    changing = ["computed", "cached"]
    assert first.leaderboard.drop(changing).equals(second.leaderboard.drop(changing))
    folder = recipe.out.parent
    shared = make_recipe(grid={"strategies": [{"name": "likelihood", "score": "calibrated"}], "engines": ["fake"]})
    assert row(compare(shared), "likelihood score=calibrated")["computed"] == 40, "one without a history for each film"
    assert row(compare(shared), "likelihood score=calibrated")["users_per_second"] is None, "no time for those only"
    elsewhere = compare(make_recipe(out=folder / "other"))
    assert row(elsewhere, "likelihood-list")["users_per_second"] is None


def test_users_are_drawn_by_the_seed_and_the_same_for_all(make_recipe):
    one, same, other = (compare(make_recipe(users=7, seed=seed)).asked for seed in (1, 1, 2))
    assert len(one.targets) == len(one.candidates) == 7
    np.testing.assert_array_equal(one.targets.queries.users, same.targets.queries.users)
    assert one.targets.queries.users.tolist() != other.targets.queries.users.tolist()
    # Candidates of user u begin with item 5 u.
    np.testing.assert_array_equal(one.candidates.items[:, 0], one.targets.queries.users * 5 % 40)


def test_a_variant_that_fails_is_recorded(make_recipe):
    recipe = make_recipe(grid={"engines": [SHORT, "fake"]})
    found = compare(recipe)
    failed, fine = row(found, "fake context=5"), row(found, "fake")
    assert "at most 5" in failed["error"]
    assert failed["ndcg@10 mean"] is None
    assert fine["error"] is None
    assert found.evaluation.baseline == "fake"
    assert found.leaderboard["variant"][-1] == "fake context=5"


def test_where_all_fail_the_first_error_stands(make_recipe):
    recipe = make_recipe(grid={"engines": [SHORT, SHORT | {"context": 6}]})
    expect_error(EngineError, lambda: compare(recipe), "at most 5")


def test_a_grid_may_hold_templates_that_serve_one_strategy_only(make_recipe):
    grid = {"templates": ["likelihood-list", "choose-label"], "strategies": ["likelihood", "setwise"]}
    found = compare(make_recipe(grid=grid | {"engines": ["fake"]}))
    errors = {each["variant"]: each["error"] for each in found.leaderboard.iter_rows(named=True)}
    assert [name for name, error in errors.items() if error is None and name != "incoming order"] == sorted(
        ["likelihood-list, likelihood", "choose-label, setwise"],
        key=lambda name: -row(found, name)["ndcg@10 mean"],
    )
    assert "labels" in errors["likelihood-list, setwise"]
    assert "'candidates' is undefined" in errors["choose-label, likelihood"]


@pytest.mark.parametrize(
    ("wording", "answer", "words"),
    [
        ("{{ histroy }}", "continuation", ["'histroy' is undefined", "history"]),
        ("x", "rankin", ["'rankin' is no parser"]),
    ],
)
def test_a_template_that_serves_no_strategy_is_an_error_and_nothing_is_written(
    make_recipe, tmp_path, wording, answer, words
):
    continuation = 'continuation: " {{ candidate }}"\n' if answer == "continuation" else ""
    path = tmp_path / "mine.yaml"
    path.write_text(f'name: mine\nversion: 1\ndescription: D.\nuser: "{wording}"\nanswer: {answer}\n{continuation}')
    recipe = make_recipe(grid={"templates": ["likelihood-list", str(path)], "engines": ["fake"]})
    expect_error(ConfigError, lambda: compare(recipe), *words)
    assert not recipe.out.exists()
    assert not recipe.cache.exists()


def test_what_is_wrong_is_known_before_anything_is_asked(make_recipe, prepared, tmp_path):
    (tmp_path / "file").write_text("")
    frame = pl.read_parquet(prepared / "candidates.parquet").with_columns(item=pl.lit(7))
    frame.write_parquet(tmp_path / "other.parquet")
    wrong = [
        (UnknownNameError, {"baseline": "likelihood-lst"}, ["'likelihood-lst'", "did you mean 'likelihood-list'?"]),
        (UnknownNameError, {"metrics": ["ndgc@10"]}, ["'ndgc@10'", "did you mean 'ndcg'?"]),
        (ConfigError, {"metrics": ["coverage@10", "hr@10"]}, ["coverage@10", "first"]),
        (ConfigError, {"metrics": ["hr@10", "novelty@10"]}, ["novelty@10", "llmrec evaluate"]),
        (DataError, {"out": str(tmp_path / "file" / "x")}, ["cannot be written"]),
        (DataError, {"part": "train"}, ["'train'", "'valid' or 'test'"]),
        (DataError, {"part": "valid"}, ["query 29", "0 to 9"]),
        (DataError, {"candidates": str(tmp_path / "other.parquet")}, ["item 7", "'films'"]),
        (UnknownNameError, {"grid": {"templates": ["likelihod-list"], "engines": ["fake"]}}, ["did you mean"]),
    ]
    for kind, values, words in wrong:
        recipe = make_recipe(**values)
        expect_error(kind, lambda recipe=recipe: compare(recipe), *words)
        assert not recipe.cache.exists()


def test_a_folder_holds_it_all(make_recipe):
    recipe = make_recipe(baseline="incoming order")
    found = compare(recipe)
    folder = found.save(recipe.out)
    assert {path.name for path in folder.iterdir()} == FILES
    assert pl.read_parquet(folder / "leaderboard.parquet").equals(found.leaderboard)
    written = read_json(folder / "leaderboard.json")
    assert (written["baseline"], written["queries"]) == ("incoming order", 30)
    assert json.loads(json.dumps(written["rows"], allow_nan=False)) == found.leaderboard.to_dicts()
    places = pl.read_parquet(folder / "position_bias.parquet")
    assert places.filter(pl.col("variant") == "likelihood-list")["place"].to_list() == [1, 2, 3, 4, 5, 6]
    groups = found.evaluation.groups
    assert groups[:5] == ("all", "head users", "tail users", "warm items", "cold items")


def test_the_widest_differences_come_first_and_each_user_once():
    def ranking(*rows):
        return Candidates(np.array(rows), np.zeros((len(rows), 3)))

    came = [1, 2, 3]
    ranked = [
        ranking(came, came, came, came),
        ranking(came, [2, 1, 3], [3, 1, 2], [2, 1, 3]),
        ranking(came, [3, 2, 1], came, [3, 1, 2]),
    ]
    values = np.array([[0.5, 0.2, 0.0, 0.5], [0.5, 0.6, 1.0, 0.5], [0.5, 1.0, 0.0, 0.5]])
    # The first query is ranked the same by all; the last one by none, for the same value: all its places differ in 0-2
    # and two in 0-1.
    assert widest_pairs(values, ranked, 9) == [(2, (1, 0)), (1, (2, 0)), (3, (0, 2))]
    assert widest_pairs(values, ranked, 1) == [(2, (1, 0))]
    assert widest_pairs(values[:1], ranked[:1], 3) == []


def test_what_is_shown_is_what_was_asked(make_recipe, films, targets, candidates):
    recipe = make_recipe(examples=2)
    found = compare(recipe)
    assert len(found.differing) == 2
    titles = films.titles()
    for user in found.differing:
        number = films.users.numbers([user.user])[0]
        history = [titles[item] for item in targets.queries.lists()[number]]
        assert user.history == tuple(history)
        assert user.sides[0].value >= user.sides[1].value
        for side in user.sides:
            (exchange,) = side.exchanges
            template = load_template(side.variant)
            assert exchange.prompt == template.render(history=history)
            shown = [titles[item] for item in candidates.items[number] if item >= 0]
            assert exchange.answers == tuple(map(template.render_answer, shown))
            np.testing.assert_allclose(
                exchange.scores, FakeEngine().logprobs([exchange.prompt], [exchange.answers])[0], rtol=1e-6
            )
            assert [place for _, _, place in side.listed] == [shown.index(title) + 1 for title, _, _ in side.listed]


@pytest.mark.parametrize("strategy", ["setwise", "pairwise", "tournament", "window", "bootstrap", "listwise"])
def test_showing_asks_nothing_that_was_not_asked(make_recipe, tmp_path, strategy):
    grid = {"strategies": [{"name": strategy}], "engines": ["fake"], "histories": [1, 3]}
    stored = []
    for examples in (0, 5):
        cache = tmp_path / f"{examples}.sqlite"
        found = compare(make_recipe(grid=grid, examples=examples, cache=cache, out=tmp_path / f"{examples}"))
        assert bool(found.differing) == bool(examples)
        assert len(found.differing) <= examples
        stored.append(len(AnswerStore(cache)))
    assert stored[0] == stored[1] > 0
    assert all(side.exchanges for user in found.differing for side in user.sides)


def test_engines_are_opened_one_after_the_other_and_rows_keep_the_recipe_s_order(make_recipe):
    two = [{"name": "fake", "model": name} for name in ("a", "b")]
    variants = [
        {
            "name": f"{engine['model']} {history}",
            "strategy": {"name": "likelihood", "history": history},
            "engine": engine,
        }
        for history in (1, 2)
        for engine in two
    ]
    seen = []
    found = compare(make_recipe(grid=None, variants=variants), lambda done, total, text: seen.append(text))
    ran = list(dict.fromkeys(seen))
    assert ran[:4] == ["a 1", "a 2", "b 1", "b 2"]
    assert [each.variant.name for each in found.outcomes] == ["a 1", "b 1", "a 2", "b 2"]
    assert {each.identity for each in found.outcomes} == {"fake/a", "fake/b"}


def test_a_part_without_users_is_an_error(make_recipe, tmp_path, films, targets):
    none = targets.select(slice(0, 0))
    Split(films, Targets(none.queries, none.relevant), targets, {}).save(tmp_path / "films" / "split")
    recipe = make_recipe(dataset=tmp_path / "films", part="valid")
    expect_error(DataError, lambda: compare(recipe), "'valid'", "no users")
