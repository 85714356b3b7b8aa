"""A model that gives a text one number: its head, its batches, and the numbers of many texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from llmrec.train.finite import precision
from llmrec.train.lora import SCALAR_HEAD, load_base
from llmrec.train.processes import combine, share
from llmrec.train.recipe import RunRecipe
from llmrec.train.watching import quiet

Floats = NDArray[np.float64]


class ScalarHead(nn.Linear):
    """A linear head that computes in float32 whatever the model does: in bfloat16 numbers near 8 are 1/32 apart."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002 - as torch has it
        """Return the number at each place, float32 (…, 1)."""
        with torch.autocast(input.device.type, enabled=False):
            return super().forward(input.float())


def load_scalar(recipe: RunRecipe, padding: int) -> Any:  # noqa: ANN401 - untyped
    """Return the base model with a new head, whose weights come from the seed that torch has.

    Args:
        recipe: the run's.
        padding: the token that texts are padded with.

    Raises:
        ModelError: the base cannot be loaded.
    """
    with quiet():
        model = load_base(recipe, scalar=True)
    old = model.get_submodule(SCALAR_HEAD)
    new = ScalarHead(old.in_features, 1, bias=False, device=old.weight.device, dtype=torch.float32)
    nn.init.normal_(new.weight, std=1 / (old.in_features + 1) ** 0.5)  # numbers of size 1 (Stiennon et al., 2020)
    model.set_submodule(SCALAR_HEAD, new)
    model.config.get_text_config().pad_token_id = padding
    return model


def pad_texts(texts: Sequence[Sequence[int]], padding: int) -> dict[str, torch.Tensor]:
    """Return texts, padded on the right, as ``input_ids`` and ``attention_mask`` (n, length)."""
    ids = torch.full((len(texts), max(map(len, texts))), padding)
    mask = torch.zeros_like(ids)
    for place, text in enumerate(texts):
        ids[place, : len(text)] = torch.tensor(text)
        mask[place, : len(text)] = 1
    return {"input_ids": ids, "attention_mask": mask}


def read_scalar(model: Any, inputs: dict[str, torch.Tensor], *, mixed: bool) -> torch.Tensor:  # noqa: ANN401
    """Return the number of each text, float32 (n,)."""
    with precision(model, inputs["input_ids"].device.type, mixed=mixed):
        numbers: torch.Tensor = model(**inputs, use_cache=False).logits
    return numbers.float().squeeze(-1)


@torch.inference_mode()
def score_texts(
    model: Any,  # noqa: ANN401
    texts: Sequence[Sequence[int]],
    padding: int,
    batch_size: int,
    *,
    mixed: bool,
) -> Floats:
    """Return the number of each text, float64 (n,); of several processes each computes a share.

    Args:
        model: with a scalar head, in evaluation mode.
        texts: token ids.
        padding: the token to pad with.
        batch_size: texts at once, of like length.
        mixed: as ``precision`` has it.
    """
    if not len(texts):
        return np.zeros(0)
    mine = share(len(texts))
    my_texts = [texts[number] for number in mine.tolist()]
    scores = np.zeros(len(mine))
    device = next(model.parameters()).device
    order = sorted(range(len(mine)), key=lambda place: len(my_texts[place]))
    for start in range(0, len(order), batch_size):
        places = order[start : start + batch_size]
        batch = pad_texts([my_texts[place] for place in places], padding)
        inputs = {name: tensor.to(device) for name, tensor in batch.items()}
        scores[places] = read_scalar(model, inputs, mixed=mixed).cpu().numpy()
    return combine(mine, scores, len(texts))
