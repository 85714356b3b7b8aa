"""What a model says of questions: the log-odds of yes."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from llmrec.llm.answer_head import AnswerHead
from llmrec.train.processes import combine, share
from llmrec.train.rows import TokenRows
from llmrec.train.trainer import Collator


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
    prompts, collate = [rows.prompts[row] for row in mine.tolist()], Collator(padding)
    order = sorted(range(len(prompts)), key=lambda row: len(prompts[row]))  # batches of like length
    device = next(model.parameters()).device
    for start in range(0, len(order), batch_size):
        numbers = order[start : start + batch_size]
        batch = collate(
            [{"input_ids": prompts[row], "answer_start": len(prompts[row]), "number": row} for row in numbers]
        )
        inputs = {name: batch[name].to(device) for name in ("input_ids", "attention_mask")}
        last = (torch.arange(len(numbers), device=device), inputs["attention_mask"].sum(1) - 1)
        logits = head.logits(model, inputs, last).float().cpu()
        scores[numbers] = (logits[:, yes] - logits[:, no]).numpy()
    return combine(mine, scores, len(rows))
