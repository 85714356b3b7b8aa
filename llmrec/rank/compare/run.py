"""Run all variants of an experiment over the same users, through the cache, and measure what each is worth."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from llmrec.config import Part
from llmrec.data import Candidates, Dataset, Split, Targets
from llmrec.data.files import cache_folder, read_json, read_parquet, write_json
from llmrec.errors import DataError, LlmrecError
from llmrec.llm.cache import CachedEngine
from llmrec.llm.make import make_engine
from llmrec.protocols import Usage
from llmrec.rank.batch import rank_head
from llmrec.rank.compare.recipe import CompareRecipe, Price, Variant, resolved
from llmrec.rank.compare.recording import Exchange, RecordingEngine
from llmrec.rank.make import make_ranker

Report = Callable[[int, int, str], None]
"""Called with prompts done, all prompts of this call, and the variant's name."""
TIMINGS = "timings.json"
TIMED = 0.5
"""Share of the answers that must have been computed for a time to be told: the others may be of another kind."""


@dataclass(frozen=True, eq=False)
class Asked:
    """The same question for all variants.

    Attributes:
        train: titles, training events, users who give examples.
        targets: q queries with their relevant items.
        candidates: (q, n) as they came.
    """

    train: Dataset
    targets: Targets
    candidates: Candidates


@dataclass(frozen=True, eq=False)
class Outcome:
    """What came of one variant.

    Attributes:
        variant: what was run.
        ranked: (q, n) candidates in their new order; None where the variant failed.
        identity: of the engine, or empty.
        asked: prompts, tokens and answers (as ``cache_misses``) that it takes without cache and shared prefixes.
        spent: what this run computed of it, and what the cache held.
        seconds: wall time that it takes to compute all its answers, from the time per answer of those that runs into
            this folder computed; None where the cache had most of them from elsewhere.
        counts: how prompts had to be changed and how answers could be read.
        error: why it failed, or empty.
    """

    variant: Variant
    ranked: Candidates | None = None
    identity: str = ""
    asked: Usage = field(default_factory=Usage)
    spent: Usage = field(default_factory=Usage)
    seconds: float | None = None
    counts: dict[str, int] | None = None
    error: str = ""

    def money(self, prices: dict[str, Price]) -> float:
        """Return what all its tokens cost, computed or cached."""
        price = prices.get(self.variant.engine.name, Price())
        return self.asked.money(price.input, price.output)


def load_asked(recipe: CompareRecipe) -> Asked:
    """Return the drawn queries of a part with their candidates.

    Raises:
        DataError: the part has no query, or the candidates are those of another data set or part.
    """
    split = Split.load(recipe.dataset / "split")
    targets = split.part(recipe.part)
    if not len(targets):
        raise DataError(
            f"part {recipe.part!r} of {str(recipe.dataset)!r} has no users",
            expected="at least one to ask for",
            cure="choose the other part, or prepare the data set with another split",
        )
    frame = read_parquet(recipe.candidates)
    candidates = Candidates.from_frame(frame, split.train, targets.queries, where=str(recipe.candidates))
    n = min(recipe.users, len(targets))
    rows = np.sort(np.random.default_rng(recipe.seed).choice(len(targets), n, replace=False))
    return Asked(split.train, targets.select(rows), candidates.select(rows))


class Engines:
    """Opens cached engines, one model at a time: two large ones would not fit side by side.

    Args:
        recipe: whose cache answers.
        report: told how far a call is.
        dry_run: run no model: what the cache lacks is counted as if it were computed.
    """

    def __init__(self, recipe: CompareRecipe, report: Report | None = None, *, dry_run: bool = False) -> None:
        self.recipe, self.report, self.dry_run = recipe, report, dry_run
        self._part: Part | None = None
        self._engine: CachedEngine | None = None

    def open(self, part: Part, text: str = "") -> CachedEngine:
        """Return the engine of a part, the one in use if it is the same; ``text`` stands beside its progress.

        Raises:
            LlmrecError: it cannot be made.
        """
        if self._engine is None or part != self._part:
            self.close()
            path = self.recipe.cache or cache_folder() / "answers.sqlite"
            commit_every = self.recipe.commit_every
            self._engine = CachedEngine(make_engine(part), path, commit_every=commit_every, dry_run=self.dry_run)
            self._part = part
        report = self.report
        self._engine.progress = None if report is None else lambda done, total: report(done, total, text)
        return self._engine

    def close(self) -> None:
        """Close what is open."""
        if self._engine is not None:
            self._engine.close()
        self._engine = None


def run_variants(recipe: CompareRecipe, variants: Sequence[Variant], asked: Asked, engines: Engines) -> list[Outcome]:
    """Return what comes of each variant, in order; those of one engine run one after the other.

    Raises:
        LlmrecError: the first error, where no variant can be run at all.
    """
    first = {variant.engine.model_dump_json(): place for place, variant in reversed(list(enumerate(variants)))}
    found: dict[str, Outcome] = {}
    errors: list[LlmrecError] = []
    for variant in sorted(variants, key=lambda each: first[each.engine.model_dump_json()]):
        try:
            found[variant.name] = run_variant(recipe, variant, asked, engines)
        except LlmrecError as error:
            errors.append(error)
            found[variant.name] = Outcome(variant, error=str(error))
    if len(errors) == len(variants):
        raise errors[0]
    return [found[variant.name] for variant in variants]


def run_variant(recipe: CompareRecipe, variant: Variant, asked: Asked, engines: Engines) -> Outcome:
    """Rank all queries by one variant.

    Raises:
        LlmrecError: the engine cannot be made, or cannot serve the strategy.
    """
    engine = engines.open(variant.engine, variant.name)
    before, recorder, begin = engine.usage, RecordingEngine(engine), time.perf_counter()
    ranker = make_ranker(variant.strategy, recorder, asked.train.titles(), asked.train)
    ranked = rank_head(ranker, asked.targets.queries, asked.candidates, recipe.top)
    seconds = time.perf_counter() - begin - recorder.asked.seconds
    spent = engine.usage - before
    key = hashlib.blake2b(f"{engine.identity}\n{resolved(variant)}".encode(), digest_size=8).hexdigest()
    answers = recorder.asked.cache_misses
    timed = (0.0, 0) if engines.dry_run else _timed(recipe.out / TIMINGS, key, seconds, spent.cache_misses)
    return Outcome(
        variant=variant,
        ranked=ranked,
        identity=engine.identity,
        asked=recorder.asked,
        spent=spent,
        seconds=timed[0] * answers / timed[1] if timed[1] >= max(1, answers * TIMED) else None,
        counts=dict(ranker.counts),
    )


def replay(
    recipe: CompareRecipe, variant: Variant, asked: Asked, rows: Sequence[int], engines: Engines
) -> list[list[Exchange]]:
    """Return what was asked and answered for each of a few queries, from the cache.

    A query alone is asked as in a batch, so these are the prompts of the run.
    """
    recorder = RecordingEngine(engines.open(variant.engine, variant.name), keep=True)
    ranker = make_ranker(variant.strategy, recorder, asked.train.titles(), asked.train)
    found = []
    for row in rows:
        recorder.exchanges = []
        one = slice(row, row + 1)
        ranker.rank(asked.targets.queries.select(one), asked.candidates.select(one).top(recipe.top))
        found.append(recorder.exchanges)
    return found


def _timed(path: Path, key: str, seconds: float, answers: int) -> tuple[float, int]:
    """Add the time of computed answers to a folder's record; return its seconds and answers."""
    timings = read_json(path) if path.exists() else {}
    known = timings.get(key, {"seconds": 0.0, "answers": 0})
    if answers:
        known = {"seconds": known["seconds"] + seconds, "answers": known["answers"] + answers}
        write_json(path, {**timings, key: known})
    return known["seconds"], known["answers"]
