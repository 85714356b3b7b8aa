"""The policy that PPO tunes: a language model with an adapter, a head that foretells rewards, and a reference."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from accelerate.utils import set_seed
from torch.nn import functional

from llmrec.llm.answer_head import AnswerHead
from llmrec.train.finite import precision
from llmrec.train.lora import add_adapter, load_base
from llmrec.train.ppo_recipe import PpoRecipe
from llmrec.train.stage import is_mixed

REFERENCE = "reference"
"""What peft calls the frozen copy of the adapter that a run started with."""


class Policy(torch.nn.Module):
    """A language model with an adapter that learns, and a linear head on its last hidden states.

    The head reads hidden states brought to mean 0 and variance 1, since models differ in their size by orders of
    magnitude, and begins at 0: a policy that nothing is known of foretells nothing. The policy is never in training
    mode: dropout would make an answer's probability another one than when it was drawn.

    The reference is the same model with its adapter off, or with a frozen copy of the adapter it was started with.

    Args:
        model: peft's, with its adapter.
        head: of its base.
        mixed: compute in bfloat16, as the base is held; see ``precision``.
    """

    def __init__(self, model: Any, head: AnswerHead, *, mixed: bool = False) -> None:  # noqa: ANN401
        super().__init__()
        self.model, self.head, self.mixed = model, head, mixed
        output = model.get_output_embeddings()
        output.register_forward_pre_hook(self._see)
        self.value = torch.nn.Linear(output.weight.shape[1], 1)
        torch.nn.init.zeros_(self.value.weight)
        torch.nn.init.zeros_(self.value.bias)
        self.value.to(output.weight.device)
        self._seen = torch.empty(0)
        self.eval()

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.value.weight.device

    def forward(self, ids: torch.Tensor, mask: torch.Tensor, wanted: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return logits (n, vocabulary) and values (n,), both float32, at n positions.

        Args:
            ids: int64 (rows, length).
            mask: int64 (rows, length), 0 where padded.
            wanted: bool (rows, length), the positions, read row by row.
        """
        with precision(self.model, ids.device.type, mixed=self.mixed):
            logits = self.head.logits(self.model, {"input_ids": ids, "attention_mask": mask}, wanted)
        seen, self._seen = self._seen[0].float(), torch.empty(0)
        hidden = functional.layer_norm(seen, seen.shape[-1:])
        return logits.float(), self.value(hidden).squeeze(1)

    def adapter_weights(self) -> list[torch.nn.Parameter]:
        """Return the weights that learn beside the value head's."""
        return [weight for weight in self.model.parameters() if weight.requires_grad]

    @contextmanager
    def as_reference(self) -> Iterator[None]:
        """Let it speak as its reference; nothing is to be learnt meanwhile."""
        if REFERENCE not in self.model.peft_config:
            with self.model.disable_adapter():
                yield
            return
        learning = self.model.active_adapter
        self.model.set_adapter(REFERENCE, inference_mode=True)
        try:
            yield
        finally:
            self.model.set_adapter(learning)

    def _see(self, _: object, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        """Keep what the model's head reads, in one piece: a slice is multiplied row by row where weights are frozen."""
        whole = inputs[0].contiguous()
        self._seen = whole
        return whole, *inputs[1:]


def build_policy(recipe: PpoRecipe) -> Policy:
    """Return the policy of a recipe, as it is before the first step.

    Raises:
        ModelError: the model or the adapter cannot be loaded.
    """
    base = load_base(recipe)
    head = AnswerHead(base)
    set_seed(recipe.seed)  # of a new adapter's first weights
    model = add_adapter(base, recipe.lora, recipe.start)
    if recipe.start is not None:
        model.load_adapter(recipe.start, REFERENCE, is_trainable=False)
        model.set_adapter("default")
    return Policy(model, head, mixed=is_mixed(recipe))
