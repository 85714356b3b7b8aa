"""A language model's head only where answers are: the rest of a prompt needs no logits."""

from __future__ import annotations

from typing import Any

import torch

Wanted = torch.Tensor | tuple[torch.Tensor, torch.Tensor]


class AnswerHead:
    """Lets a model compute its head at chosen positions only.

    A pass over a vocabulary of 262,144 words would else spend most of its time on logits that nobody reads. It hooks
    into the head by transformers' public ``get_output_embeddings``, so it works for any causal language model, with an
    adapter on it or not, and inside data-parallel wrappers.

    Args:
        model: the causal language model; its forward pass is called through ``run`` or ``logits``.
    """

    def __init__(self, model: Any) -> None:  # noqa: ANN401 - transformers' models are untyped
        self._wanted: Wanted | None = None
        model.get_output_embeddings().register_forward_pre_hook(self._keep_wanted)

    def run(self, model: Any, inputs: dict[str, Any], wanted: Wanted) -> Any:  # noqa: ANN401
        """Return what the model returns, with logits (1, n, vocabulary) at the n wanted positions only.

        Args:
            model: the model or what wraps it.
            inputs: what it is called with.
            wanted: bool (rows, length), read row by row; or the rows (n,) and the places (n,).
        """
        self._wanted = wanted
        try:
            return model(**inputs)
        finally:
            self._wanted = None

    def logits(self, model: Any, inputs: dict[str, torch.Tensor], wanted: Wanted) -> torch.Tensor:  # noqa: ANN401
        """Return the logits (n, vocabulary) of ``run`` without a cache."""
        logits: torch.Tensor = self.run(model, {**inputs, "use_cache": False}, wanted).logits[0]
        return logits

    def _keep_wanted(self, _: object, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        if self._wanted is None:
            return inputs
        return inputs[0][self._wanted][None], *inputs[1:]
