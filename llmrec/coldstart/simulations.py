"""What an evaluation simulates, within one budget for all, and keeps: a second call reads it back."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from llmrec.coldstart.accuracy import pairs_with_truth
from llmrec.coldstart.batch import FunnelRun, PairsRun, answers_file, ask_pairs, funnel_batch, pairs_batch
from llmrec.coldstart.budget import Budget
from llmrec.coldstart.controls import ContentTaste, RandomTaste
from llmrec.coldstart.cuts import VALIDATION, Cut
from llmrec.coldstart.funnel import SimulatedInteractions, simulate_interactions
from llmrec.coldstart.near import NearConfig, near_model, nearest_users
from llmrec.coldstart.pairs import Pairs
from llmrec.coldstart.recipe import EvaluateRecipe, FunnelConfig, FunnelRecipe, PairsRecipe
from llmrec.coldstart.simulate import Simulated, simulate_pairs
from llmrec.data.files import atomic_file, read_json, read_parquet
from llmrec.llm.make import Report, make_engine
from llmrec.protocols import Usage, VectorModel, Watch

Stage = Callable[[str], AbstractContextManager[Report | None]]
"""Opens a stage of a long work by its title, and yields what is told of its progress."""


def silent(_: str) -> AbstractContextManager[None]:
    """Open a stage that nobody is told of."""
    return nullcontext()


@dataclass(frozen=True)
class Spent:
    """What one simulation came to.

    Attributes:
        name: which one.
        counts: questions asked, kept, inconsistent, failed, not asked.
        exhausted: whether the budget ended it.
        calls: prompts admitted, answered from the cache or not.
        tokens: read and written or scored, likewise.
        money: what they cost at the recipe's prices.
    """

    name: str
    counts: Mapping[str, int]
    exhausted: bool
    calls: int
    tokens: int
    money: float


class Simulations:
    """Asks a language model and the controls what an evaluation needs.

    The budget is for all simulations, in the order in which they are asked for; the validation cut's pairs may take
    half of what is left then.

    Args:
        recipe: what to ask, and what it may cost.
        stage: opened for each simulation that is not kept yet.
        dry_run: write nothing and run no language model.

    Attributes:
        spent: what each came to, by name.
        foreseen: in a dry run, what each would take.
    """

    def __init__(self, recipe: EvaluateRecipe, stage: Stage = silent, *, dry_run: bool = False) -> None:
        self.recipe, self.stage, self.dry_run = recipe, stage, dry_run
        self.spent: dict[str, Spent] = {}
        self.foreseen: dict[str, Usage] = {}
        self._told: dict[str, Simulated] = {}
        self._near: dict[str, VectorModel] = {}

    @cached_property
    def identity(self) -> str:
        """The engine's; answers of another one are no answers of this."""
        return make_engine(self.recipe.engine).identity

    def pairs(self, cut: Cut, n: int) -> Simulated:
        """Return what the language model says of n pairs, or of as many as the budget allows.

        Raises:
            LlmrecError: no pair is answered alike in both orders; the answers are kept then.
        """
        name = f"LLM pairs, {cut.name} cut"
        told = self._told.get(name)
        if told is not None and (told.exhausted or len(told.pairs) >= n):
            return told.first(n)
        made = self._pairs_recipe(cut, "pairs", n, self._left(name, 0.5 if cut.name == VALIDATION else 1.0))
        with self._recorded(name, made.out):
            if not _usable(made.out, made.budget, n):
                with self.stage(name) as report:
                    run = pairs_batch(made, progress=report, dry_run=self.dry_run)
                if self.dry_run:
                    self._foresee(name, run)
                    return run.simulated
        self._told[name] = _read_pairs(made.out, cut)
        return self._told[name].first(n)

    def truth(self, cut: Cut) -> Simulated:
        """Return what the language model says of pairs of which the test says what is true.

        Raises:
            DataError: there is no such pair.
            LlmrecError: no pair is answered alike in both orders; the answers are kept then.
        """
        name, seed = "LLM pairs of known truth", self.recipe.seed
        if name in self._told:
            return self._told[name]
        made = self._pairs_recipe(cut, "truth", self.recipe.truth, self._left(name))
        with self._recorded(name, made.out):
            if not _usable(made.out, made.budget, 1):
                users = len(pairs_with_truth(cut.world, cut.split.test, per_user=1, seed=seed))
                each = -(-self.recipe.truth // users)
                pairs = pairs_with_truth(cut.world, cut.split.test, per_user=each, seed=seed)
                drawn = np.sort(np.random.default_rng(seed).permutation(len(pairs))[: self.recipe.truth])
                with self.stage(name) as report:
                    run = ask_pairs(made, cut.world, pairs.select(drawn), progress=report, dry_run=self.dry_run)
                if self.dry_run:
                    self._foresee(name, run)
                    return run.simulated
        self._told[name] = _read_pairs(made.out, cut)
        return self._told[name]

    def interactions(self, cut: Cut, config: FunnelConfig) -> SimulatedInteractions:
        """Return the interactions that the language model brings.

        Raises:
            LlmrecError: none is kept; the answers are.
        """
        recipe, name = self.recipe, f"LLM interactions, {cut.name} cut"
        near = NearConfig(text=recipe.text, history=recipe.text_history)
        about = [self.identity, cut.digest, config.model_dump(mode="json"), near.model_dump(mode="json")]
        made = FunnelRecipe(
            **self._engine(),
            dataset=cut.folder,
            out=self._file(cut, "interactions", about),
            **{key: getattr(config, key) for key in FunnelConfig.model_fields},
            near=near,
            budget=self._left(name),
        )
        with self._recorded(name, made.out):
            if not _usable(made.out, made.budget, 1):
                with self.stage(name) as report:
                    run = funnel_batch(made, progress=report, dry_run=self.dry_run)
                if self.dry_run:
                    self._foresee(name, run)
                    return run.interactions
        return SimulatedInteractions.load(made.out)

    def content(self, cut: Cut, pairs: Pairs, what: str = "pairs") -> Simulated:
        """Return which item of each pair is nearer to the user's history, by texts."""
        recipe = self.recipe
        near = NearConfig(text=recipe.text, history=recipe.text_history)
        asked = hashlib.sha256(b"".join(array.tobytes() for array in (pairs.users, pairs.first, pairs.second)))
        out = self._file(cut, f"content-{what}", [cut.digest, asked.hexdigest(), near.model_dump(mode="json")])
        if not answers_file(out).exists():
            with self.stage(f"content {what}, {cut.name} cut") as report:
                model = self._texts(cut, near, report)
            told = simulate_pairs(ContentTaste(cut.world, model, history=recipe.text_history), pairs)
            with atomic_file(answers_file(out)) as temporary:
                told.to_frame(cut.world.train).write_parquet(temporary)
        return Simulated.from_frame(read_parquet(answers_file(out)), cut.world.train)

    def content_interactions(self, cut: Cut, config: FunnelConfig) -> SimulatedInteractions:
        """Return as many interactions of each item as the language model's: of the users nearest to it, by texts."""
        recipe = self.recipe
        near = NearConfig(text=recipe.text, history=recipe.text_history)
        about = [cut.digest, config.model_dump(mode="json"), near.model_dump(mode="json")]
        out = self._file(cut, "content-interactions", about)
        if not out.exists():
            with self.stage(f"content interactions, {cut.name} cut") as report:
                model = self._texts(cut, near, report)
            nearest = nearest_users(cut.world, model, config.neighbours, history=near.history)
            taste = ContentTaste(cut.world, model, history=near.history)
            simulate_interactions(taste, cut.world, nearest).interactions(config.keep).save(out)
        return SimulatedInteractions.load(out)

    def random(self, pairs: Pairs) -> Simulated:
        """Return a coin's answers."""
        return simulate_pairs(RandomTaste(self.recipe.seed), pairs)

    def _pairs_recipe(self, cut: Cut, what: str, n: int, budget: Budget) -> PairsRecipe:
        recipe = self.recipe
        near = NearConfig(text=recipe.text, history=recipe.text_history)
        asked = {key: getattr(recipe, key) for key in ("ask", "users", "pairs_per_user", "neighbours", "seed")}
        about = PairsRecipe(dataset=cut.folder, out=Path(), near=near, **asked).model_dump(mode="json")
        size = [n] if what == "truth" else []
        return PairsRecipe(
            **self._engine(),
            **asked,
            dataset=cut.folder,
            out=self._file(cut, what, [self.identity, cut.digest, about, *size]),
            near=near,
            pairs=max(n, 1),
            budget=budget,
        )

    def _texts(self, cut: Cut, near: NearConfig, report: Report | None) -> VectorModel:
        """Return the texts' vectors behind a cut, embedded once."""
        if cut.name not in self._near:
            self._near[cut.name] = near_model(cut.world, near, Watch(report=report))
        return self._near[cut.name]

    def _engine(self) -> dict[str, Any]:
        names = ("engine", "cache", "commit_every", "input_price", "output_price", "block")
        return {name: getattr(self.recipe, name) for name in names}

    def _file(self, cut: Cut, what: str, about: Sequence[object]) -> Path:
        key = hashlib.blake2b(json.dumps(about, sort_keys=True).encode(), digest_size=6).hexdigest()
        return self.recipe.out / "simulated" / f"{cut.name}-{what}-{key}.parquet"

    def _left(self, name: str, part: float = 1.0) -> Budget:
        """Return a part of what the simulations before this one have left of the budget."""
        given, spent = self.recipe.budget, [each for of, each in self.spent.items() if of != name]
        calls = None if given.calls is None else max(0, given.calls - sum(each.calls for each in spent))
        money = None if given.money is None else max(0.0, given.money - sum(each.money for each in spent))
        return Budget(calls=None if calls is None else int(calls * part), money=None if money is None else money * part)

    def _foresee(self, name: str, run: PairsRun | FunnelRun) -> None:
        usage = run.usage
        self.foreseen[name] = usage
        tokens = usage.prompt_tokens + usage.output_tokens
        self.spent[name] = Spent(name, {}, exhausted=False, calls=usage.prompts, tokens=tokens, money=run.money)

    @contextmanager
    def _recorded(self, name: str, out: Path) -> Iterator[None]:
        """Note what a simulation spent, also where nothing can be used of what was answered."""
        try:
            yield
        finally:
            path = out.with_suffix(".run.json")
            if path.exists() and not self.dry_run:
                self.spent[name] = _spent(name, read_json(path))


def _usable(out: Path, budget: Budget, n: int) -> bool:
    """Return whether what was kept answers n questions, or all that there are, or all that the same budget allows."""
    path = out.with_suffix(".run.json")
    if not (path.exists() and out.exists()):
        return False
    record = read_json(path)
    counts = record["counts"]
    if counts["failed"]:
        return False
    if record["exhausted"]:
        return bool(counts.get("pairs", 0) >= n or record["recipe"]["budget"] == budget.model_dump(mode="json"))
    return bool(record["recipe"].get("pairs", n) >= n)


def _read_pairs(out: Path, cut: Cut) -> Simulated:
    exhausted = read_json(out.with_suffix(".run.json"))["exhausted"]
    return Simulated.from_frame(read_parquet(answers_file(out)), cut.world.train, exhausted=exhausted)


def _spent(name: str, record: dict[str, Any]) -> Spent:
    admitted = record["admitted"]
    return Spent(
        name,
        record["counts"],
        record["exhausted"],
        calls=admitted["prompts"],
        tokens=admitted["prompt_tokens"] + admitted["output_tokens"],
        money=record["money"],
    )
