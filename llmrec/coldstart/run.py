"""The stages of an evaluation: simulate, choose on the validation cut, fit before the test; each can be repeated."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from llmrec.coldstart.choose import Choice, choose
from llmrec.coldstart.cuts import Cut, test_cut, validation_cut
from llmrec.coldstart.lessons import Lesson, Pairwise, Taken
from llmrec.coldstart.recipe import EvaluateRecipe
from llmrec.coldstart.results import Results, for_epochs, resolved
from llmrec.coldstart.simulate import Simulated
from llmrec.coldstart.simulations import Simulations, Stage, silent
from llmrec.config import Part
from llmrec.data import Candidates
from llmrec.data.files import require_replaceable, write_json
from llmrec.errors import ConfigError, LlmrecError
from llmrec.eval.evaluate import item_groups

RANDOM, CONTENT, LLM = "random pairs", "content pairs", "LLM pairs"
NEAREST, TAKEN = "content interactions", "LLM interactions"
CONTROL_OF = {LLM: CONTENT, TAKEN: NEAREST}
"""What asks no language model, in place of what does."""
T = TypeVar("T")
Methods = dict[tuple[str, str], Sequence[Candidates]]
"""What methods propose for each seed, by model ("" for a control) and name."""


def label(model: str, source: str) -> str:
    """Return the name of a model's method."""
    return f"{model} + {source}"


@dataclass(eq=False)
class Run:
    """An evaluation under way.

    Attributes:
        recipe: what is asked for, all parameters filled in.
        simulations: asks, and keeps answers.
        test: the data set's cut.
        validation: the cut inside training.
        stage: opened for each stage.
        failed: methods and simulations that failed, and why.
        errors: the same as errors, in order.
    """

    recipe: EvaluateRecipe
    simulations: Simulations
    test: Cut
    validation: Cut
    stage: Stage
    failed: dict[str, str] = field(default_factory=dict)
    errors: list[LlmrecError] = field(default_factory=list)

    def attempt(self, name: str, make: Callable[[], T]) -> T | None:
        """Return what a part of the run comes to; None where it fails, which is noted."""
        try:
            return make()
        except LlmrecError as error:
            self.failed[name] = str(error)
            self.errors.append(error)
            return None

    def results(self, report: Callable[[int, int, str], None] | None, total: int) -> Results:
        """Return what fits recommenders and keeps what they propose, telling how many of ``total`` are done."""
        tell = None if report is None else lambda done, text: report(done, total, text)
        return Results(self.recipe.out / "results", self.recipe.k, tell)

    def counts(self) -> dict[str, int]:
        """Return how many events, users, cold items and queries there are behind each cut."""
        found: dict[str, int] = {}
        for cut in (self.validation, self.test):
            cold = item_groups(cut.split.train, cut.split.test)["cold items"]
            found |= {
                f"{cut.name}: training events": len(cut.split.train.interactions),
                f"{cut.name}: users with a history": len(cut.world.users),
                f"{cut.name}: cold items": len(cut.world.items),
                f"{cut.name}: cold items without a title": cut.world.untitled,
                f"{cut.name}: queries": len(cut.split.test),
                f"{cut.name}: queries without a history, left out": cut.without_history,
                f"{cut.name}: queries with a cold item": int(cold.any(axis=1).sum()),
            }
        return found


def open_run(recipe: EvaluateRecipe, stage: Stage = silent, *, dry_run: bool = False) -> Run:
    """Return a run with both cuts, all checked before anything is spent.

    Raises:
        LlmrecError: an input cannot be used, or the folder is somebody else's.
    """
    names = [part.name for part in (*recipe.models, *recipe.controls)]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ConfigError(
            f"two recommenders called {twice!r}",
            expected="each once among models and controls",
            cure="evaluate the other one by itself",
        )
    parts = {key: tuple(map(resolved, getattr(recipe, key))) for key in ("models", "controls")}
    recipe = recipe.model_copy(update=parts)
    require_replaceable(recipe.out)
    test = test_cut(recipe)
    write_json(recipe.out / "config.json", recipe.model_dump(mode="json"))
    validation = validation_cut(recipe, test.split.train)
    return Run(recipe, Simulations(recipe, stage, dry_run=dry_run), test, validation, stage)


def simulate(run: Run) -> Simulated | None:
    """Ask about pairs of known truth and those of the validation cut; return what is said of the latter."""
    if run.recipe.truth:
        run.attempt("pairs of known truth", lambda: run.simulations.truth(run.test))
    return run.attempt(f"{LLM}, validation cut", lambda: run.simulations.pairs(run.validation, max(run.recipe.pairs)))


def fit_choices(run: Run, told: Simulated | None) -> dict[tuple[str, str], Choice]:
    """Return weight and number of pairs chosen for each model and source of pairs, on the validation cut."""
    found: dict[tuple[str, str], Choice] = {}
    sources = _sources(run, run.validation, told)
    with run.stage("choose on the validation cut") as report:
        results = run.results(report, len(run.recipe.models) * (1 + len(sources) * _trials(run.recipe)))
        for part in run.recipe.models:
            for source, answers in sources.items():
                name = label(part.name, source)
                choice = run.attempt(name, _choosing(run, part, name, answers, results))
                if choice is not None:
                    found[part.name, source] = choice
    return found


def fit_methods(run: Run, choices: Mapping[tuple[str, str], Choice]) -> Methods:
    """Return what each method proposes behind the test's cut."""
    found: Methods = {}
    most = max((choice.chosen.pairs for choice in choices.values()), default=0)
    told = run.attempt(f"{LLM}, test cut", lambda: run.simulations.pairs(run.test, most)) if most else None
    sources, taken = _sources(run, run.test, told), _taken(run)
    with run.stage("fit before the test") as report:
        plans = _plans(run, choices, sources, taken)
        results = run.results(report, sum(len(plan.seeds) for plan in plans))
        for plan in plans:
            made = run.attempt(plan.name, _fitting(run, plan, results))
            if made is not None:
                found[plan.model, plan.name] = made
    return found


@dataclass(frozen=True, eq=False)
class Plan:
    """A method to be fitted before the test.

    Attributes:
        model: which it is of; "" for a control.
        name: of the method.
        part: the recommender.
        lesson: what it learns beside events.
        seeds: one fit each.
    """

    model: str
    name: str
    part: Part
    lesson: Lesson | None
    seeds: tuple[int, ...]


def _plans(
    run: Run,
    choices: Mapping[tuple[str, str], Choice],
    sources: Mapping[str, Simulated],
    taken: Mapping[str, Taken],
) -> list[Plan]:
    recipe, quiet, plans = run.recipe, run.results(None, 0), list[Plan]()
    for part in recipe.models:
        base = run.attempt(part.name, lambda part=part: quiet.get(part.name, run.validation, part))  # type: ignore[misc]
        if base is None:
            continue
        stopped = for_epochs(part, base.epochs)
        plans.append(Plan(part.name, part.name, stopped, None, recipe.seeds))
        for source, told in sources.items():
            if (part.name, source) in choices:
                best = choices[part.name, source].chosen
                lesson = Pairwise(told.first(best.pairs).preferences, best.weight)
                name = label(part.name, source)
                plans.append(Plan(part.name, name, for_epochs(part, best.epochs), lesson, recipe.seeds))
        plans += [Plan(part.name, label(part.name, name), stopped, each, recipe.seeds) for name, each in taken.items()]
    return plans + [Plan("", part.name, part, None, recipe.seeds[:1]) for part in recipe.controls]


def _sources(run: Run, cut: Cut, told: Simulated | None) -> dict[str, Simulated]:
    """Return the language model's answers and those of the controls to the same pairs."""
    if told is None or not len(told.pairs):
        return {}
    content = run.attempt(f"{CONTENT}, {cut.name} cut", lambda: run.simulations.content(cut, told.pairs))
    found = {RANDOM: run.simulations.random(told.pairs), CONTENT: content, LLM: told}
    return {name: each for name, each in found.items() if each is not None}


def _taken(run: Run) -> dict[str, Taken]:
    """Return the language model's interactions, and those of the control."""
    config, asks = run.recipe.interactions, run.simulations
    if config is None:
        return {}
    found = {
        NEAREST: run.attempt(NEAREST, lambda: asks.content_interactions(run.test, config)),
        TAKEN: run.attempt(TAKEN, lambda: asks.interactions(run.test, config)),
    }
    return {name: Taken(each) for name, each in found.items() if each is not None}


def _choosing(run: Run, part: Part, name: str, told: Simulated, results: Results) -> Callable[[], Choice]:
    return lambda: choose(run.recipe, part, name, told, run.validation, results)


def _fitting(run: Run, plan: Plan, results: Results) -> Callable[[], list[Candidates]]:
    return lambda: [
        results.get(plan.name, run.test, plan.part, plan.lesson, seed=seed).candidates for seed in plan.seeds
    ]


def _trials(recipe: EvaluateRecipe) -> int:
    """Return how many trials a choice takes."""
    return len(set(recipe.weights)) + len(set(recipe.pairs)) - 1
