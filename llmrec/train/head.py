"""A language model's head only where answers are: the rest of a prompt needs no logits."""

from __future__ import annotations

from typing import Any

import torch


class AnswerHead:
    """Lets a model compute its head at chosen positions only.

    A step over a vocabulary of 262,144 words would else spend most of its time on logits that no loss reads. It hooks
    into the head by transformers' public ``get_output_embeddings``, so it works for any causal language model, with an
    adapter on it or not, and inside data-parallel wrappers.

    Args:
        model: the causal language model; its forward pass is called through ``logits``.
    """

    def __init__(self, model: Any) -> None:  # noqa: ANN401 - transformers' models are untyped
        self._wanted: torch.Tensor | None = None
        model.get_output_embeddings().register_forward_pre_hook(self._keep_wanted)

    def logits(self, model: Any, inputs: dict[str, torch.Tensor], wanted: torch.Tensor) -> torch.Tensor:  # noqa: ANN401
        """Return logits (n, vocabulary) at the n positions where ``wanted`` (rows, length) is true, row by row.

        Args:
            model: the model or what wraps it.
            inputs: ``input_ids`` and ``attention_mask``, (rows, length).
            wanted: bool (rows, length).
        """
        self._wanted = wanted
        try:
            logits: torch.Tensor = model(**inputs, use_cache=False).logits
        finally:
            self._wanted = None
        return logits[0]

    def _keep_wanted(self, _: object, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        if self._wanted is None:
            return inputs
        return inputs[0][self._wanted][None], *inputs[1:]
