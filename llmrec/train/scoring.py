"""What a model says of rows: log-odds of yes, or the loss of the answers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from llmrec.train.head import AnswerHead
from llmrec.train.processes import combine, share
from llmrec.train.rows import TokenRows


@torch.inference_mode()
def log_odds(
    model: Any,  # noqa: ANN401 - transformers' models are untyped
    head: AnswerHead,
    rows: TokenRows,
    padding: int,
    batch_size: int,
) -> NDArray[np.float64]:
    """Return log p(yes) - log p(no) behind each prompt, float64 (rows,); of several processes each computes a share.

    Args:
        model: the causal language model.
        head: its head.
        rows: questions; their answers say which tokens yes and no begin with.
        padding: the token to pad with.
        batch_size: rows at once.
    """
    no, yes = rows.first_tokens()
    mine = share(len(rows))
    scores = np.zeros(len(mine), np.float64)
    for numbers, ids, mask in _batches([rows.prompts[row] for row in mine.tolist()], padding, batch_size):
        last = mask.sum(1) - 1
        wanted = torch.zeros_like(mask, dtype=torch.bool)
        wanted[torch.arange(len(numbers)), last] = True
        device = next(model.parameters()).device
        inputs = {"input_ids": ids.to(device), "attention_mask": mask.to(device)}
        logits = head.logits(model, inputs, wanted.to(device)).float().cpu()
        scores[numbers] = (logits[:, yes] - logits[:, no]).numpy()
    return combine(mine, scores, len(rows))


def _batches(rows: list[list[int]], padding: int, size: int) -> Iterator[tuple[list[int], torch.Tensor, torch.Tensor]]:
    """Yield row numbers, ids and mask of batches of like length."""
    order = sorted(range(len(rows)), key=lambda row: len(rows[row]))
    for start in range(0, len(order), size):
        numbers = order[start : start + size]
        longest = len(rows[numbers[-1]])
        ids = torch.full((len(numbers), longest), padding)
        mask = torch.zeros_like(ids)
        for place, row in enumerate(numbers):
            ids[place, : len(rows[row])] = torch.tensor(rows[row])
            mask[place, : len(rows[row])] = 1
        yield numbers, ids, mask
