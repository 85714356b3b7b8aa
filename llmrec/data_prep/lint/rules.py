"""All rules of the lint, one after the other."""

from __future__ import annotations

from llmrec.data import Dataset, Split
from llmrec.data_prep.lint.events import event_findings
from llmrec.data_prep.lint.evidence import Finding, gather
from llmrec.data_prep.lint.tables import table_findings


def lint_split(data: Dataset, split: Split, *, text_date: str | None = None) -> list[Finding]:
    """Return what is wrong with a split, or worth knowing of it, always in this order.

    ==========================  =======================================================================================
    rule                        what it finds
    ==========================  =======================================================================================
    ``future-in-training``      leak: a training event of a user at or after that user's first target
    ``future-in-history``       leak: a query's history with events that were not there before its target
    ``others-future``           training events of any user at or after the first test target: a leak in a cut by time,
                                a caution elsewhere, as rules for each user alone always have it (Ji et al., "A Critical
                                Study on Data Leakage in Recommender System Offline Evaluation", TOIS 2023, arXiv
                                2010.11060); not asked where times of different users do not compare
    ``unstable-ties``           caution: a target at the very time of another event of its user that is on another side,
                                or competes for the same place: an unstable sort would exchange them
    ``popularity-after-cut``    leak: a numeric column that follows counts or means over all events, but not over
                                training events; caution: numbers given in the order of such counts
    ``vocabulary-after-cut``    caution: items or users without any text that occur only outside training, so that
                                the vocabulary itself was read off later events
    ``duplicate-text``          leak: a user asked about but never trained on, with the CV of a user in training;
                                caution: the same for the texts of items, as remakes and re-listings share theirs
    ``text-newer-than-cut``     leak: the text of an item in training is dated after the cut
    ==========================  =======================================================================================

    When a target happened is looked up in ``data``: the user's earliest event with the item outside training, for the
    test after the user's validation targets. For the rule ``impression-time`` it is the time of the impression.

    Args:
        data: the whole data set that ``split`` was cut from.
        split: what to look at, as a rule returned it: no queries drawn, none left out.
        text_date: column of the item table that dates the texts: a Date, a Datetime (UTC), or integers of Unix seconds.
            None reads those of ``date``, ``published`` and ``text_date`` that are there.

    Raises:
        DataError: the split was not cut from ``data``, or ``text_date`` names no column of dates.
    """
    evidence = gather(data, split)
    return [*event_findings(evidence), *table_findings(evidence, text_date)]
