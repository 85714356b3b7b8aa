"""GIRL on CVs: tuned on postings, then on a reward, by PPO and by GRPO; judged by a reward model of other people.

    python benchmarks/girl.py --data FOLDER [--runs runs/girl] [--steps 40] [--only sft reward ppo grpo judge]
    python benchmarks/girl.py --data FOLDER --texts runs/girl/texts.parquet
    python benchmarks/girl.py --speed

FOLDER's ``jobs/livecareer`` holds parts of 1,480 different CVs of 13 categories with a posting each (sales has two);
they are split by person, 70 : 15 : 15. A CV is asked with 225 characters of its education and of its skills, a posting
is its title with what begins its description, 80 characters. Steps, each a run of its own that is read back where it is
over:

1. ``sft``: each training CV with a posting of its category.
2. ``reward``: two reward models, each of one half of the training CVs: the posting of the category against three of
   other categories. Accuracy is of the test's people, who are in neither half, with one other posting each.
3. ``ppo``: from the tuned model, against the reward of one half, contexts of the training part; ``grpo`` beside it,
   with as many answers drawn.
4. ``judge``: four texts of each test CV by each generator; rewards by both models, the share of CVs for which the
   tuned one's mean reward by the *other* half's model is above SFT's, and what texts are like.

``--texts`` writes a text for every CV by the PPO policy, for ``girl_enhance.py``. ``--speed`` times a step of PPO
(8 prompts of 64 tokens, 32 tokens answered) against its bare model calls. All is resumable: the same call goes on.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from girl_data import PARTS, asked, read_cvs, read_postings
from girl_speed import measure_speed

from llmrec.config import make_config
from llmrec.data.files import read_json
from llmrec.eval.significance import bootstrap_interval, paired_test
from llmrec.generate.describe import GenerateRecipe, generate_batch
from llmrec.train.feedback_recipe import GroupRecipe, RewardRecipe
from llmrec.train.groups import optimise_groups
from llmrec.train.ppo_recipe import PpoRecipe
from llmrec.train.ppo_record import Optimised
from llmrec.train.ppo_run import optimise
from llmrec.train.recipe import TallrecRecipe
from llmrec.train.reward import train_reward
from llmrec.train.reward_model import RewardModel
from llmrec.train.tallrec import tune

CV, POSTING = 450, 80
"""Characters of a CV that is asked and of a description."""
TOKENS = 32
"""Of an answer: a title, and what begins a description."""
REJECTED = 3
"""Postings of other categories that a training CV is paired with."""
HALVES = ("a", "b")
LEARNT, HELD_OUT = "b", "a"
"""The half whose reward PPO and GRPO learn from, and the one that judges."""
STEPS = ("sft", "reward", "ppo", "grpo", "judge")
WEIGHT = 0.35
"""Of the reward: its standard deviation over SFT's texts is near 3."""
KL_TARGET = 8.0
"""Nats of an answer."""
OPTIMISED = {
    "rollout": 32,
    "max_tokens": TOKENS,
    "max_length": 256,
    "batch_size": 8,
    "learning_rate": 1e-4,
    "kl_coefficient": 0.05,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("LLMREC_DATA", "../shared/data")))
    parser.add_argument("--runs", type=Path, default=Path("runs/girl"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=40, help="of PPO and GRPO")
    parser.add_argument("--only", nargs="+", choices=STEPS, default=STEPS)
    parser.add_argument("--halves", nargs="+", choices=HALVES, default=HALVES, help="whose reward models to train")
    parser.add_argument("--texts", type=Path, help="write the PPO policy's text for every CV here, and end")
    parser.add_argument("--speed", action="store_true")
    arguments = parser.parse_args()
    if arguments.speed:
        measure_speed()
        return
    write_rows(arguments)
    if arguments.texts:
        generate(arguments, "ppo", contexts="all", out=arguments.texts, texts=1)
        return
    for name in arguments.only:
        {"sft": sft, "reward": reward, "ppo": ppo, "grpo": grpo, "judge": judge}[name](arguments)


def write_rows(arguments: argparse.Namespace) -> None:
    """Write what each step reads as JSON lines."""
    folder = arguments.data / "jobs" / "livecareer"
    cvs, postings = asked(read_cvs(folder, arguments.seed), limit=CV), read_postings(folder, limit=POSTING)
    arguments.runs.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(arguments.seed)
    matched, pairs = [], []
    for row in cvs.iter_rows(named=True):
        of = postings["category"] == row["category"]
        chosen = rng.choice(postings.filter(of)["completion"].to_numpy())
        others = rng.permutation(postings.filter(~of)["completion"].to_numpy())
        half = HALVES[len(matched) % 2]
        matched.append({**row, "completion": chosen})
        some = others[: REJECTED if row["part"] == "train" else 1]
        pairs.extend({**row, "chosen": chosen, "rejected": rejected, "half": half} for rejected in some)
    frames = {"matched": pl.DataFrame(matched), "pairs": pl.DataFrame(pairs)}
    for name, frame in frames.items():
        for part in PARTS:
            frame.filter(part=part).write_ndjson(arguments.runs / f"{name}.{part}.jsonl")
    for half in HALVES:
        frames["pairs"].filter(part="train", half=half).write_ndjson(arguments.runs / f"pairs.{half}.jsonl")
    cvs.write_ndjson(arguments.runs / "all.jsonl")


def source(arguments: argparse.Namespace, name: str) -> dict[str, Any]:
    return {"file": arguments.runs / f"{name}.jsonl", "repeats": True}


def tell(done: int, of: int, text: str) -> None:
    print(f"    {done} of {of}: {text}", flush=True)


def sft(arguments: argparse.Namespace) -> None:
    """Tune on postings."""
    stage = {"train": [source(arguments, "matched.train")], "valid": source(arguments, "matched.valid")}
    stage |= {"epochs": 1, "learning_rate": 1e-3, "batch_size": 8, "evaluate_every": 43, "patience": None}
    recipe = {"out": arguments.runs / "sft", "max_length": 256, "stages": [stage], "seed": arguments.seed}
    done = tune(make_config(TallrecRecipe, recipe), report=tell)
    print(f"sft: {done.seconds:.0f} s", flush=True)


def reward(arguments: argparse.Namespace) -> None:
    """Train the halves' reward models."""
    for half in arguments.halves:
        stage = {"train": [source(arguments, f"pairs.{half}")], "valid": source(arguments, "pairs.valid")}
        stage |= {"epochs": 1, "learning_rate": 1e-3, "batch_size": 8, "evaluate_every": 65, "patience": None}
        recipe = {"out": arguments.runs / f"reward-{half}", "max_length": 256, "stage": stage, "seed": arguments.seed}
        recipe["test"] = source(arguments, "pairs.test")
        done = train_reward(make_config(RewardRecipe, recipe), report=tell)
        print(f"reward {half}: {done.test.metrics if done.test else None}, {done.seconds:.0f} s", flush=True)


def policy(arguments: argparse.Namespace, name: str) -> dict[str, Any]:
    """Return what PPO and GRPO are both told."""
    return {
        "out": arguments.runs / name,
        "start": arguments.runs / "sft" / "adapter",
        "prompts": source(arguments, "matched.train"),
        "rewards": [{"model": arguments.runs / f"reward-{LEARNT}" / "adapter", "weight": WEIGHT}],
        "steps": arguments.steps,
        "seed": arguments.seed,
        **OPTIMISED,
    }


def ppo(arguments: argparse.Namespace) -> None:
    """Tune on the reward of one half by PPO."""
    recipe = make_config(PpoRecipe, {**policy(arguments, "ppo"), "epochs": 2, "kl_target": KL_TARGET})
    show("ppo", optimise(recipe, report=tell))


def grpo(arguments: argparse.Namespace) -> None:
    """Tune on the reward of one half by GRPO, as many answers drawn."""
    recipe = make_config(GroupRecipe, {**policy(arguments, "grpo"), "epochs": 2, "generations": 4})
    show("grpo", optimise_groups("grpo", recipe, report=tell))


def show(name: str, done: Optimised) -> None:
    for entry in done.log[:: max(1, len(done.log) // 10)]:
        print(f"  {name} step {entry['step']}: " + words(entry, ("reward", "kl", "entropy", "tokens", "ended")))
    last = {key: np.mean([entry[key] for entry in done.log[-10:]]) for key in ("reward", "kl")}
    print(f"{name}, last ten steps: {words(last, last)}; {done.seconds:.0f} s", flush=True)


def words(entry: dict[str, Any], keys: Any) -> str:  # noqa: ANN401 - any keys
    return ", ".join(f"{key} {entry[key]:.3f}" for key in keys if entry.get(key) is not None)


def generate(arguments: argparse.Namespace, name: str, *, contexts: str, out: Path, texts: int) -> None:
    """Write texts of a tuned model, drawn as they are in training."""
    recipe = {
        "contexts": {"file": arguments.runs / f"{contexts}.jsonl"},
        "out": out,
        "engine": {"name": "transformers", "adapter": str(arguments.runs / name / "adapter")},
        "cache": arguments.runs / "answers",
        "texts": texts,
        "max_tokens": TOKENS,
        "temperature": 1.0,
        "seed": 1000 + arguments.seed,
    }
    run = generate_batch(make_config(GenerateRecipe, recipe))
    print(f"{name}: {run.contexts} contexts, {run.seconds:.0f} s", flush=True)


def judge(arguments: argparse.Namespace) -> None:
    """Compare the generators on the test's CVs."""
    models = {half: RewardModel.load(arguments.runs / f"reward-{half}" / "adapter") for half in HALVES}
    found: dict[str, dict[str, np.ndarray]] = {}
    for name in ("sft", "ppo", "grpo"):
        if not (arguments.runs / name / "run.json").is_file():
            continue
        out = arguments.runs / f"texts-{name}.parquet"
        if not out.is_file():
            generate(arguments, name, contexts="matched.test", out=out, texts=4)
        texts = pl.read_parquet(out).sort("context", "sample")
        found[name] = {
            half: np.array(model(texts["prompt"].to_list(), texts["text"].to_list())).reshape(-1, 4)
            for half, model in models.items()
        }
        said = read_json(out.with_suffix(".run.json"))["report"]
        print(f"{name}: {words(said, [key for key in said if isinstance(said[key], float)])}", flush=True)
    for name, rewards in found.items():
        for half, values in rewards.items():
            low, high = bootstrap_interval(values.mean(axis=1))
            print(f"{name}, reward {half}: {values.mean():.3f} [{low:.3f}, {high:.3f}], sd {values.std():.3f}")
    for name in found.keys() - {"sft"}:
        print(f"{name} over sft: {compare(found[name], found['sft'])}", flush=True)


def compare(tuned: dict[str, np.ndarray], base: dict[str, np.ndarray]) -> str:
    """Return how rewards (contexts, texts) by each model differ: by the learnt one, and by the held-out one."""
    gain = (tuned[LEARNT].mean() - base[LEARNT].mean()) / base[LEARNT].std()
    ours, theirs = tuned[HELD_OUT][:, :, None], base[HELD_OUT][:, None, :]
    wins = 100 * ((ours > theirs) + (ours == theirs) / 2).mean(axis=(1, 2))
    low, high = bootstrap_interval(wins)
    test = paired_test(tuned[HELD_OUT].mean(axis=1), base[HELD_OUT].mean(axis=1))
    return (
        f"reward {LEARNT} {gain:+.2f} standard deviations; win rate by {HELD_OUT} {wins.mean():.1f} % "
        f"[{low:.1f}, {high:.1f}], reward {HELD_OUT} {test.difference:+.3f}, p = {test.p:.4f}"
    )


if __name__ == "__main__":
    main()
