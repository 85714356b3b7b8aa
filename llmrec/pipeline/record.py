"""What a pipeline's run came to, and a digest of all that it was made from."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path

import polars as pl

from llmrec.pipeline.check import asks_engine
from llmrec.pipeline.recipe import PipelineRecipe
from llmrec.pipeline.stages import StageRun
from llmrec.rank.shards import RankRun, describe


@dataclass(frozen=True, slots=True)
class PipelineRun:
    """What a run, or a block of it, came to; ``+`` adds two.

    Attributes:
        total: queries, what language-model stages spent and counted, seconds.
        stages: what recall and each stage did; empty where nothing was run yet.
        relevant: relevant items of the queries; None where they are not known.
        n_items: size of the catalogue.
    """

    total: RankRun = field(default_factory=RankRun)
    stages: tuple[StageRun, ...] = ()
    relevant: int | None = None
    n_items: int = 0

    def __add__(self, other: PipelineRun) -> PipelineRun:
        if not self.stages:
            return replace(other, total=self.total + other.total)
        stages = tuple(mine + its for mine, its in zip(self.stages, other.stages, strict=True))
        known = None if self.relevant is None or other.relevant is None else self.relevant + other.relevant
        return PipelineRun(self.total + other.total, stages, known, other.n_items)

    def table(self) -> pl.DataFrame:
        """Return one row for recall and each stage.

        ===================  ========================================================================================
        column               meaning
        ===================  ========================================================================================
        stage                its name
        in, out              candidates of a query that come in (to recall: the catalogue) and are handed on, on average
        seconds              for all queries
        moved                places that a candidate handed on has moved, on average
        overlap              share of these that were among as many first ones that came in
        changed              share of the queries whose first candidate is another
        relevant             share of the relevant items that is handed on; only where they are known
        skipped              queries that the stage was skipped for
        ===================  ========================================================================================
        """
        rows = []
        for place, run in enumerate(self.stages):
            queries = max(run.queries, 1)
            moved = {"moved": run.shift, "overlap": run.overlap, "changed": run.changed}
            rows.append(
                {
                    "stage": run.name,
                    "in": run.entered / queries if place else float(self.n_items),
                    "out": run.left / queries,
                    "seconds": run.seconds,
                    **(moved if place else dict.fromkeys(moved)),
                    "relevant": run.found / self.relevant if self.relevant else None,
                    "skipped": run.skipped,
                }
            )
        table = pl.DataFrame(rows, infer_schema_length=None)
        return table if self.relevant is not None else table.drop("relevant")


def made_from(recipe: PipelineRecipe, engine: str) -> bytes:
    """Return a digest of all that recommendations depend on besides the queries.

    Args:
        recipe: whose folders are read.
        engine: its identity; empty where no stage asks one.
    """
    about = recipe.model_dump(
        mode="json", include={"part", "recall", "stages", "seed"}, exclude={"stages": {"__all__": {"timeout"}}}
    )  # what is kept was not late, so another limit changes nothing
    parts = [stage.ranker.part for stage in recipe.stages if asks_engine(stage.ranker)]
    wordings = [describe(part) for part in parts if part is not None]
    digest = hashlib.blake2b(json.dumps([version("llmrec"), about, engine, wordings]).encode(), digest_size=16)
    models = (*recipe.recall.channels, *(stage.ranker for stage in recipe.stages))
    for folder in (recipe.dataset / "split", *(model.folder for model in models if model.folder is not None)):
        digest.update(_content(folder))
    return digest.digest()


def _content(folder: Path) -> bytes:
    """Return a digest of all files in a folder."""
    digest = hashlib.blake2b(digest_size=16)
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(folder)}\n".encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "blake2b").digest())
    return digest.digest()
