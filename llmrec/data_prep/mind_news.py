"""MIND's news.tsv: titles, abstracts, categories and entities of news."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl
import polars.selectors as cs

from llmrec.data_prep.raw.delimited import TSV, Layout, read_table
from llmrec.data_prep.raw.files import RawFile
from llmrec.data_prep.raw.reading import Check, Reading, not_blank
from llmrec.data_prep.raw.second_look import read_distinct

HEADER = ("id", "category", "subcategory", "title", "abstract", "url", "title_entities", "abstract_entities")
LAYOUT = Layout(separator=TSV.separator, header=HEADER, quoted=TSV.quoted)
ENTITIES = pl.List(pl.Struct({"WikidataId": pl.String, "Label": pl.String}))


def read_news(files: Sequence[RawFile], reading: Reading, *, entities: bool = False) -> pl.DataFrame:
    """Return the news of several files, each id once as the first file has it, in the files' order.

    Columns are ``id``, ``title``, ``description`` (the abstract, null where there is none), ``categories`` (category
    and subcategory) and ``url``; with ``entities`` also ``title_entity_ids``, ``title_entity_labels``,
    ``abstract_entity_ids`` and ``abstract_entity_labels``, lists of what Wikidata calls them, in the file's order.

    Raises:
        DataError: a file is damaged, or a row is bad and may not be left out.
    """
    table = pl.concat([_read(file, reading, entities=entities) for file in files])
    return table.unique("id", keep="first", maintain_order=True)


def with_unknown(news: pl.DataFrame, ids: pl.Series) -> pl.DataFrame:
    """Return the news with further ids of which nothing is known: null, and lists without a value."""
    table = pl.concat([news, pl.DataFrame({"id": ids})], how="diagonal")
    return table.with_columns(cs.list().fill_null([]))


def _read(file: RawFile, reading: Reading, *, entities: bool) -> pl.DataFrame:
    names = HEADER if entities else HEADER[:6]
    broken = [
        Check(name, pl.col(name).map_batches(_broken, pl.Boolean), "a JSON list of entities") for name in names[6:]
    ]
    checks = [not_blank("id"), not_blank("title", "a title: language models read news by their titles"), *broken]

    def read(rules: Reading, further: Sequence[Check]) -> pl.DataFrame:
        return read_table(file, dict.fromkeys(names, pl.String), rules, checks=[*checks, *further], layout=LAYOUT)

    return read_distinct(read, "id", reading).select(
        "id",
        "title",
        pl.col("abstract").alias("description"),
        pl.concat_list("category", "subcategory").list.drop_nulls().alias("categories"),
        "url",
        *(column for name in names[6:] for column in _entities(name)),
    )


def _entities(name: str) -> list[pl.Expr]:
    found = pl.col(name).str.json_decode(ENTITIES).fill_null([])
    stem = name.removesuffix("_entities")
    return [
        found.list.eval(pl.element().struct.field("WikidataId")).alias(f"{stem}_entity_ids"),
        found.list.eval(pl.element().struct.field("Label")).alias(f"{stem}_entity_labels"),
    ]


def _broken(texts: pl.Series) -> pl.Series:
    """Return which texts (n,) are no JSON lists of entities: all at once, and by halves where that fails."""
    try:
        texts.str.json_decode(ENTITIES)
    except pl.exceptions.PolarsError:
        if len(texts) == 1:
            return pl.Series([True])
        middle = len(texts) // 2
        return pl.concat([_broken(texts[:middle]), _broken(texts[middle:])])
    return pl.repeat(False, len(texts), eager=True)
