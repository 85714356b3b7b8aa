"""Log-probabilities of many answers to many prompts, what they share computed once.

What a group of prompts and answers begin with alike runs through the model once; its key/value cache is then continued
with each of them. One prompt with twenty answers is such a group, and so are twenty prompts that ask about twenty items
after one history. The LM head (a large share of the work with a large vocabulary) runs only where a next token is asked
for.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from llmrec.llm.answer_head import AnswerHead
from llmrec.llm.token_groups import Group

Scores = Sequence[NDArray[np.float64]]
_ROWS_AT_ONCE = 16
_MOST_LOGITS = 2**27
"""Logits kept at once while answers are continued: half a GiB in float32."""


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
        self._head = AnswerHead(model)

    def score(self, groups: Sequence[Group], scores: Scores) -> None:
        """Add to ``scores[prompt][answer]`` the log-probability of each answer token of each group."""
        for batch in self._batches(groups):
            mask, cache = self._score_prefixes(batch, scores)
            self._score_tails(batch, mask, cache, scores)

    def _batches(self, groups: Sequence[Group]) -> Iterator[list[Group]]:
        """Yield groups of similar length whose tails together fit into ``batch_tokens``."""
        batch: list[Group] = []
        rows = 0
        for group in sorted(groups, key=lambda group: -len(group.prefix)):
            needed = max(1, len(group.tails))
            width = len((batch or [group])[0].prefix) + max(map(len, group.tails), default=0)
            if batch and (rows + needed) * width > self.batch_tokens:
                yield batch
                batch, rows = [], 0
            batch.append(group)
            rows += needed
        if batch:
            yield batch

    def _score_prefixes(self, batch: list[Group], scores: Scores) -> tuple[torch.Tensor, Any]:
        """Run the prefixes, add what is read off them, and return their mask (n, longest) and cache."""
        ids, mask = left_pad([group.prefix for group in batch], self.device)
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        pads = [ids.shape[1] - len(group.prefix) for group in batch]
        wanted = [(row, read.place + pads[row], read) for row, group in enumerate(batch) for read in group.from_prefix]
        # The model cannot run without asking for anything: its last place is asked for where no answer begins so early.
        places = sorted({(row, place) for row, place, _ in wanted}) or [(0, ids.shape[1] - 1)]
        at = {place: number for number, place in enumerate(places)}
        asked = _index(places, self.device)
        logits, cache = self._forward(asked, input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=True)
        picked = _pick(logits, [(at[row, place], read.token) for row, place, read in wanted])
        for (_, _, read), value in zip(wanted, picked, strict=True):
            for prompt, answer in read.owners:
                scores[prompt][answer] += value
        return mask, cache

    def _score_tails(self, batch: list[Group], mask: torch.Tensor, cache: Any, scores: Scores) -> None:  # noqa: ANN401
        """Continue the prefixes' cache with their tails and add what is read off these."""
        todo = [(row, tail) for row, group in enumerate(batch) for tail in range(len(group.tails))]
        todo.sort(key=lambda pair: len(batch[pair[0]].tails[pair[1]]))
        while todo:
            width = len(batch[todo[-1][0]].tails[todo[-1][1]])
            size = max(1, min(self.batch_tokens // (mask.shape[1] + width), self.most_asked // width))
            chunk, todo = todo[-size:], todo[:-size]
            tails = [batch[row].tails[tail] for row, tail in chunk]
            ids = torch.tensor([tail + [0] * (width - len(tail)) for tail in tails], device=self.device)
            real = torch.tensor([[1] * len(tail) + [0] * (width - len(tail)) for tail in tails]).to(ids)
            prefixes = torch.tensor([row for row, _ in chunk], device=self.device)
            # The cache grows as it is continued: the last chunk may have the original, the others work on copies.
            branch = copy.deepcopy(cache) if todo else cache
            branch.batch_select_indices(prefixes)
            before = mask[prefixes]
            wanted = [(n, read) for n, (row, tail) in enumerate(chunk) for read in batch[row].from_tails[tail]]
            places = sorted({(n, read.place) for n, read in wanted})
            logits, _ = self._forward(
                _index(places, self.device),
                input_ids=ids,
                attention_mask=torch.cat([before, real], 1),
                position_ids=before.sum(1, keepdim=True) + torch.arange(width, device=self.device),
                past_key_values=branch,
            )
            at = {place: number for number, place in enumerate(places)}
            picked = _pick(logits, [(at[n, read.place], read.token) for n, read in wanted])
            for (_, read), value in zip(wanted, picked, strict=True):
                for prompt, answer in read.owners:
                    scores[prompt][answer] += value

    def _forward(self, asked: tuple[torch.Tensor, torch.Tensor], **inputs: Any) -> tuple[torch.Tensor, Any]:  # noqa: ANN401
        """Run the model; return logits (n, vocabulary) at the asked (row, place) pairs, and the cache."""
        output = self._head.run(self.model, inputs, asked)
        return output.logits[0], output.past_key_values


def left_pad(rows: list[list[int]], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Return token ids and attention mask, both int64 (n, longest), padded on the left with 0."""
    width = max(map(len, rows))
    ids = torch.tensor([[0] * (width - len(row)) + row for row in rows], device=device)
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows], device=device)
    return ids, mask


def _index(pairs: Sequence[tuple[int, int]], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    rows, places = torch.tensor(pairs, device=device).unbind(1)
    return rows, places


def _pick(logits: torch.Tensor, pairs: Sequence[tuple[int, int]]) -> list[float]:
    """Return the log-probability of token t in row r for each (r, t), in float32."""
    if not pairs:
        return []
    rows, tokens = _index(pairs, logits.device)
    # In blocks: a float32 copy of all logits would cost more time than the arithmetic on it.
    totals = torch.cat([block.float().logsumexp(1) for block in torch.split(logits, _ROWS_AT_ONCE)])
    values: list[float] = (logits[rows, tokens].float() - totals[rows]).tolist()
    return values
