"""A run: pairs and generated texts in, matchers with and without the texts out, compared on the same questions."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from llmrec.config import write_run
from llmrec.data.files import require_replaceable, write_json
from llmrec.eval.evaluate import Evaluation
from llmrec.eval.metrics import Metric
from llmrec.eval.report import write_report
from llmrec.eval.yes_no import Predictions
from llmrec.eval.yes_no_compare import YesNoEvaluation, evaluate_yes_no
from llmrec.eval.yes_no_report import write_yes_no_report
from llmrec.generate.enhance import Matcher
from llmrec.generate.enhance_pairs import Corpus
from llmrec.generate.enhance_recall import recall_by_matchers, recall_by_texts
from llmrec.generate.enhance_recipe import EnhanceRecipe, Form
from llmrec.generate.enhance_sources import read_corpus, read_texts
from llmrec.generate.enhance_vectors import Vectors, read_vectors
from llmrec.protocols import Watch

Report = Callable[[int, int, str], None]
TEXTS = "texts"


@dataclass(frozen=True, eq=False)
class Enhanced:
    """What a run came to.

    Attributes:
        matching: for each form the matchers without and with generated texts, on the test's pairs.
        recall: over the whole catalogue: ``texts`` as queries, and the matchers of each form.
        counts: pairs, contexts, texts, and what was left out.
        seconds: wall time.
    """

    matching: Mapping[str, YesNoEvaluation]
    recall: Mapping[str, Evaluation]
    counts: Mapping[str, int]
    seconds: float


def enhance(recipe: EnhanceRecipe, *, report: Report | None = None) -> Enhanced:
    """Train and compare matchers, and write ``recipe.out``: vectors, matchers, metrics, reports, ``run.json``.

    Vectors are kept: a further call on the same texts embeds nothing.

    Args:
        recipe: what to do.
        report: told of texts embedded and epochs done.

    Raises:
        LlmrecError: an input cannot be used, or the folder is somebody else's; see ``read_corpus`` and ``read_texts``.
    """
    start = time.perf_counter()
    for name in recipe.metrics:
        Metric.parse(name)
    require_replaceable(recipe.out)
    corpus = read_corpus(recipe)
    texts = read_texts(recipe.texts, corpus, recipe.texts_by)
    write_json(recipe.out / "config.json", recipe.model_dump(mode="json"))
    vectors = read_vectors(recipe.out / "vectors.safetensors", corpus, texts, recipe, Watch(report=report))
    matchers = {form: _train(form, vectors, corpus, recipe, report) for form in recipe.forms}
    asked, targets = corpus.asked()
    matching: dict[str, YesNoEvaluation] = {}
    recall: dict[str, Evaluation] = {TEXTS: recall_by_texts(vectors, corpus, recipe, asked, targets)}
    for form, pair in matchers.items():
        matching[form] = _compare(pair, vectors, corpus, recipe)
        recall[form] = recall_by_matchers(pair, vectors, corpus, recipe, asked, targets)
    counts = {**corpus.counts(), **texts.counts, "test contexts without a text": _without(vectors, corpus)}
    done = Enhanced(matching, recall, counts, time.perf_counter() - start)
    _write(recipe, done, {name: each for pair in matchers.values() for name, each in pair.items()})
    return done


def _without(vectors: Vectors, corpus: Corpus) -> int:
    asked = np.unique(corpus.parts["test"].contexts)
    return int((~vectors.generated[asked].any(axis=1)).sum())


def _train(
    form: Form, vectors: Vectors, corpus: Corpus, recipe: EnhanceRecipe, report: Report | None
) -> dict[str, Matcher]:
    """Return the matchers of a form, without and with generated texts; both see the same pairs in the same order."""
    made: dict[str, Matcher] = {}
    for name, generated in ((form, False), (f"{form} + {TEXTS}", True)):
        made[name] = Matcher(
            form,
            generated=generated,
            embedding_dim=vectors.embedding_dim,
            config=recipe.matcher,
            embedder=recipe.embedder,
            seed=recipe.seed,
        )
        watch = Watch(report=None if report is None else _named(report, name))
        train, valid = corpus.parts["train"], corpus.parts["valid"]
        made[name].fit(vectors, train, valid, seed=recipe.seed, watch=watch)
        made[name].save(_folder(recipe.out, name))
    return made


def _named(report: Report, name: str) -> Report:
    def tell(done: int, total: int, text: str) -> None:
        report(done, total, f"{name}, {text}")

    return tell


def _folder(out: Path, name: str) -> Path:
    return out / "matchers" / name.replace(" + ", "-")


def _compare(
    matchers: Mapping[str, Matcher], vectors: Vectors, corpus: Corpus, recipe: EnhanceRecipe
) -> YesNoEvaluation:
    """Return the matchers of a form on the test's pairs; whole users are drawn anew, and the differences paired."""
    pairs, users = corpus.parts["test"], corpus.users
    questions = pl.DataFrame(
        {
            "row": np.arange(len(pairs)),
            "user": [users[context] for context in pairs.contexts.tolist()],
            "item": corpus.ids.gather(pairs.items.astype(np.int64)),
            "label": pairs.labels,
        }
    )
    found = {
        name: Predictions.of(questions, each.scores(vectors, pairs).astype(np.float64))
        for name, each in matchers.items()
    }
    for name, each in found.items():
        each.save(_folder(recipe.out, name).with_suffix(".parquet"))
    return evaluate_yes_no(found, baseline=next(iter(found)), samples=recipe.samples, seed=recipe.seed)


def _write(recipe: EnhanceRecipe, done: Enhanced, matchers: Mapping[str, Matcher]) -> None:
    """Write metrics, reports and, last, the record."""
    out = recipe.out
    notes = {name: f"{count:,}" for name, count in done.counts.items()} | {"seed": str(recipe.seed)}
    for form, found in done.matching.items():
        folder = found.save(out / "matching" / form)
        write_yes_no_report(found, folder / "report.html", title=f"Does an item suit: {form}", notes=notes)
    for name, evaluation in done.recall.items():
        folder = evaluation.save(out / "recall" / name)
        write_report(evaluation, folder / "report.html", title=f"Whole catalogue: {name}", notes=notes)
    epochs = {
        name: {"best": each.log.best + 1, "losses": each.log.losses, "validation_auc": each.log.values}
        for name, each in matchers.items()
    }
    matching = {form: each.evaluation.table.to_dicts() for form, each in done.matching.items()}
    recall = {name: each.table.to_dicts() for name, each in done.recall.items()}
    facts = {"counts": dict(done.counts), "epochs": epochs, "matching": matching, "recall": recall}
    write_run(out / "run.json", recipe, **facts, seconds=done.seconds)
