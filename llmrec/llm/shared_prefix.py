"""Log-probabilities of many answers to one prompt, the prompt computed once.

Each prompt runs through the model once; its key/value cache is then continued with every answer. The beginning that
all answers share counts as prompt, and the LM head (a large share of the work with a large vocabulary) runs only at
positions whose next token is asked for.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from llmrec.protocols import FloatArray

_ROWS_AT_ONCE = 16
_MOST_LOGITS = 2**27
"""Logits kept at once while answers are continued: half a GiB in float32."""


@dataclass(frozen=True, slots=True)
class Job:
    """One prompt with its answers, tokenised.

    Attributes:
        index: place in the caller's list.
        prefix: tokens of the prompt and of the beginning that all its answers share.
        shared: how many of them belong to the answers.
        tails: what remains of each answer.
    """

    index: int
    prefix: list[int]
    shared: int
    tails: list[list[int]]

    @classmethod
    def of(cls, index: int, prompt: list[int], answers: list[list[int]]) -> Job:
        """Return the job of a prompt and its answers, what the answers share moved to the prefix."""
        shared = 0
        while answers and all(len(ids) > shared and ids[shared] == answers[0][shared] for ids in answers):
            shared += 1
        return cls(index, prompt + (answers[0][:shared] if answers else []), shared, [ids[shared:] for ids in answers])

    @property
    def rows(self) -> list[int]:
        """Answers whose tail needs a forward pass of its own; one token is read off the prompt's last position."""
        return [row for row, tail in enumerate(self.tails) if len(tail) > 1]


class SharedPrefixScorer:
    """Scores answers with a causal language model of transformers, whatever its architecture.

    Args:
        model: the model, in evaluation mode.
        batch_tokens: upper bound of rows x length in one forward pass.
    """

    def __init__(self, model: Any, batch_tokens: int) -> None:  # noqa: ANN401
        self.model, self.batch_tokens = model, batch_tokens
        self.device = model.device
        self.most_asked = _MOST_LOGITS // model.get_output_embeddings().weight.shape[0]
        self._asked: tuple[torch.Tensor, torch.Tensor] | None = None
        model.get_output_embeddings().register_forward_pre_hook(self._keep_asked)

    def batches(self, jobs: list[Job]) -> Iterator[list[Job]]:
        """Yield jobs of similar length whose answers together fit into ``batch_tokens``."""
        batch: list[Job] = []
        rows = 0
        for job in sorted((job for job in jobs if job.tails), key=lambda job: -len(job.prefix)):
            needed = max(1, len(job.rows))
            width = len((batch or [job])[0].prefix) + max(map(len, job.tails))
            if batch and (rows + needed) * width > self.batch_tokens:
                yield batch
                batch, rows = [], 0
            batch.append(job)
            rows += needed
        if batch:
            yield batch

    def score(self, batch: list[Job]) -> list[FloatArray]:
        """Return the summed log-probabilities of the answers of each job, float32 (n_answers,)."""
        ids, mask = left_pad([job.prefix for job in batch], self.device)
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        # One row of logits for each shared answer token, and one more for what follows them.
        spans = [range(ids.shape[1] - job.shared - 1, ids.shape[1]) for job in batch]
        asked = _index([(row, place) for row, span in enumerate(spans) for place in span], self.device)
        logits, cache = self._forward(asked, input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=True)
        last = np.cumsum([len(span) for span in spans]) - 1
        pairs, owners = [], []
        for row, job in enumerate(batch):
            for place, token in enumerate(job.prefix[len(job.prefix) - job.shared :]):
                pairs.append((int(last[row]) - job.shared + place, token))
                owners.append([(row, answer) for answer in range(len(job.tails))])
            for answer, tail in enumerate(job.tails):
                if tail:
                    pairs.append((int(last[row]), tail[0]))
                    owners.append([(row, answer)])
        scores = [np.zeros(len(job.tails)) for job in batch]
        for value, answered in zip(_pick(logits, pairs), owners, strict=True):
            for row, answer in answered:
                scores[row][answer] += value
        del logits
        self._score_tails(batch, mask, cache, scores)
        return [row.astype(np.float32) for row in scores]

    def _score_tails(self, batch: list[Job], mask: torch.Tensor, cache: Any, scores: list[Any]) -> None:  # noqa: ANN401
        """Add the log-probability of each tail's second and later tokens, continuing its prompt's cache."""
        todo = [(row, answer) for row, job in enumerate(batch) for answer in job.rows]
        todo.sort(key=lambda pair: len(batch[pair[0]].tails[pair[1]]))
        while todo:
            width = len(batch[todo[-1][0]].tails[todo[-1][1]]) - 1
            size = max(1, min(self.batch_tokens // (mask.shape[1] + width), self.most_asked // width))
            chunk, todo = todo[-size:], todo[:-size]
            tails = [batch[row].tails[answer] for row, answer in chunk]
            ids = torch.tensor([tail[:-1] + [0] * (width + 1 - len(tail)) for tail in tails], device=self.device)
            real = torch.tensor([[1] * (len(tail) - 1) + [0] * (width + 1 - len(tail)) for tail in tails]).to(ids)
            prompts = torch.tensor([row for row, _ in chunk], device=self.device)
            # The cache grows as it is continued: the last chunk may have the original, the others work on copies.
            branch = copy.deepcopy(cache) if todo else cache
            branch.batch_select_indices(prompts)
            before = mask[prompts]
            positions = before.sum(1, keepdim=True) + torch.arange(width, device=self.device)
            places = [(row, place) for row, tail in enumerate(tails) for place in range(len(tail) - 1)]
            logits, _ = self._forward(
                _index(places, self.device),
                input_ids=ids,
                attention_mask=torch.cat([before, real], 1),
                position_ids=positions,
                past_key_values=branch,
            )
            picked = _pick(logits, [(n, tails[row][place + 1]) for n, (row, place) in enumerate(places)])
            for (row, _place), value in zip(places, picked, strict=True):
                prompt, answer = chunk[row]
                scores[prompt][answer] += value

    def _forward(self, asked: tuple[torch.Tensor, torch.Tensor], **inputs: Any) -> tuple[torch.Tensor, Any]:  # noqa: ANN401
        """Run the model; return logits (n, vocabulary) at the asked (row, place) pairs, and the cache."""
        self._asked = asked
        try:
            output = self.model(**inputs)
        finally:
            self._asked = None
        return output.logits[0], output.past_key_values

    def _keep_asked(self, _head: torch.nn.Module, inputs: tuple[torch.Tensor]) -> tuple[torch.Tensor] | None:
        """Let only the asked positions through to the LM head, whatever the architecture does around it."""
        return None if self._asked is None else (inputs[0][self._asked].unsqueeze(0),)


def left_pad(rows: list[list[int]], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Return token ids and attention mask, both int64 (n, longest), padded on the left with 0."""
    width = max(map(len, rows))
    ids = torch.tensor([[0] * (width - len(row)) + row for row in rows], device=device)
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows], device=device)
    return ids, mask


def _index(pairs: list[tuple[int, int]], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    rows, places = torch.tensor(pairs, device=device).unbind(1)
    return rows, places


def _pick(logits: torch.Tensor, pairs: list[tuple[int, int]]) -> list[float]:
    """Return the log-probability of token t in row r for each (r, t), in float32."""
    rows, tokens = _index(pairs, logits.device)
    # In blocks: a float32 copy of all logits would cost more time than the arithmetic on it.
    totals = torch.cat([block.float().logsumexp(1) for block in torch.split(logits, _ROWS_AT_ONCE)])
    values: list[float] = (logits[rows, tokens].float() - totals[rows]).tolist()
    return values
