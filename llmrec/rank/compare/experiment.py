"""An experiment from its recipe to its folder: leaderboard, paired tests, biases, slices, report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from llmrec.config import write_run
from llmrec.data import Candidates
from llmrec.data.files import atomic_file, require_writable, write_json
from llmrec.errors import ConfigError, UnknownNameError, did_you_mean
from llmrec.eval.bias import PopularityBias, PositionBias, popularity_bias, position_bias
from llmrec.eval.evaluate import Evaluation, evaluate, history_groups, standard_groups
from llmrec.eval.metrics import LISTS, WHOLE, Metric
from llmrec.protocols import Usage
from llmrec.rank.compare.differing import Difference, find_differing
from llmrec.rank.compare.leaderboard import make_leaderboard
from llmrec.rank.compare.recipe import INCOMING, CompareRecipe, Variant, list_variants
from llmrec.rank.compare.run import Asked, Engines, Outcome, Report, load_asked, run_variants
from llmrec.rank.compare.trial import try_variants


@dataclass(frozen=True, eq=False)
class Comparison:
    """What an experiment found.

    Attributes:
        recipe: what was asked for.
        asked: the queries and their candidates.
        outcomes: what came of each variant, in the recipe's order.
        evaluation: metrics with intervals and paired tests, over all queries and in slices; the methods are the
            variants that ran and the incoming order.
        position: position bias of each variant that ran, within the candidates that it ranked.
        popularity: popularity bias of each variant that ran.
        k: how many items count as the first in ``popularity``.
        leaderboard: a row for each variant and the incoming order, the best first, failed ones last.
        differing: users whom two variants rank most differently.
    """

    recipe: CompareRecipe
    asked: Asked
    outcomes: tuple[Outcome, ...]
    evaluation: Evaluation
    position: Mapping[str, PositionBias]
    popularity: Mapping[str, PopularityBias]
    k: int
    leaderboard: pl.DataFrame
    differing: tuple[Difference, ...]

    @property
    def spent(self) -> Usage:
        """What this run computed, all variants together."""
        return sum((each.spent for each in self.outcomes), Usage())

    def save(self, folder: Path) -> Path:
        """Write leaderboard, metrics, position bias and the run's record as Parquet and JSON into ``folder``."""
        self.evaluation.save(folder)
        places = [found.by_place.with_columns(variant=pl.lit(name)) for name, found in self.position.items()]
        frames = {"leaderboard": self.leaderboard, "position_bias": pl.concat(places)}
        for name, frame in frames.items():
            with atomic_file(folder / f"{name}.parquet") as temporary:
                frame.write_parquet(temporary)
        write_json(
            folder / "leaderboard.json",
            {
                "baseline": self.evaluation.baseline,
                "queries": len(self.asked.targets),
                "rows": self.leaderboard.to_dicts(),
            },
        )
        usage = self.spent
        write_run(folder / "run.json", self.recipe, usage={name: getattr(usage, name) for name in usage.__slots__})
        return folder


def compare(recipe: CompareRecipe, report: Report | None = None) -> Comparison:
    """Run an experiment; killed, the same call goes on where it stopped, since every answer is cached.

    A variant that fails is recorded with its error.

    Args:
        recipe: what is compared, and on what.
        report: called with prompts done, prompts in all and the variant's name.

    Raises:
        LlmrecError: an input cannot be used, a template serves no strategy, or no variant can be run.
    """
    require_writable(recipe.out / "report.html")
    with closing(Engines(recipe, report)) as engines:
        asked, outcomes = _ask(recipe, engines)
        differing = find_differing(recipe, asked, outcomes, engines)
    return _measure(recipe, asked, outcomes, differing)


def foresee(recipe: CompareRecipe, report: Report | None = None) -> list[Outcome]:
    """Return what each variant would take, without running a model or writing a file.

    Strategies that sort ask what answers lead to; without answers that is a guess of the right size.

    Args:
        recipe: what is compared, and on what.
        report: called with prompts done, prompts in all and the variant's name.

    Raises:
        LlmrecError: as ``compare``.
    """
    with closing(Engines(recipe, report, dry_run=True)) as engines:
        return _ask(recipe, engines)[1]


def _ask(recipe: CompareRecipe, engines: Engines) -> tuple[Asked, list[Outcome]]:
    """Return the queries, and what came of each variant; a variant that fails is recorded with its error."""
    variants = list_variants(recipe)
    _check(recipe, variants)
    asked = load_asked(recipe)
    unfit = try_variants(variants, asked.train, asked.targets, asked.candidates.top(recipe.top))
    ran = iter(run_variants(recipe, [each for each in variants if each.name not in unfit], asked, engines))
    return asked, [
        Outcome(variant, error=str(unfit[variant.name])) if variant.name in unfit else next(ran) for variant in variants
    ]


def _check(recipe: CompareRecipe, variants: Sequence[Variant]) -> None:
    """Raise before anything is spent."""
    names = [variant.name for variant in variants] + [INCOMING]
    if recipe.baseline is not None and recipe.baseline not in names:
        raise UnknownNameError(
            f"unknown baseline {recipe.baseline!r}",
            expected="the name of a variant",
            cure=did_you_mean(recipe.baseline, names),
        )
    for name in recipe.metrics:
        kind = Metric.parse(name).kind
        if kind in LISTS:
            raise ConfigError(
                f"metric {name!r}", expected="one of what is relevant, or coverage", cure="ask llmrec evaluate for it"
            )
        if kind in WHOLE and name == recipe.metrics[0]:
            raise ConfigError(
                f"first metric {name!r}", expected="one with a value for each user", cure="put another one first"
            )


def _measure(
    recipe: CompareRecipe, asked: Asked, outcomes: Sequence[Outcome], differing: Sequence[Difference]
) -> Comparison:
    ranked = {each.variant.name: each.ranked for each in outcomes if each.ranked is not None}
    methods: dict[str, Candidates] = {**ranked, INCOMING: asked.candidates}
    baseline = recipe.baseline if recipe.baseline in methods else next(iter(ranked))
    evaluation = evaluate(
        methods,
        asked.targets,
        n_items=len(asked.train.items),
        metrics=recipe.metrics,
        baseline=baseline,
        groups=standard_groups(asked.train, asked.targets) | history_groups(asked.targets),
        seed=recipe.seed,
    )
    head = asked.candidates.top(recipe.top)
    k = max(1, min(10, head.items.shape[1] // 2))  # the first half at most: all of them are no choice
    position = {name: position_bias(head, found.top(recipe.top), asked.targets) for name, found in ranked.items()}
    popularity = {
        name: popularity_bias(asked.train, head, found.top(recipe.top), asked.targets, k=k)
        for name, found in ranked.items()
    }
    board = make_leaderboard(recipe, outcomes, evaluation, position, popularity)
    return Comparison(recipe, asked, tuple(outcomes), evaluation, position, popularity, k, board, tuple(differing))
