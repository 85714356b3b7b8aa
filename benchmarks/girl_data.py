"""CVs with the postings of their categories: what ``girl.py`` and ``girl_enhance.py`` learn from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from llmrec.data_prep.job_texts import merged
from llmrec.prompts.template import clean_text, load_template

PARTS = ("train", "valid", "test")
SHARES = (0.7, 0.85)
CATEGORIES = (
    *("ACCOUNTANT", "ADVOCATE", "SALES", "BANKING", "CONSTRUCTION", "CONSULTANT", "DESIGNER"),
    *("INFORMATION-TECHNOLOGY", "FINANCE", "FITNESS", "HEALTHCARE", "HR", "SALES", "TEACHER"),
)
"""Of each posting of job_descriptions.csv, in its order; the account executive sells, as the sales associate does."""


def read_cvs(folder: Path, seed: int) -> pl.DataFrame:
    """Return user, category, education, skills and part of each CV of a category with a posting, split by person."""
    kept = []
    for category in sorted(set(CATEGORIES)):
        rows = pl.read_csv(folder / "pdf_extracted_data" / f"{category}_job_details.csv", infer_schema=False)
        kept.append(rows.with_columns(category=pl.lit(category)))
    rows = pl.concat(kept).with_columns(pl.col("Skills", "Education").fill_null(""))
    cvs = rows.filter(pl.col("Skills") + pl.col("Education") != "")
    cvs = cvs.select("category", user="PDF File Name", education="Education", skills="Skills")
    cvs = cvs[merged(cvs, ["education", "skills"])[1]].unique("user", keep="first", maintain_order=True)
    place = np.random.default_rng(seed).permutation(len(cvs)) / len(cvs)
    return cvs.with_columns(part=pl.Series(PARTS).gather(np.searchsorted(SHARES, place, side="right")))


def read_postings(folder: Path, *, limit: int | None = None) -> pl.DataFrame:
    """Return item, category and completion of the postings: the title in a line of its own, and the description.

    Args:
        folder: of the files.
        limit: characters of a description, to the last whole word; None keeps all.
    """
    rows = pl.read_csv(folder / "job_descriptions.csv").with_columns(category=pl.Series(CATEGORIES))
    about = rows["job_description"].str.replace_all(r"\s+", " ").str.strip_chars()
    if limit is not None:
        about = about.str.slice(0, limit).str.replace(r"\s+\S*$", "")
    completion = [f"\n{title.strip()}\n{text}" for title, text in zip(rows["position_title"], about, strict=True)]
    return rows.with_row_index("item").select("item", "category", completion=pl.Series(completion))


def asked(cvs: pl.DataFrame, *, limit: int) -> pl.DataFrame:
    """Return user, category, part, system and prompt of CVs, education and skills cut to half the characters each."""
    template = load_template("cv-posting")
    cut = {name: [clean_text(text, limit=limit // 2) for text in cvs[name]] for name in ("education", "skills")}
    documents = [f"Education: {one}\nSkills: {two}" for one, two in zip(*cut.values(), strict=True)]
    prompts = [template.render_cleaned({"document": text}) for text in documents]
    return cvs.select("user", "category", "part").with_columns(
        system=pl.Series([prompt.system for prompt in prompts]),
        prompt=pl.Series([f"{prompt.system}\n\n{prompt.user}" for prompt in prompts]),
    )
