"""Two files of texts for the same contexts, judged: a win rate, ties, the judge's bias, agreement with rewards."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import polars as pl
from pydantic import Field

from llmrec.config import write_run
from llmrec.data.files import atomic_file, read_parquet, require_writable, resumable
from llmrec.errors import DataError
from llmrec.generate.judging import PairJudge
from llmrec.generate.verdicts import Agreement, WinRate, agreement, win_rate
from llmrec.llm.make import EngineRecipe, Report, open_engine, tell_pace
from llmrec.prompts.votes import TIED, Floats, Votes
from llmrec.protocols import Engine, Reward, Usage

JUDGE = "judge"
_KEY = ("user", "system", "prompt", "sample")
_COLUMNS = (*_KEY, "text", "finish")


class JudgeRecipe(EngineRecipe):
    """Two files of texts to compare."""

    first: Path
    """Parquet file from ``llmrec generate``; wins are its."""
    second: Path
    """Another for the same contexts, with as many texts of each."""
    out: Path
    """Parquet file of verdicts to write; the run's record goes beside it as JSON."""
    template: str = "judge-pairwise"
    """A template of two labels that sees ``document`` (the request), ``candidates`` (two texts) and ``labels``."""
    chat: bool = False
    """The model has a chat template: its answers have no space before them."""
    text_limit: int = Field(4000, ge=1)
    """At most so many characters of a request and of a text."""
    seed: int = 0
    """Of intervals and tests."""


@dataclass(frozen=True, eq=False)
class JudgeRun:
    """What judging two files came to.

    Attributes:
        names: what the two are called.
        verdicts: a row for each pair: whose it is, what each order said (natural log-odds of the first file's text;
            null where it was not asked), the ``score`` (1 it wins, 0.5 tie, 0 it loses, null unknown), and by how much
            each reward prefers it.
        rates: of the judge and of each reward, where any pair was judged.
        agreements: of the judge with each reward.
        first_place: share of the judge's answers that prefer the text which stands first; 0.5 is no bias.
        swayed: share of the pairs asked on which both orders prefer the same place: ties that bias makes.
        counts: ``pairs``; of them ``equal`` texts (ties, not asked), ``without_text`` where the engine gave none,
            ``too_long`` to be asked, ``failed``; requests ``shortened``; and ``empty`` texts of both files.
        usage: prompts, tokens, cache hits, seconds.
        seconds: wall time.
        first_error: what went wrong with the first prompt that failed.
    """

    names: tuple[str, str]
    verdicts: pl.DataFrame
    rates: tuple[WinRate, ...]
    agreements: tuple[Agreement, ...]
    first_place: float | None
    swayed: float | None
    counts: Counter[str]
    usage: Usage = field(default_factory=Usage)
    seconds: float = 0.0
    first_error: str = ""


def judge_batch(
    recipe: JudgeRecipe,
    *,
    rewards: Mapping[str, Reward] | None = None,
    progress: Report | None = None,
    dry_run: bool = False,
) -> JudgeRun:
    """Judge two files of texts; killed, the same call goes on where it stopped, from the cache of answers.

    Each pair is asked in both orders, one prompt with either text first. A text wins where both orders prefer it; where
    they disagree it is a tie (Zheng et al., NeurIPS 2023). Equal texts are a tie that nobody is asked about.

    Args:
        recipe: files, engine, template.
        rewards: by name; each judges the same pairs, and the judge's agreement with it is told.
        progress: called after each commit, with prompts done.
        dry_run: write nothing, run no model and no reward; the usage says what a real run would spend.

    Raises:
        LlmrecError: an input cannot be used, and nothing is written then; or the disk is full, and what is done stays.
    """
    start = time.perf_counter()
    if not dry_run:
        require_writable(recipe.out)
    pairs = read_pairs(recipe.first, recipe.second)
    with open_engine(recipe, dry_run=dry_run) as engine:
        if progress is not None:
            engine.progress = tell_pace(engine, progress)
        votes, scores, counts = _ask(recipe, engine, pairs)
    found = {} if dry_run else {name: _differences(pairs, name, reward) for name, reward in (rewards or {}).items()}
    run = JudgeRun(
        _names(recipe),
        _verdicts(pairs, votes, scores, found),
        *_compare(pairs, scores, found, recipe.seed),
        votes.first_place(),
        votes.swayed(),
        counts,
        engine.usage,
        time.perf_counter() - start,
        engine.first_error,
    )
    if not dry_run:
        _write(recipe, run, engine.identity)
    return run


def read_pairs(first: Path, second: Path) -> pl.DataFrame:
    """Return the texts of two files side by side, in the order of the first: ``text`` and ``finish``, and ``…_second``.

    Raises:
        DataError: a file cannot be read, lacks a column, has two texts with one number for a context, or is of other
            contexts than the other.
    """
    one, two = _read(first), _read(second)
    strays = [(first, one.join(two, on=_KEY, how="anti", nulls_equal=True), second)]
    strays.append((second, two.join(one, on=_KEY, how="anti", nulls_equal=True), first))
    for path, alone, other in strays:
        if len(alone):
            raise DataError(
                f"{len(alone):,} texts in {str(path)!r} have no counterpart in {str(other)!r} "
                f"(text {alone['sample'][0]} for {alone['prompt'][0][:60]!r})",
                expected="as many texts for the same contexts in both",
                cure="generate both from the same contexts, with the same number of texts",
            )
    if one.is_empty():
        raise DataError(f"{str(first)!r} has no texts", expected="at least one", cure="generate some first")
    return one.join(two, on=_KEY, nulls_equal=True, suffix="_second", maintain_order="left")


def _read(path: Path) -> pl.DataFrame:
    frame = read_parquet(path, _COLUMNS).select(_COLUMNS)
    for name in _COLUMNS[1:]:
        column = frame[name]
        if not (column.dtype.is_integer() if name == "sample" else column.dtype == pl.String) or column.null_count():
            raise DataError(
                f"{str(path)!r} has {name!r} of {column.dtype}, {column.null_count():,} of them null",
                expected=f"a {'whole number' if name == 'sample' else 'text'} in each row",
                cure="write it with llmrec generate",
            )
    frame = frame.cast({"user": pl.String, "sample": pl.Int64})
    twice = frame.filter(frame.select(_KEY).is_duplicated())
    if len(twice):
        raise DataError(
            f"{str(path)!r} has two texts with the number {twice['sample'][0]} for {twice['prompt'][0][:60]!r}",
            expected="each text of a context once, numbered in 'sample'",
            cure="write it with llmrec generate",
        )
    return frame


def _ask(recipe: JudgeRecipe, engine: Engine, pairs: pl.DataFrame) -> tuple[Votes, Floats, Counter[str]]:
    """Return what the judge said of each pair, what that counts, and how pairs fared."""
    judge = PairJudge(engine, recipe.template, chat=recipe.chat, text_limit=recipe.text_limit)
    texts = [(judge.clean(one), judge.clean(two)) for one, two in pairs.select("text", "text_second").iter_rows()]
    given = _given(pairs)
    equal = given & np.array([one == two for one, two in texts])
    rows = np.flatnonzero(given & ~equal)
    some = judge.vote(pairs["prompt"].gather(rows).to_list(), [texts[row] for row in rows.tolist()])
    votes = Votes(np.full(len(pairs), np.nan), np.full(len(pairs), np.nan))
    votes.first[rows], votes.second[rows] = some.first, some.second
    scores = np.where(equal, TIED, votes.scores())
    unknown = int(np.isnan(some.scores()).sum())
    counts = Counter(
        pairs=len(pairs),
        equal=int(equal.sum()),
        without_text=int((~given).sum()),
        failed=unknown - judge.counts["too_long"],
        empty=sum(not text for row in np.flatnonzero(given).tolist() for text in texts[row]),
    )
    return votes, scores, counts + judge.counts


def _given(pairs: pl.DataFrame) -> np.ndarray:
    """Return which pairs have both texts, (n,)."""
    return ((pairs["finish"] != "error") & (pairs["finish_second"] != "error")).to_numpy()


def _differences(pairs: pl.DataFrame, name: str, reward: Reward) -> Floats:
    """Return by how much a reward prefers the first text of each pair, (n,), NaN where one is missing.

    Raises:
        DataError: it does not return one finite number for each text.
    """
    given = _given(pairs)
    asked = pairs.filter(given)
    prompts, sides = asked["prompt"].to_list(), []
    for column in ("text", "text_second"):
        said = reward(prompts, asked[column].to_list())
        try:
            values = np.asarray(said, np.float64)
        except (TypeError, ValueError):
            values = np.full(1, np.nan)
        if values.shape != (len(asked),) or not np.isfinite(values).all():
            raise DataError(
                f"reward {name!r} returned {str(said)[:60]!r} for {len(asked):,} texts",
                expected="a list with one finite number for each",
                cure="mend the reward",
            )
        sides.append(values)
    found = np.full(len(pairs), np.nan)
    found[given] = sides[0] - sides[1]
    return found


def _compare(
    pairs: pl.DataFrame, scores: Floats, rewards: Mapping[str, Floats], seed: int
) -> tuple[tuple[WinRate, ...], tuple[Agreement, ...]]:
    known: dict[tuple[str | None, ...], int] = {}
    contexts = [known.setdefault(row, len(known)) for row in pairs.select(_KEY[:3]).iter_rows()]
    others = [(name, (np.sign(each) + 1) / 2) for name, each in rewards.items()]
    rates = [win_rate(each, contexts, judge=name, seed=seed) for name, each in [(JUDGE, scores), *others]]
    agreements = [agreement(scores, each, judge=JUDGE, other=name) for name, each in others]
    return tuple(rate for rate in rates if rate is not None), tuple(agreements)


def _verdicts(pairs: pl.DataFrame, votes: Votes, scores: Floats, rewards: Mapping[str, Floats]) -> pl.DataFrame:
    columns = {"odds_first": votes.first, "odds_second": votes.second, "score": scores}
    columns |= {f"reward {name}": each for name, each in rewards.items()}
    return pairs.select(_KEY).with_columns(**{name: pl.Series(each).fill_nan(None) for name, each in columns.items()})


def _names(recipe: JudgeRecipe) -> tuple[str, str]:
    paths = (recipe.first, recipe.second)
    same = paths[0].stem == paths[1].stem
    return (str(paths[0]), str(paths[1])) if same else (paths[0].stem, paths[1].stem)


def _write(recipe: JudgeRecipe, run: JudgeRun, identity: str) -> None:
    with resumable(recipe.out):
        with atomic_file(recipe.out) as temporary:
            run.verdicts.write_parquet(temporary)
        write_run(
            recipe.out.with_suffix(".run.json"),
            recipe,
            engine=identity,
            names=run.names,
            rates=[asdict(rate) for rate in run.rates],
            agreements=[asdict(each) for each in run.agreements],
            first_place=run.first_place,
            swayed=run.swayed,
            counts=dict(run.counts),
            first_error=run.first_error,
            usage=asdict(run.usage),
            money=run.usage.money(recipe.input_price, recipe.output_price),
            seconds=run.seconds,
        )
