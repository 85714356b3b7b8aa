"""A trained reward model as a reward: texts in, numbers out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

from llmrec.config import make_config
from llmrec.data.files import read_json
from llmrec.errors import DataError, ModelError
from llmrec.llm.adapters import read_weights, require_same_base
from llmrec.llm.models import resolve_model
from llmrec.llm.tokens import LOADING_ERRORS, PromptTokenizer, unreadable
from llmrec.protocols import Prompt
from llmrec.train.lora import SCALAR_HEAD, require_base
from llmrec.train.packages import peft
from llmrec.train.recipe import RunRecipe
from llmrec.train.reward_report import LengthPenalty
from llmrec.train.rows import Encoded, encode_text
from llmrec.train.scalar import load_scalar, score_texts
from llmrec.train.stage import is_mixed, padding

REWARD = "reward.json"
"""The file beside a reward model's adapter that says how it reads texts."""


class RewardModel:
    """Judges answers, as ``train_reward`` taught it; satisfies ``Reward``.

    It reads text with its own tokenizer, whatever wrote it. A context that is too long loses its last tokens, an answer
    none; an empty answer is nothing but its end.

    Args:
        model: base, adapter and head.
        tokens: its tokenizer.
        max_length: most tokens of context and answer.
        penalty: what is subtracted for length.
        batch_size: texts at once.
        mixed: compute in bfloat16, the head apart.
    """

    def __init__(
        self,
        model: Any,  # noqa: ANN401 - peft's models are untyped
        tokens: PromptTokenizer,
        *,
        max_length: int,
        penalty: LengthPenalty,
        batch_size: int = 16,
        mixed: bool = False,
    ) -> None:
        self.model, self.tokens, self.max_length = model.eval().requires_grad_(requires_grad=False), tokens, max_length
        self.penalty, self.batch_size, self.mixed = penalty, batch_size, mixed

    @classmethod
    def load(
        cls,
        folder: Path | str,
        *,
        model: str | None = None,
        device: str = "auto",
        dtype: str = "auto",
        batch_size: int = 16,
    ) -> Self:
        """Read a reward model.

        Args:
            folder: what ``train_reward`` wrote, such as runs/reward/adapter.
            model: the base, where it is not under the name that the training had for it.
            device: as engines have it.
            dtype: as engines have it.
            batch_size: texts at once.

        Raises:
            ModelError: it is no reward model, damaged, or made for another base; or the base cannot be loaded.
            ConfigError: a GPU is asked for and there is none.
        """
        folder = Path(folder)
        about = _read_about(folder)
        values = {"out": folder, "model": model or about["model"], "device": device, "dtype": dtype}
        recipe = make_config(RunRecipe, values)
        name = resolve_model(recipe.model)
        require_same_base(folder, name)
        _require_head(folder)
        require_base(recipe)
        tokens = PromptTokenizer(name)
        base = load_scalar(recipe, padding(tokens))
        try:
            tuned = peft.PeftModel.from_pretrained(base, folder)
        except LOADING_ERRORS as error:
            raise unreadable(str(folder), error) from error
        return cls(
            tuned,
            tokens,
            max_length=about["max_length"],
            penalty=LengthPenalty(about["slope"], about["mean"]),
            batch_size=batch_size,
            mixed=is_mixed(recipe),
        )

    def __call__(self, prompts: Sequence[str], completions: Sequence[str], **columns: Sequence[object]) -> list[float]:  # noqa: ARG002 - trl passes all columns
        """Return the reward of each answer to its context.

        Raises:
            DataError: there are more of the ones than of the others, one is no text, or an answer is too long.
        """
        texts = self._encode(prompts, completions)
        ids = [text.prompt + text.answers[0] for text in texts]
        found = score_texts(self.model, ids, padding(self.tokens), self.batch_size, mixed=self.mixed)
        lengths = np.array([len(text.answers[0]) for text in texts], np.float64)
        return [float(each) for each in self.penalty.apply(found, lengths)]

    def _encode(self, prompts: Sequence[str], completions: Sequence[str]) -> list[Encoded]:
        if len(prompts) != len(completions):
            raise DataError(
                f"{len(prompts)} prompts with {len(completions)} completions", expected="one for each", cure="pair them"
            )
        texts = []
        for number, (prompt, answer) in enumerate(zip(prompts, completions, strict=True)):
            kinds = [type(prompt), type(answer)]
            if kinds != [str, str]:
                found = " and ".join(kind.__name__ for kind in kinds)
                raise DataError(f"row {number + 1} of {found}", expected="texts", cure="render messages first")
            text = encode_text(self.tokens, Prompt(prompt), [answer], self.max_length, cut=True)
            if text is None:
                raise DataError(
                    f"an answer of {self.tokens.count([answer])[0]:,} tokens in row {number + 1}",
                    expected=f"one that fits into {self.max_length:,} with its end, the reward model's max_length",
                    cure="let answers be shorter, or train the reward model with a larger max_length",
                )
            texts.append(text)
        return texts


def _read_about(folder: Path) -> dict[str, Any]:
    try:
        return read_json(folder / REWARD)
    except DataError as error:
        raise ModelError(
            error.found,
            expected="a reward model: the folder 'adapter' of a run of llmrec train reward",
            cure="check the path",
        ) from None


def _require_head(folder: Path) -> None:
    """Raise a ModelError unless a folder's weights are whole and finite, the head's among them."""
    if not any(name.split(".")[-2] == SCALAR_HEAD for name in read_weights(folder)):
        raise ModelError(
            f"{str(folder)!r} holds no weights of a head {SCALAR_HEAD!r}", expected="them", cure="train it again"
        )
