"""Exploration on MovieLens: which of the popular films to show, learned and evaluated on a log of uniform choices.

    python benchmarks/exploration.py --data FOLDER [--rounds 20000] [--arms 20] [--seeds 1]

FOLDER holds ``movielens-1m`` with ``sequences.tsv``. The arms are the most watched films, a round is a random user, and
the reward is whether the user has watched the film: then every reward is known, and with it what each estimate should
have found. A user's context is a constant and a projection, by singular vectors, of what else the user has watched.
Policies learn by replay; a policy that does not learn (LinUCB's models after the first half of the rounds, softened) is
evaluated on the other half from a log whose choices follow popularity.
"""

from __future__ import annotations

import argparse
import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from scipy.sparse.linalg import svds
from scipy.special import softmax

from llmrec.classic.exploration.bandit import make_policy
from llmrec.config import Part
from llmrec.data_prep.sequences import load_sequences
from llmrec.eval.logged import Logged
from llmrec.eval.off_policy import direct, doubly_robust, ips, snips
from llmrec.eval.replay import replay

Floats = NDArray[np.float64]
DIMENSION = 16
POLICIES: dict[str, dict[str, object]] = {
    "epsilon-greedy with epsilon 1": {"name": "epsilon-greedy", "epsilon": 1.0},
    "epsilon-greedy": {"name": "epsilon-greedy"},
    "ucb1": {"name": "ucb1", "alpha": 0.5},
    "thompson": {"name": "thompson"},
    "lin-ucb": {"name": "lin-ucb", "dimension": DIMENSION + 1, "alpha": 0.5},
    "linear-thompson": {"name": "linear-thompson", "dimension": DIMENSION + 1},
    "neural-linear": {"name": "neural-linear", "dimension": DIMENSION + 1, "refit_every": 500},
}


@dataclass(frozen=True)
class World:
    """Contexts of users (n_users, d) and their rewards for all arms (n_users, k)."""

    contexts: Floats
    rewards: Floats

    def log(self, rounds: int, logging: Floats, seed: int) -> tuple[NDArray[np.int64], Logged]:
        """Return random users, and what a policy that ignores them chose: arms by their chances (k,)."""
        rng = np.random.default_rng(seed)
        users = rng.integers(0, len(self.contexts), rounds)
        chosen = rng.choice(len(logging), rounds, p=logging)
        whole = np.tile(logging, (rounds, 1))
        rewards = self.rewards[users, chosen]
        return users, Logged(self.contexts[users], np.arange(len(logging)), chosen, rewards, whole)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("LLMREC_DATA", "../shared/data")))
    parser.add_argument("--rounds", type=int, default=20_000)
    parser.add_argument("--arms", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=1)
    arguments = parser.parse_args()
    world = read_world(arguments.data / "movielens-1m" / "sequences.tsv", arguments.arms)
    rates = world.rewards.mean(axis=0)
    print(f"{len(world.contexts):,} users; watched by {rates.min():.3f} to {rates.max():.3f} of them")
    learn(world, arguments)
    evaluate(world, arguments.rounds)


def read_world(path: Path, arms: int) -> World:
    """Return the world of the most watched films."""
    data = load_sequences(path)
    events = data.interactions
    watched = csr_matrix(
        (np.ones(len(events)), (events.users, events.items)), shape=(len(data.users), len(data.items))
    ).sign()
    popular = np.argsort(-np.asarray(watched.sum(axis=0)).ravel(), kind="stable")[:arms]
    rewards = watched[:, popular].toarray()
    others = np.setdiff1d(np.arange(len(data.items)), popular)
    left, values, _ = svds(watched[:, others], k=DIMENSION, rng=0)
    contexts = left * values
    return World(np.hstack([np.ones((len(contexts), 1)), contexts / contexts.std(axis=0)]), rewards)


def learn(world: World, arguments: argparse.Namespace) -> None:
    """Print the mean reward of each policy that learns by replay, and of its last quarter, mean of the seeds."""
    k = arguments.arms
    best = world.rewards.mean(axis=0).max()
    print(f"replay of {arguments.rounds:,} uniform choices, {arguments.seeds} seeds; best film for all {best:.4f}")
    for name, parameters in POLICIES.items():
        values, last, start = [], [], time.perf_counter()
        for seed in range(arguments.seeds):
            _, log = world.log(arguments.rounds, np.full(k, 1 / k), seed)
            found = replay(log, make_policy(Part.model_validate(parameters | {"arms": k}), seed=seed))
            values.append(found.value)
            last.append(found.rewards[-len(found.rewards) // 4 :].mean())
        seconds = (time.perf_counter() - start) / arguments.seeds
        interval = f"one seed's 95 % interval [{found.low:.4f}, {found.high:.4f}]"
        print(
            f"{name:30} {np.mean(values):.4f}  last quarter {np.mean(last):.4f}  {interval}  {seconds:.1f} s",
            flush=True,
        )


def evaluate(world: World, rounds: int) -> None:
    """Print what each estimate makes of a policy that does not learn, beside the truth."""
    rates = world.rewards.mean(axis=0)
    users, log = world.log(rounds, rates / rates.sum(), seed=100)
    half = rounds // 2
    model = make_policy(Part.model_validate(POLICIES["lin-ucb"] | {"arms": len(rates)}))
    model.update(log.contexts[:half], log.chosen[:half], log.rewards[:half])
    rest = log.select(slice(half, None))
    expected = model.expected(rest.contexts, np.arange(len(rates)))
    chances = softmax(expected / 0.1, axis=1)
    truth = (chances * world.rewards[users[half:]]).sum(axis=1).mean()
    earned = rest.rewards.mean()
    print(f"a policy that does not learn, on {len(rest):,} choices that earned {earned:.4f}; truth {truth:.4f}")
    for name, found in {
        "ips": ips(rest, chances),
        "snips": snips(rest, chances),
        "direct": direct(rest, chances, expected),
        "doubly robust": doubly_robust(rest, chances, expected),
    }.items():
        interval = f"[{found.low:.4f}, {found.high:.4f}], width {found.high - found.low:.4f}"
        print(f"{name:14} {found.value:.4f} {interval}, {found.effective:,.0f} effective rows")


if __name__ == "__main__":
    main()
