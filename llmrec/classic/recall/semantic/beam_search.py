"""Beam search over a trie: every beam is a prefix of an item's id at every step, and an item at the end."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from llmrec.classic.recall.semantic.ids import Trie

Step = Callable[[Tensor, Tensor], Tensor]
"""From the newest token of each beam and which beam of the step before it goes on from, both int64 (q, b), to the
log-probabilities (q, b, size) of the tokens to come."""


class TrieBeams(nn.Module):
    """A trie's arrays as buffers, so that they move with a model.

    Args:
        trie: of a catalogue with at least one item.
    """

    items: Tensor

    def __init__(self, trie: Trie) -> None:
        super().__init__()
        self.fans = [level.fan for level in trie.levels]
        for place, level in enumerate(trie.levels):
            self.register_buffer(f"starts{place}", torch.from_numpy(level.starts), persistent=False)
            self.register_buffer(f"tokens{place}", torch.from_numpy(level.tokens), persistent=False)
        self.register_buffer("items", torch.from_numpy(trie.items), persistent=False)

    def search(self, step: Step, queries: int, beams: int) -> tuple[Tensor, Tensor]:
        """Return distinct items (q, b) and the log-probabilities (q, b) of their ids, best first.

        At each place the best ``beams`` prefixes go on; probability that a model gives to tokens which no item has
        there is lost, not spread over the others. Every prefix is one of an item, so each has a child and no beam ever
        runs dry: b is ``beams``, or the size of the catalogue where that is smaller, and then the search is exact.

        Args:
            step: the model; its first call has tokens of -1.
            queries: q.
            beams: prefixes that are kept.
        """
        device = self.items.device
        nodes = torch.zeros(queries, 1, dtype=torch.int64, device=device)
        tokens, parents = nodes - 1, nodes
        scores = torch.zeros(queries, 1, device=device)
        for place, fan in enumerate(self.fans):
            starts, known = self.get_buffer(f"starts{place}"), self.get_buffer(f"tokens{place}")
            children = starts[nodes].unsqueeze(-1) + torch.arange(fan, device=device)
            legal = children < starts[nodes + 1].unsqueeze(-1)
            children = children.clamp(max=len(known) - 1)
            found = scores.unsqueeze(-1) + step(tokens, parents).gather(2, known[children])
            found = found.masked_fill(~legal, -torch.inf).flatten(1)
            scores, chosen = found.topk(min(beams, len(known)), dim=1)
            parents = chosen // fan
            nodes = children.flatten(1).gather(1, chosen)
            tokens = known[nodes]
        return self.items[nodes], scores
