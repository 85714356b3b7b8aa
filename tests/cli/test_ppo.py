"""``llmrec train ppo``: from a recipe to an adapter, the same command again, and bad input in one line."""

import pytest
import yaml
from optimising import ppo_recipe

from llmrec.config import load_config
from llmrec.train.ppo_recipe import PpoRecipe
from llmrec.train.rewards import load_rewards


@pytest.fixture
def train(llmrec, tiny_model, tmp_path):
    """A function that runs a recipe whose reward stands in a file of the folder that the command is given in."""
    values = ppo_recipe(tiny_model, tmp_path, steps=2).model_dump(mode="json", exclude_none=True)
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump({**values, "rewards": [{"function": "my_rewards_of_ppo:short"}]}))
    (tmp_path / "my_rewards_of_ppo.py").write_text(
        "def short(prompts, completions, **columns):\n    return [-float(len(text)) for text in completions]\n"
    )

    def run(*more):
        with pytest.MonkeyPatch.context() as patched:
            patched.chdir(tmp_path)
            return llmrec("train", "ppo", path, *more)

    return run


def words(text):
    return " ".join(text.split())


def test_a_recipe_becomes_an_adapter(train, llmrec, tmp_path):
    code, out, err = train("--set", "seed=3")
    assert code == 0, err
    assert "40 prompts" in out
    assert "answers of a step" in out
    assert "tuned in " in out
    assert (tmp_path / "run" / "adapter" / "adapter_model.safetensors").is_file()
    code, out, _ = train("--set", "seed=3")
    assert code == 0
    assert "this recipe was tuned before -> " in words(out)


@pytest.mark.parametrize(
    ("more", "found"),
    [
        (("--set", "step=4"), ["unknown key 'step'", "did you mean 'steps'?"]),
        (("--set", "rewards=[]"), ["rewards none"]),
        (("--set", "rewards=[{function: my_rewards_of_ppo:shor}]"), ["no function 'shor'", "did you mean 'short'?"]),
        (("--set", "max_tokens=64"), ["max_tokens = 64 of an answer"]),
        (("--set", "learning_rate=1e30", "--set", "steps=5"), ["at step", "lower learning_rate"]),
    ],
)
def test_bad_input_is_one_line(train, more, found):
    code, _, err = train(*more)
    assert code == 2
    assert "Traceback" not in err
    for each in found:
        assert each in words(err)


def test_the_recipe_that_is_shipped_is_understood(request):
    recipe = load_config(PpoRecipe, request.config.rootpath / "configs" / "ppo-movielens.yaml")
    assert [part.name for part in load_rewards(recipe.rewards)] == ["distinct_words"]
