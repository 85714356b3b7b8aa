"""The MIND loader against readers written plainly, on sets that Hypothesis makes."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from news import events, lists, put

from llmrec.data_prep.mind import load_mind
from llmrec.data_prep.mind_tokens import Lookup
from llmrec.data_prep.raw import rows

ITEMS = [f"N{n}" for n in range(12)]
BEHAVIOUR = st.tuples(
    st.sampled_from(["U1", "U2", "U10", "é"]),
    st.integers(0, 10**9),
    st.lists(st.sampled_from(ITEMS), max_size=4),
    st.lists(st.tuples(st.sampled_from(ITEMS), st.booleans()), min_size=1, max_size=4),
)


def written(behaviours) -> bytes:
    lines = []
    for number, (user, time, history, shown) in enumerate(behaviours):
        clock = np.datetime64(time, "s").item().strftime("%m/%d/%Y %I:%M:%S %p")
        tokens = " ".join(f"{item}-{int(click)}" for item, click in shown)
        lines.append(f"{number}\t{user}\t{clock}\t{' '.join(history)}\t{tokens}\n")
    return "".join(lines).encode()


def expected(behaviours) -> list[tuple[str, str, int]]:
    """Return the events as one would write them down by hand."""
    longest: dict[str, int] = {}
    for line, (user, _, history, _) in enumerate(behaviours):
        if user not in longest or len(history) > len(behaviours[longest[user]][2]):
            longest[user] = line
    start = max(min(time for _, time, _, _ in behaviours) - 1, 0)
    before = [(behaviours[line][0], item, start) for line in sorted(longest.values()) for item in behaviours[line][2]]
    clicks = [(user, item, time) for user, time, _, shown in behaviours for item, click in shown if click]
    return sorted(before + clicks, key=lambda event: event[2])


@settings(deadline=None)
@given(st.lists(BEHAVIOUR, min_size=1, max_size=12), st.integers(1, 200))
def test_a_reader_written_plainly_finds_the_same(tmp_path_factory, behaviours, chunk):
    news = "".join(f"{item}\ta\tb\t{item}\t\t\t[]\t[]\n" for item in ITEMS).encode()
    folder = put(tmp_path_factory.mktemp("mind") / "x", {"news.tsv": news, "behaviors.tsv": written(behaviours)})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows, "CHUNK", chunk)
        data = load_mind(folder)
    assert events(data) == expected(behaviours)
    assert lists(data) == [
        (user, time, [item for item, _ in shown], [click for _, click in shown], True)
        for user, time, _, shown in behaviours
    ]


@given(st.lists(st.text(max_size=14), unique=True, max_size=300), st.lists(st.text(max_size=14), max_size=50))
def test_numbers_are_those_of_a_dictionary(names, others):
    tokens = [*others, *names[::-1], *names]
    number = {name: row for row, name in enumerate(names)}
    found = Lookup(pl.Series(names, dtype=pl.String)).numbers(pl.Series(tokens, dtype=pl.String))
    assert found.tolist() == [number.get(token, -1) for token in tokens]
