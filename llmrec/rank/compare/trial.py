"""Which strategies a template serves: each asks one question, of an engine that needs no model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from llmrec.config import Part
from llmrec.data import Candidates, Dataset, Queries, Targets
from llmrec.errors import ConfigError, LlmrecError
from llmrec.llm.fake import FakeEngine
from llmrec.prompts.template import load_template
from llmrec.rank.compare.recipe import Variant, setting
from llmrec.rank.make import make_ranker
from llmrec.registry import RANKERS

_TITLES = ("Alien", "Brazil", "Casablanca", "Dune")


def serving_strategies(template: str) -> list[str]:
    """Return the built-in strategies that a template serves as it is.

    Raises:
        UnknownNameError: no such template.
        ConfigError: the file is no valid template.
    """
    load_template(template)
    queries = Queries(np.array([-1]), np.array([[0]]), values=np.array([[5.0]]))
    candidates = Candidates(np.array([[1, 2, 3]]), np.zeros((1, 3), np.float32))
    found = []
    for name in RANKERS.rows:
        fields = RANKERS.get(name).config_class.model_fields
        if "template" not in fields:
            continue  # it asks through another strategy
        part = Part(name=name, parameters={"template": template})
        try:
            make_ranker(part, FakeEngine(), _TITLES).rank(queries, candidates)
        except ConfigError:
            continue
        found.append(name)
    return found


def try_variants(
    variants: Sequence[Variant], dataset: Dataset, targets: Targets, candidates: Candidates
) -> dict[str, LlmrecError]:
    """Return, by name, the errors of variants whose template does not serve their strategy.

    In a grid that is to be expected of some pairs; a template that serves none of its strategies is a mistake.

    Args:
        variants: what is to be run.
        dataset: titles, and users who give examples.
        targets: q queries; the first one is tried.
        candidates: (q, n) what they rank.

    Raises:
        LlmrecError: a variant's template cannot be read, or no variant can use it.
    """
    first, titles, errors = slice(0, 1), dataset.titles(), {}
    serves: dict[str, LlmrecError | None] = {}
    for variant in variants:
        template = str(setting(variant.strategy, "template"))
        load_template(template)
        try:
            ranker = make_ranker(variant.strategy, FakeEngine(), titles, dataset)
            ranker.rank(targets.queries.select(first), candidates.select(first))
        except LlmrecError as error:
            errors[variant.name] = error
            serves.setdefault(template, error)
        else:
            serves[template] = None
    for serving in serves.values():
        if serving is not None:
            raise serving
    return errors
