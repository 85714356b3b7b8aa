"""What docs/funnel.md says can be done in Python can be done, word for word; its recipe and rules are recipes."""

import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from funnels import N_ITEMS, N_USERS, ByNumber, made

from llmrec.classic.recall.popular import Popular
from llmrec.classic.reranking.rules import Rules
from llmrec.config import make_config
from llmrec.data import Split, Targets
from llmrec.pipeline.recipe import PipelineRecipe
from llmrec.registry import POLICIES

PAGE = (Path(__file__).parents[1] / "docs" / "funnel.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


@pytest.fixture
def prepared(tmp_path, monkeypatch):
    """A folder with films and what a teacher scored, as the page has them."""
    data = made()
    queries = data.queries(np.arange(N_USERS))
    targets = Targets(queries, ((queries.history[:, -1:] + 1) % N_ITEMS).astype(np.int32))
    Split(data, targets, targets, {}).save(tmp_path / "data" / "ml" / "split")
    recalled = Popular().fit(data).recommend(queries, 10)
    (tmp_path / "runs").mkdir()
    scored = ByNumber(np.arange(N_ITEMS)).rank(queries, recalled)
    scored.to_frame(data, queries).write_parquet(tmp_path / "runs" / "teacher.parquet")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_python_on_the_page_runs_from_top_to_bottom(prepared, capsys):
    names = {}
    for number, block in enumerate(blocks("python")):
        exec(compile(block, f"block {number} of docs/funnel.md", "exec"), names)  # noqa: S102 - our own page
    assert sorted(path.name for path in (prepared / "runs").iterdir()) == ["policy", "student", "teacher.parquet"]
    assert names["shown"].items.shape == (N_USERS, 10)
    assert np.isfinite(names["chances"]).all()
    assert names["replayed"].value > 0.7  # choosing blindly earns a half
    assert "Estimate(value=" in capsys.readouterr().out


def test_the_recipe_and_the_rules_on_the_page_are_recipes():
    recipe, rules = (yaml.safe_load(block) for block in blocks("yaml"))
    stages = make_config(PipelineRecipe, recipe).stages
    assert [stage.keep for stage in stages] == [50, 20, 20, 10]
    parameters = {key: value for key, value in rules[0]["ranker"].items() if key != "name"}
    assert len(make_config(Rules.config_class, parameters).rules) == 6


def test_the_policies_on_the_page_are_those_there_are():
    listed = re.search(r"\*\*Policies\*\* \((.*?)\)", PAGE, re.DOTALL).group(1)
    assert re.findall(r"`(.*?)`", listed) == list(POLICIES.rows)
