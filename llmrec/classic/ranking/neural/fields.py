"""Features as vectors: for each field of a row one, from one table for all categories."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor, nn

from llmrec.classic.ranking.base.categories import KNOWN
from llmrec.classic.ranking.features import Category, FeatureSpace

HISTORY = "history"


class Inputs(NamedTuple):
    """What b rows have in each field.

    Attributes:
        single: int64 (b, f), places in the table of the categories with one value.
        bags: int64 (b, m) each, of those with several.
        numbers: float32 (b, n).
        text: float32 (b, d), the vector of the item's text; None without.
    """

    single: Tensor
    bags: tuple[Tensor, ...]
    numbers: Tensor
    text: Tensor | None


class Fields(nn.Module):
    """Turns users, items and histories into places in one table, in which each category has rows of its own.

    Args:
        space: the features.
        pooled: whether the items of the history are a field, the mean of their vectors.

    Attributes:
        names: the fields in the order of ``FieldVectors``: categories of one value (users' first), of several, the
            history's items, numbers, text.
        size: rows of the table.
        offsets: where the rows of each category begin; the first is padding, the second the unknown.
        bag_names: those of several values, the history's items last.
    """

    user_codes: Tensor
    item_codes: Tensor
    history_codes: Tensor
    texts: Tensor

    def __init__(self, space: FeatureSpace, *, pooled: bool = True) -> None:
        super().__init__()
        item = [each for each in space.categories if each.name == "item" and space.config.history and pooled]
        tables = [*space.categories, *(Category(HISTORY, "item", each.size, many=True) for each in item)]
        starts = np.cumsum([0, *(each.size for each in tables)])
        self.offsets = {each.name: int(start) for each, start in zip(tables, starts[:-1], strict=True)}
        self.size = int(starts[-1])
        self.bag_owners = {each.name: each.owner for each in space.categories if each.many}
        self.bag_names = (*self.bag_owners, *(HISTORY for _ in item))
        for owner, rows in (("user", space.n_users), ("item", space.n_items)):
            mine = [each for each in space.categories if each.owner == owner and not each.many]
            codes = [space.codes(each.name).astype(np.int64) + self.offsets[each.name] for each in mine]
            self._keep(f"{owner}_codes", np.concatenate([np.zeros((rows + 1, 0), np.int64), *codes], axis=1))
        for number, name in enumerate(self.bag_owners):
            self._keep(f"bag{number}", space.codes(name).astype(np.int64) + self.offsets[name])
        if item:
            self._keep("history_codes", space.codes("item")[:, 0].astype(np.int64) + self.offsets[HISTORY])
        self.has_text = space.texts is not None
        if space.texts is not None:
            self._keep("texts", space.texts)
        self.text_dim = 0 if space.texts is None else space.texts.shape[1]
        singles = [each.name for owner in ("user", "item") for each in space.categories if each.owner == owner]
        self.names = (
            *(name for name in singles if name not in self.bag_owners),
            *self.bag_names,
            *space.number_names,
            *(["text"] if self.has_text else []),
        )
        self.n_numbers = len(space.number_names)

    def forward(self, batch: Mapping[str, Tensor]) -> Inputs:
        """Return the inputs of a batch with ``user``, ``item``, ``numbers`` and ``history``."""
        user, item = batch["user"] + 1, batch["item"] + 1
        single = torch.cat([self.user_codes[user], self.item_codes[item]], 1)
        bags = [
            self.get_buffer(f"bag{number}")[user if owner == "user" else item]
            for number, owner in enumerate(self.bag_owners.values())
        ]
        if HISTORY in self.bag_names:
            bags.append(self.history_codes[batch["history"] + 1])
        return Inputs(single, tuple(bags), batch["numbers"], self.texts[item] if self.has_text else None)

    def _keep(self, name: str, array: np.ndarray) -> None:
        self.register_buffer(name, torch.from_numpy(array), persistent=False)


class FieldVectors(nn.Module):
    """A learned vector for each code, number and text: x times the vector of its field.

    The vector of what is unknown begins at 0, and stays there where training never meets it. The values of a bag
    share 1, so that its vector is their mean; an empty bag's is 0.

    Args:
        fields: which fields there are.
        embedding_dim: length of a vector.
        scale: standard deviation at the start.
    """

    def __init__(self, fields: Fields, embedding_dim: int, scale: float = 0.05) -> None:
        super().__init__()
        self.fields = [fields]  # not a submodule: it belongs to the model
        self.table = nn.Parameter(torch.empty(fields.size, embedding_dim).normal_(0, scale))
        self.numbers = nn.Parameter(torch.empty(fields.n_numbers, embedding_dim).normal_(0, scale))
        self.text = nn.Parameter(torch.empty(fields.text_dim, embedding_dim).normal_(0, scale))
        with torch.no_grad():
            for start in fields.offsets.values():
                self.table[start : start + KNOWN] = 0

    def forward(self, inputs: Inputs) -> Tensor:
        """Return (b, fields, d)."""
        parts = [F.embedding(inputs.single, self.table)]
        offsets, names = self.fields[0].offsets, self.fields[0].bag_names
        for codes, name in zip(inputs.bags, names, strict=True):
            parts.append(F.embedding_bag(codes, self.table, mode="mean", padding_idx=offsets[name]).unsqueeze(1))
        parts.append(inputs.numbers.unsqueeze(2) * self.numbers)
        if inputs.text is not None:
            parts.append((inputs.text @ self.text).unsqueeze(1))
        return torch.cat(parts, 1)

    def items(self, items: Tensor) -> Tensor:
        """Return the vectors (…, f, d) of the f categories of item numbers (…); zeros for -1."""
        fields, flat = self.fields[0], items.reshape(-1) + 1
        parts = [F.embedding(fields.item_codes[flat], self.table)]
        for number, (name, owner) in enumerate(fields.bag_owners.items()):
            if owner == "item":
                codes, padding = fields.get_buffer(f"bag{number}")[flat], fields.offsets[name]
                parts.append(F.embedding_bag(codes, self.table, mode="mean", padding_idx=padding).unsqueeze(1))
        vectors = torch.cat(parts, 1) * (flat > 0)[:, None, None]
        return vectors.reshape(*items.shape, *vectors.shape[1:])
