"""Weight and number of pairs, chosen on the validation cut: the best for cold items that leaves warm ones alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import polars as pl

from llmrec.coldstart.cuts import Cut
from llmrec.coldstart.lessons import Pairwise
from llmrec.coldstart.recipe import EvaluateRecipe
from llmrec.coldstart.results import Results
from llmrec.coldstart.simulate import Simulated
from llmrec.config import Part
from llmrec.data import Candidates
from llmrec.eval.evaluate import ALL, Evaluation, evaluate, item_groups

COLD, WARM = "cold items", "warm items"


@dataclass(frozen=True, slots=True)
class Trial:
    """A model with one weight and one number of pairs, on the validation cut.

    Attributes:
        pairs: questions asked; 0 is the plain model.
        weight: lambda.
        cold: Recall@k of cold items, with its 95 % interval ``cold_low`` to ``cold_high``.
        warm: NDCG@k of warm items, with its interval.
        overall: NDCG@k of all.
        epochs: after which it was best; 0 where the model does not say.
    """

    pairs: int
    weight: float
    cold: float
    cold_low: float
    cold_high: float
    warm: float
    warm_low: float
    warm_high: float
    overall: float
    epochs: int

    def __str__(self) -> str:
        return f"{self.pairs:,} pairs, weight {self.weight:g}"


@dataclass(frozen=True)
class Choice:
    """What was chosen for a model and a source of pairs.

    Attributes:
        chosen: the trial that is repeated before the test.
        plain: the model without pairs.
        weights: trials with all pairs, over weights.
        pairs: trials with the chosen weight, over numbers of pairs.
    """

    chosen: Trial
    plain: Trial
    weights: tuple[Trial, ...]
    pairs: tuple[Trial, ...]

    def to_frame(self, **about: str) -> pl.DataFrame:
        """Return a row for each trial, the chosen one marked."""
        trials = dict.fromkeys([self.plain, *self.weights, *self.pairs])
        rows = [{**about, **asdict(each), "chosen": each == self.chosen} for each in trials]
        return pl.DataFrame(rows)


def choose(recipe: EvaluateRecipe, part: Part, name: str, told: Simulated, cut: Cut, results: Results) -> Choice:
    """Choose for a model: the weight with all pairs there are, then the number of pairs with that weight.

    Args:
        recipe: what there is to choose from.
        part: the model.
        name: of the method, to be told.
        told: answers to pairs behind the validation cut.
        cut: the validation cut.
        results: fits and keeps.

    Raises:
        LlmrecError: the model cannot be fitted on these pairs.
    """
    plain = _trial(0, 0.0, *_measured(recipe, part, part.name, None, cut, results))

    def trial(pairs: int, weight: float) -> Trial:
        lesson = Pairwise(told.first(pairs).preferences, weight)
        said = f"{name}, {pairs:,} pairs, weight {weight:g}"
        return _trial(pairs, weight, *_measured(recipe, part, said, lesson, cut, results))

    most = len(told.pairs)
    some = sorted({min(n, most) for n in recipe.pairs})
    weights = [trial(most, weight) for weight in sorted(set(recipe.weights))]
    best = best_trial(weights, plain, recipe.warm_loss)
    pairs = [best if n == most else trial(n, best.weight) for n in some]
    chosen = best_trial(pairs, plain, recipe.warm_loss)
    return Choice(chosen, plain, tuple(weights), tuple(pairs))


def best_trial(trials: Sequence[Trial], plain: Trial, warm_loss: float) -> Trial:
    """Return the trial that finds most cold items among those that leave warm ones alone; else the least harmful.

    Args:
        trials: one at least; of equal ones the first is taken.
        plain: the model without pairs.
        warm_loss: share of its NDCG@k of warm items that may be lost.
    """
    harmless = [each for each in trials if each.warm >= (1 - warm_loss) * plain.warm]
    if harmless:
        return max(harmless, key=lambda each: (each.cold, each.overall))
    return max(trials, key=lambda each: each.warm)


def measure(
    methods: dict[str, Sequence[Candidates]], cut: Cut, k: int, *, baseline: str | None = None, seed: int = 0
) -> Evaluation:
    """Return Recall@k and NDCG@k of methods behind a cut: of all items, warm ones and cold ones."""
    train, targets = cut.split.train, cut.split.test
    return evaluate(
        methods,
        targets,
        n_items=len(train.items),
        metrics=(f"recall@{k}", f"ndcg@{k}"),
        baseline=baseline,
        groups=item_groups(train, targets),
        seed=seed,
    )


def _measured(
    recipe: EvaluateRecipe, part: Part, name: str, lesson: Pairwise | None, cut: Cut, results: Results
) -> tuple[Evaluation, int]:
    found = results.get(name, cut, part, lesson, seed=recipe.seeds[0])
    return measure({"it": [found.candidates]}, cut, recipe.k), found.epochs


def _trial(pairs: int, weight: float, found: Evaluation, epochs: int) -> Trial:
    recall, ndcg = found.metrics
    cell = {(row["group"], row["metric"]): row for row in found.table.iter_rows(named=True)}
    cold, warm = cell[COLD, recall], cell[WARM, ndcg]
    return Trial(
        pairs=pairs,
        weight=weight,
        cold=cold["mean"],
        cold_low=cold["low"],
        cold_high=cold["high"],
        warm=warm["mean"] or 0.0,
        warm_low=warm["low"] or 0.0,
        warm_high=warm["high"] or 0.0,
        overall=cell[ALL, ndcg]["mean"],
        epochs=epochs,
    )
