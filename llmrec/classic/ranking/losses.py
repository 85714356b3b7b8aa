"""Losses of distillation: what a student lacks of a teacher's scores, by candidates, pairs or lists."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from llmrec.config import Config
from llmrec.data import Candidates, Queries
from llmrec.errors import DataError

Loss = Callable[[Tensor, Tensor, Tensor, float], tuple[Tensor, Tensor]]
"""Takes student and teacher scores (b, k), which of them count (b, k) and a temperature; returns sum and count."""


class LossConfig(Config):
    """What a student learns of its teacher's scores."""

    loss: Literal["mse", "bce", "margin", "ranknet", "listwise"] = "listwise"
    """Pointwise (mse on scores, bce on soft labels), pairwise (margin, ranknet) or list-wise."""
    temperature: float = Field(1.0, gt=0)
    """Divides the teacher's scores, and the student's too in list-wise; large is soft."""


def squared_error(student: Tensor, teacher: Tensor, known: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Return the summed (s - t / temperature)² over candidates, and their number.

    Paper: Ba, Caruana, Do Deep Nets Really Need to be Deep?, NeurIPS 2014 (regression on logits).
    """
    return ((student - teacher / temperature)[known] ** 2).sum(), known.sum()


def soft_labels(student: Tensor, teacher: Tensor, known: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Return the summed cross-entropy of s with the label sigmoid(t / temperature), and how many candidates there are.

    The teacher's scores are log-odds, such as those of the pointwise strategy.

    Paper: Hinton, Vinyals, Dean, Distilling the Knowledge in a Neural Network, 2015.
    """
    labels = torch.sigmoid(teacher / temperature)[known]
    return F.binary_cross_entropy_with_logits(student[known], labels, reduction="sum"), known.sum()


def margin_error(student: Tensor, teacher: Tensor, known: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Return the summed ((s_i - s_j) - (t_i - t_j) / temperature)² over pairs of a list, and how many there are.

    Only differences count: lists whose scores differ in level, as log-probabilities do, teach the same.

    Paper: Hofstätter et al., Improving Efficient Neural Ranking Models with Cross-Architecture Knowledge Distillation.
    """
    both = _pairs(known)
    return ((_differences(student) - _differences(teacher) / temperature)[both] ** 2).sum(), both.sum()


def soft_pairs(student: Tensor, teacher: Tensor, known: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Return the summed cross-entropy of s_i - s_j with sigmoid((t_i - t_j) / temperature), and the number of pairs.

    Paper: Burges et al., Learning to Rank using Gradient Descent, ICML 2005 (RankNet), with the teacher's odds of an
    order as its target.
    """
    both = _pairs(known)
    labels = torch.sigmoid(_differences(teacher)[both] / temperature)
    return F.binary_cross_entropy_with_logits(_differences(student)[both], labels, reduction="sum"), both.sum()


def soft_lists(student: Tensor, teacher: Tensor, known: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Return the summed KL(softmax(t / T) || softmax(s / T)) T² over lists of two candidates or more, and their number.

    Paper: Cao et al., Learning to Rank: From Pairwise Approach to Listwise Approach, ICML 2007 (ListNet), with the
    temperature of Hinton, Vinyals, Dean, 2015.
    """
    lists = known.sum(1) > 1
    known, absent = known[lists], -torch.inf
    wanted, given = (
        torch.log_softmax((scores[lists] / temperature).masked_fill(~known, absent), 1) for scores in (teacher, student)
    )
    gaps = torch.where(known, wanted - given, 0.0)
    return temperature**2 * (wanted.exp() * gaps).sum(), lists.sum()


def _differences(scores: Tensor) -> Tensor:
    return scores[:, :, None] - scores[:, None, :]


def _pairs(known: Tensor) -> Tensor:
    """Return which (i, j) with i < j count in each list, (b, k, k)."""
    return (known[:, :, None] & known[:, None, :]).triu(1)


LOSSES: Mapping[str, Loss] = {
    "mse": squared_error,
    "bce": soft_labels,
    "margin": margin_error,
    "ranknet": soft_pairs,
    "listwise": soft_lists,
}


def scored_lists(queries: Queries, teacher: Candidates) -> tuple[Queries, Candidates, NDArray[np.bool_]]:
    """Return the queries with at least two candidates that the teacher scored, these, and which have a score (q, k).

    Raises:
        DataError: there is none, or not one row of candidates for each query.
    """
    known = (teacher.items >= 0) & np.isfinite(teacher.scores)
    rows = np.flatnonzero(known.sum(axis=1) > 1)
    if not len(rows) or len(queries) != len(teacher):
        raise DataError(
            f"{len(teacher)} lists for {len(queries)} queries, {len(rows)} with two scored candidates",
            expected="one for each query, with a teacher's scores",
            cure="pass what the teacher ranked, with its scores",
        )
    return queries.select(rows), teacher.select(rows), known[rows]
