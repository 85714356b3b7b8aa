"""A prepared data set folder with candidates, and a small template."""

import numpy as np
import polars as pl
import pytest

from llmrec.data import Candidates, Dataset, Interactions, Queries, Split, Targets, Vocabulary
from llmrec.data_prep.prepare import save_prepared
from llmrec.data_prep.recipes import MovieLensRecipe

N_USERS, N_ITEMS, N_CANDIDATES = 30, 40, 6


@pytest.fixture(scope="session")
def films():
    """Thirty users with four events each on forty films."""
    users = np.repeat(np.arange(N_USERS), 4)
    items = (users * 7 + np.tile([0, 3, 11, 20], N_USERS)) % N_ITEMS
    return Dataset(
        name="films",
        interactions=Interactions.sort(users, items, np.arange(len(users))),
        users=Vocabulary([f"user {number}" for number in range(N_USERS)]),
        items=Vocabulary([1000 + number for number in range(N_ITEMS)]),
        item_table=pl.DataFrame({"title": [f"Film {chr(65 + number % 26)}{number}" for number in range(N_ITEMS)]}),
    )


@pytest.fixture(scope="session")
def targets(films):
    """One query for each user; no two histories are equal."""
    queries = films.queries(np.arange(N_USERS))
    return Targets(queries, ((queries.history[:, -1:] + 1) % N_ITEMS).astype(np.int32))


@pytest.fixture(scope="session")
def candidates():
    """Six films for each query, the last query's row shorter."""
    items = (np.arange(N_USERS)[:, None] * 5 + np.arange(N_CANDIDATES) * 6) % N_ITEMS
    scores = np.tile(np.arange(N_CANDIDATES, 0, -1, dtype=np.float32), (N_USERS, 1))
    items[-1, 4:], scores[-1, 4:] = -1, np.nan
    return Candidates(items, scores)


@pytest.fixture(scope="session")
def prepared(tmp_path_factory, films, targets, candidates):
    """A folder with ``films`` (prepared) and ``candidates.parquet``; valid asks the first ten users only."""
    folder = tmp_path_factory.mktemp("prepared")
    split = Split(films, targets.select(slice(0, 10)), targets, {"name": "by hand"})
    save_prepared(films, split, MovieLensRecipe(out=folder / "films"))
    candidates.to_frame(films, targets.queries).write_parquet(folder / "candidates.parquet")
    return folder


@pytest.fixture(scope="session")
def short_template(tmp_path_factory):
    """The path of a listwise template that fits into the tiny model's context."""
    path = tmp_path_factory.mktemp("templates") / "short.yaml"
    path.write_text(
        "name: short\nversion: 1\ndescription: Short.\nanswer: ranking\n"
        "user: \"{{ history | join(', ') }}\\nRank: {{ candidates | join(', ') }}\\n\"\n"
    )
    return str(path)


@pytest.fixture
def empty_queries():
    return Queries.from_histories([])
