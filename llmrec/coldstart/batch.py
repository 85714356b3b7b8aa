"""Simulation as a batch: a split in, simulated preferences or interactions out, resumable."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import polars as pl

from llmrec.coldstart.asking import ItemTaste, Taste, make_taste
from llmrec.coldstart.budget import BudgetedEngine
from llmrec.coldstart.funnel import Funnelled, SimulatedInteractions, simulate_interactions
from llmrec.coldstart.items import ColdStart
from llmrec.coldstart.near import near_model, nearest_users
from llmrec.coldstart.pairs import Pairs, draw_pairs
from llmrec.coldstart.recipe import FunnelRecipe, PairsRecipe
from llmrec.coldstart.simulate import Progress, Simulated, simulate_pairs
from llmrec.config import write_run
from llmrec.data import Split
from llmrec.data.files import atomic_file, require_writable, resumable
from llmrec.data.preferences import Preferences
from llmrec.errors import ConfigError, DataError, EngineError, LlmrecError
from llmrec.llm.cache import CachedEngine
from llmrec.llm.make import Report, open_engine, tell_pace
from llmrec.protocols import Usage, Watch

_ASK_AGAIN = "look at first_error in the run's record; the same call asks them again"


@dataclass(frozen=True, eq=False)
class PairsRun:
    """What a simulation of preferences came to.

    Attributes:
        simulated: what was said of each pair.
        preferences: what is kept of it.
        usage: prompts, tokens, cache hits, seconds.
        money: what the prompts admitted cost at the prices of the recipe, counted as a dry run counts.
        seconds: wall time of asking.
        first_error: what went wrong with the first prompt that failed.
    """

    simulated: Simulated
    preferences: Preferences
    usage: Usage
    money: float
    seconds: float
    first_error: str = ""


@dataclass(frozen=True, eq=False)
class FunnelRun:
    """What a simulation of interactions came to.

    Attributes:
        funnelled: what was said of each user and item.
        interactions: what is kept of it.
        usage: prompts, tokens, cache hits, seconds.
        money: what the prompts admitted cost at the prices of the recipe, counted as a dry run counts.
        seconds: wall time.
        first_error: what went wrong with the first prompt that failed.
    """

    funnelled: Funnelled
    interactions: SimulatedInteractions
    usage: Usage
    money: float
    seconds: float
    first_error: str = ""


@dataclass(frozen=True, eq=False)
class _Session:
    """An engine that is asked in one way, within a budget."""

    engine: CachedEngine
    budgeted: BudgetedEngine
    taste: Taste

    def money(self, recipe: PairsRecipe | FunnelRecipe) -> float:
        return self.budgeted.spent.money(recipe.input_price, recipe.output_price)

    def watched(self, report: Report | None, calls: int) -> Progress | None:
        """Return what blocks are told to, so that prompts are reported as part of all."""
        if report is None:
            return None

        def begin(done: int, total: int) -> None:
            self.engine.progress = tell_pace(
                self.engine,
                lambda some, _, text: report(min(calls * done + some, calls * total), calls * total, text),
            )

        return begin


def pairs_batch(recipe: PairsRecipe, *, progress: Report | None = None, dry_run: bool = False) -> PairsRun:
    """Simulate preferences between cold items; killed, the same call goes on where it stopped, from the cache.

    ``out`` gets the preferences, ``….answers.parquet`` beside it what was said of each pair, ``….run.json`` the record.

    Args:
        recipe: what to simulate and how.
        progress: told of texts embedded and prompts done.
        dry_run: write nothing and run no language model; the usage says what a real run would spend.

    Raises:
        LlmrecError: an input cannot be used, and nothing is written then; no pair was answered alike in both orders,
            and the answers are written; or the disk is full, and what is done stays.
    """
    world, near = _open(recipe, dry_run=dry_run), None
    if recipe.users == "content":
        model = near_model(world, recipe.near, Watch(report=progress))
        near = nearest_users(world, model, recipe.neighbours, history=recipe.near.history)
    pairs = draw_pairs(
        world, recipe.pairs, rule=recipe.users, per_user=recipe.pairs_per_user, near=near, seed=recipe.seed
    )
    return ask_pairs(recipe, world, pairs, progress=progress, dry_run=dry_run)


def ask_pairs(
    recipe: PairsRecipe, world: ColdStart, pairs: Pairs, *, progress: Report | None = None, dry_run: bool = False
) -> PairsRun:
    """Ask about these pairs as ``pairs_batch`` does about those that it draws; see there for what is written.

    Args:
        recipe: how to ask, what it may cost, and where to write.
        world: users, items and texts of the pairs.
        pairs: questions.
        progress: told of prompts done.
        dry_run: write nothing and run no language model.

    Raises:
        LlmrecError: as ``pairs_batch``.
    """
    start = time.perf_counter()
    with _session(recipe, world, together=2, dry_run=dry_run) as asked:
        simulated = simulate_pairs(
            asked.taste, pairs, engine=asked.budgeted, block=recipe.block, progress=asked.watched(progress, 2)
        )
    engine, seconds = asked.engine, time.perf_counter() - start
    kept = simulated.preferences
    run = PairsRun(simulated, kept, engine.usage, asked.money(recipe), seconds, engine.first_error)
    if dry_run:
        return run
    with resumable(recipe.out):
        _write(answers_file(recipe.out), simulated.to_frame(world.train))
        if len(kept):
            kept.save(recipe.out)
        votes = simulated.votes
        shares = {"first_place": votes.first_place(), "swayed": votes.swayed()}
        _record(recipe, run, asked, world, counts=dict(simulated.counts), exhausted=simulated.exhausted, **shares)
    if not len(kept):
        raise _none_consistent(recipe, run)
    return run


def funnel_batch(recipe: FunnelRecipe, *, progress: Report | None = None, dry_run: bool = False) -> FunnelRun:
    """Simulate interactions with cold items; killed, the same call goes on where it stopped, from the cache.

    ``out`` gets the interactions, ``….answers.parquet`` beside it what was said of each user and item,
    ``….run.json`` the record.

    Args:
        recipe: what to simulate and how.
        progress: told of texts embedded and prompts done.
        dry_run: write nothing and run no language model; the usage says what a real run would spend.

    Raises:
        LlmrecError: an input cannot be used, and nothing is written then; no interaction is kept, and the answers are
            written; or the disk is full, and what is done stays.
    """
    start = time.perf_counter()
    world = _open(recipe, dry_run=dry_run)
    model = near_model(world, recipe.near, Watch(report=progress))
    near = nearest_users(world, model, recipe.neighbours, history=recipe.near.history)
    with _session(recipe, world, dry_run=dry_run) as asked:
        if not isinstance(asked.taste, ItemTaste):
            raise ConfigError(
                f"ask = {recipe.ask.name!r}, which compares two items",
                expected="a way that asks about one: likelihood or yes-no",
                cure="choose one of those",
            )
        funnelled = simulate_interactions(
            asked.taste, world, near, engine=asked.budgeted, block=recipe.block, progress=asked.watched(progress, 1)
        )
    engine, seconds = asked.engine, time.perf_counter() - start
    kept = funnelled.interactions(recipe.keep, recipe.threshold)
    run = FunnelRun(funnelled, kept, engine.usage, asked.money(recipe), seconds, engine.first_error)
    if dry_run:
        return run
    with resumable(recipe.out):
        _write(answers_file(recipe.out), funnelled.to_frame(world.train))
        if len(kept):
            kept.save(recipe.out)
        counts = {**funnelled.counts, "kept": len(kept)}
        _record(recipe, run, asked, world, counts=counts, exhausted=funnelled.exhausted, share=funnelled.share)
    if not len(kept):
        raise _none_kept(recipe, run)
    return run


def _open(recipe: PairsRecipe | FunnelRecipe, *, dry_run: bool) -> ColdStart:
    if not dry_run:
        require_writable(recipe.out)
    return ColdStart.of(Split.load(recipe.dataset / "split"))


@contextmanager
def _session(
    recipe: PairsRecipe | FunnelRecipe, world: ColdStart, *, together: int = 1, dry_run: bool
) -> Iterator[_Session]:
    with open_engine(recipe, dry_run=dry_run) as engine:
        budgeted = BudgetedEngine(
            engine,
            recipe.budget,
            input_price=recipe.input_price,
            output_price=recipe.output_price,
            together=together,
        )
        yield _Session(engine, budgeted, make_taste(recipe.ask, budgeted, world))


def answers_file(out: Path) -> Path:
    """Return where all answers lie beside what is kept of them."""
    return out.with_suffix(".answers.parquet")


def _write(path: Path, frame: pl.DataFrame) -> None:
    with atomic_file(path) as temporary:
        frame.write_parquet(temporary)


def _record(
    recipe: PairsRecipe | FunnelRecipe, run: PairsRun | FunnelRun, asked: _Session, world: ColdStart, **facts: object
) -> None:
    write_run(
        recipe.out.with_suffix(".run.json"),
        recipe,
        engine=asked.engine.identity,
        cold_items=len(world.items),
        untitled_cold_items=world.untitled,
        users=len(world.users),
        **facts,
        usage=asdict(run.usage),
        admitted=asdict(asked.budgeted.spent),
        money=run.money,
        first_error=run.first_error,
        seconds=run.seconds,
    )


def _none_consistent(recipe: PairsRecipe, run: PairsRun) -> LlmrecError:
    counts = run.simulated.counts
    if not counts["pairs"]:
        return _too_small(recipe)
    if counts["failed"] == counts["pairs"]:
        return _all_failed(counts["failed"], run.first_error)
    return DataError(
        f"none of {counts['pairs']:,} pairs is answered alike in both orders ({counts['inconsistent']:,} inconsistent, "
        f"{counts['failed']:,} failed; the answers are in {str(answers_file(recipe.out))!r})",
        expected="answers that depend on the items, not on their places",
        cure="ask otherwise (ask=likelihood has no places), or take another template, model or adapter",
    )


def _none_kept(recipe: FunnelRecipe, run: FunnelRun) -> LlmrecError:
    counts, odds = run.funnelled.counts, run.funnelled.odds
    if not counts["asked"]:
        return _too_small(recipe)
    if counts["failed"] == counts["asked"]:
        return _all_failed(counts["failed"], run.first_error)
    return DataError(
        f"no interaction above threshold = {recipe.threshold:g} (log-odds from {np.nanmin(odds):.3g} to "
        f"{np.nanmax(odds):.3g}; the answers are in {str(answers_file(recipe.out))!r})",
        expected="some",
        cure="lower it, or use null and keep the surest of each item",
    )


def _too_small(recipe: PairsRecipe | FunnelRecipe) -> ConfigError:
    bounds = {name: value for name, value in recipe.budget.model_dump().items() if value is not None}
    return ConfigError(
        f"a budget of {', '.join(f'{value:g} {name}' for name, value in bounds.items())}",
        expected="enough for the first question",
        cure="raise it",
    )


def _all_failed(failed: int, first_error: str) -> EngineError:
    return EngineError(f"all {failed:,} questions failed ({first_error})", expected="answers", cure=_ASK_AGAIN)
