"""A recipe for each kind of raw files: which files, and how they are read."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from llmrec.data import Dataset
from llmrec.data_prep.amazon import load_amazon
from llmrec.data_prep.jobs import JobColumns, load_jobs
from llmrec.data_prep.mind import load_mind
from llmrec.data_prep.movielens import load_movielens
from llmrec.data_prep.prepare import PrepareRecipe, Rule
from llmrec.data_prep.raw.delimited import Layout
from llmrec.data_prep.raw.reading import Reading
from llmrec.data_prep.sequences import load_sequences
from llmrec.data_prep.table import load_table


class MovieLensRecipe(PrepareRecipe):
    """MovieLens 100K, 1M, 10M, 20M, 25M, 32M, latest."""

    out: Path = Path("data/movielens")
    """Folder to write."""
    source: Path | None = None
    """Folder or zip of the official files; none: download latest-small."""
    tags_before: int | None = None
    """Unix seconds: tags given at or after this moment are not read."""

    def load(self, reading: Reading) -> Dataset:
        """Read the raw files."""
        return load_movielens(self.source, tags_before=self.tags_before, reading=reading)


class MindRecipe(PrepareRecipe):
    """MIND: demo, small, large."""

    source: Path
    """Folder or zip with behaviors.tsv and news.tsv, or a folder of such parts (train, dev, test)."""
    split: Rule = "impression-time"
    """How it is cut."""
    entities: bool = False
    """Read the entities of titles and abstracts too."""
    times: Literal["clock", "order"] = "clock"
    """``order``: the lines' order stands for time, for copies that have none."""
    unknown_items: Literal["error", "keep"] = "error"
    """What becomes of news that no news.tsv describes: a bad row, or an item without a title."""
    more_news: tuple[Path, ...] = ()
    """Further files in the format of news.tsv."""

    def load(self, reading: Reading) -> Dataset:
        """Read the raw files."""
        return load_mind(
            self.source,
            entities=self.entities,
            times=self.times,
            unknown_items=self.unknown_items,
            more_news=self.more_news,
            reading=reading,
        )


class AmazonRecipe(PrepareRecipe):
    """Amazon reviews of 2014, 2018 or 2023."""

    reviews: Path
    """Reviews, one JSON object a line, plain or gzipped."""
    metadata: Path | None = None
    """Metadata of the same category and edition."""
    edition: Literal["auto", "2014", "2018", "2023"] = "auto"
    """Edition; told by the first line's keys by default."""
    k_core: int = Field(default=1, ge=1)
    """Keep users and items with at least so many events among those kept."""
    repeats: Literal["last", "first", "max", "all"] = "last"
    """What stays of several reviews of one item by one user."""
    catalogue: Literal["interacted", "all"] = "interacted"
    """``all``: items of the metadata without a review stay too."""

    @field_validator("edition", mode="before")
    @classmethod
    def _year(cls, edition: object) -> object:
        return str(edition) if isinstance(edition, int) else edition  # YAML reads 2018 as a number

    def load(self, reading: Reading) -> Dataset:
        """Read the raw files."""
        return load_amazon(
            self.reviews,
            self.metadata,
            edition=self.edition,
            k_core=self.k_core,
            repeats=self.repeats,
            catalogue=self.catalogue,
            reading=reading,
        )


class TableRecipe(PrepareRecipe):
    """Any table of interactions."""

    interactions: Path
    """CSV, TSV, JSON lines or Parquet, a row for each event."""
    items: Path | None = None
    """Table of the catalogue; its further columns are kept."""
    users: Path | None = None
    """Table of the users."""
    user: str = "user"
    """Column of user ids."""
    item: str = "item"
    """Column of item ids."""
    time: str | None = None
    """Column of times; without one, the order of the rows is all that is known."""
    value: str | None = None
    """Column of ratings or weights; without one, each event counts 1."""
    time_unit: Literal["s", "ms", "iso"] = "s"
    """Unix seconds, milliseconds, or texts such as 2026-11-22T10:00:00Z."""
    item_id: str | None = None
    """Column of ids in ``items``; by default called as in ``interactions``."""
    user_id: str | None = None
    """The same in ``users``."""
    title: str | None = "title"
    """Column of titles in ``items``; null where there is none."""
    layout: Layout | None = None
    """Of ``interactions``, where its name does not tell."""
    item_layout: Layout | None = None
    """Of ``items``."""
    user_layout: Layout | None = None
    """Of ``users``."""
    repeats: Literal["last", "first", "max", "all"] = "all"
    """What stays of several events of one user with one item."""
    k_core: int = Field(default=1, ge=1)
    """Keep users and items with at least so many events among those kept."""
    name: str | None = None
    """Of the data set; the file's own by default."""

    def load(self, reading: Reading) -> Dataset:
        """Read the raw files."""
        return load_table(
            self.interactions,
            self.items,
            users=self.users,
            user=self.user,
            item=self.item,
            time=self.time,
            value=self.value,
            time_unit=self.time_unit,
            item_id=self.item_id,
            user_id=self.user_id,
            title=self.title,
            layout=self.layout,
            item_layout=self.item_layout,
            user_layout=self.user_layout,
            name=self.name,
            repeats=self.repeats,
            k_core=self.k_core,
            reading=reading,
        )


class SequencesRecipe(PrepareRecipe):
    """A file with one user a line, and the items in order behind it."""

    sequences: Path
    """A user and a tab, then item ids with spaces between, oldest first."""
    items: Path | None = None
    """Table of the catalogue; its further columns are kept."""
    header: bool = True
    """Whether the first line names the columns."""
    item_id: str = "item"
    """Column of ids in ``items``."""
    title: str | None = "title"
    """Column of titles in ``items``; null where there is none."""
    item_layout: Layout | None = None
    """Of ``items``, where its name does not tell."""
    name: str | None = None
    """Of the data set; the file's own by default."""

    def load(self, reading: Reading) -> Dataset:
        """Read the raw files."""
        return load_sequences(
            self.sequences,
            self.items,
            header=self.header,
            item_id=self.item_id,
            title=self.title,
            item_layout=self.item_layout,
            name=self.name,
            reading=reading,
        )


class JobsRecipe(PrepareRecipe):
    """CVs, postings and which fit."""

    cvs: Path
    """A table, a folder of tables with the same columns, or a folder of .txt files."""
    postings: Path
    """The same of postings."""
    matches: Path | None = None
    """Table of CV ids, posting ids and labels."""
    columns: JobColumns = JobColumns()
    """Which column is what."""
    split: Rule = "none"
    """How it is cut."""
    name: str = "jobs"
    """Of the data set."""

    def load(self, reading: Reading) -> Dataset:
        """Read the raw files."""
        return load_jobs(
            self.cvs,
            self.postings,
            self.matches,
            columns=self.columns,
            name=self.name,
            reading=reading,
        )
