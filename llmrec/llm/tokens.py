"""Prompts and answers as tokens, the same for every local engine."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from safetensors import SafetensorError
from transformers import AutoConfig, AutoTokenizer

from llmrec.errors import EngineError, ModelError
from llmrec.protocols import Prompt

LOADING_ERRORS = (OSError, ValueError, RuntimeError, SafetensorError)
"""What transformers and vLLM raise for missing, damaged or unsuitable weights."""
_ANCHOR = 8
"""Characters of the prompt's end that are tokenised with an answer."""
_NEVER = r"(?!)"


class PromptTokenizer:
    """Renders prompts through a model's chat template, where it has one, and turns text into token ids.

    Prompts and answers hold texts of items, which nobody vouches for: what would be a special token in them is broken
    up (``plain``), so that only the chat template and the tokenizer itself put special tokens.

    Args:
        name: model folder or hub name.

    Raises:
        ModelError: there is no readable tokenizer.
    """

    def __init__(self, name: str) -> None:
        try:
            self.tokenizer: Any = AutoTokenizer.from_pretrained(name)
            text_config = AutoConfig.from_pretrained(name).get_text_config()
        except Exception as error:  # the library of tokenizers raises nothing narrower
            raise unreadable(name, error) from error
        self.name = name
        self._special = _special_tokens(self.tokenizer)
        self.context: int | None = getattr(text_config, "max_position_embeddings", None)

    def count(self, texts: Sequence[str]) -> list[int]:
        """Return how many tokens each text has, special ones left out."""
        return [len(ids) for ids in self._ids(list(map(self.plain, texts)))] if texts else []

    def plain(self, text: str) -> str:
        """Return a text in which a blank stands behind the first character of what would be a special token."""
        while self._special.search(text):  # breaking one up may leave another
            text = self._special.sub(lambda found: f"{found[0][0]} {found[0][1:]}" if len(found[0]) > 1 else " ", text)
        return text

    def render(self, prompt: Prompt) -> str:
        """Return the text that the model reads."""
        system, user = self.plain(prompt.system), self.plain(prompt.user)
        if not self.tokenizer.chat_template:
            return "\n\n".join(part for part in (system, user) if part)
        messages = [{"role": "system", "content": system}] if system else []
        messages.append({"role": "user", "content": user})
        return str(self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))

    def encode(self, prompt: Prompt, *, room: int) -> list[int]:
        """Return the token ids of a prompt, never none.

        Args:
            prompt: the prompt.
            room: tokens that must fit behind it.

        Raises:
            EngineError: the prompt and what follows it are longer than the model's context.
        """
        ids = self.encode_whole(prompt)
        if self.context is not None and len(ids) + room > self.context:
            raise EngineError(
                f"a prompt of {len(ids)} tokens with an answer of {room}",
                expected=f"at most {self.context} together, the context of {self.name}",
                cure="shorten the history or rank fewer candidates at once",
            )
        return ids

    def encode_whole(self, prompt: Prompt) -> list[int]:
        """Return the token ids of a prompt, never none, however many they are."""
        special = not self.tokenizer.chat_template
        ids: list[int] = self.tokenizer(self.render(prompt), add_special_tokens=special).input_ids
        # A model without BOS, asked without a word: something must be there to continue.
        return ids or [self.tokenizer.eos_token_id]

    def encode_answers(self, prompt: Prompt, answers: Sequence[str]) -> list[list[int]]:
        """Return the token ids of each answer as they stand behind the prompt.

        The end of the prompt is tokenised with each answer, since some tokenizers put a space before whatever begins a
        text. Where a token spans both (a prompt that ends with a space), the answer is tokenised by itself: end prompts
        without a space, and begin answers with one or after a line break.

        Raises:
            EngineError: an answer is empty.
        """
        if not answers:
            return []
        anchor = self.render(prompt)[-_ANCHOR:]
        plain = list(map(self.plain, answers))
        alone, *together = self._ids([anchor, *(anchor + answer for answer in plain)])
        by_itself = self._ids(plain)
        texts = [
            ids[len(alone) :] if ids[: len(alone)] == alone else fallback
            for ids, fallback in zip(together, by_itself, strict=True)
        ]
        if not all(texts):
            raise EngineError("an empty answer", expected="text to score", cure="drop candidates without a title")
        return texts

    def _ids(self, texts: Sequence[str]) -> list[list[int]]:
        ids: list[list[int]] = self.tokenizer(list(texts), add_special_tokens=False).input_ids
        return ids


def _special_tokens(tokenizer: Any) -> re.Pattern[str]:  # noqa: ANN401
    """Return what finds special tokens in a text, and others that the chat template is written with (``<think>``)."""
    template = str(tokenizer.chat_template or "")
    by_first: dict[str, list[str]] = {}
    for token in tokenizer.added_tokens_decoder.values():
        text = token.content.strip()
        if text and (token.special or (len(text) > 1 and token.content in template)):
            # One that is looked for in normalised text may be found in other letters too.
            rest = f"(?i:{re.escape(text[1:])})" if token.normalized else re.escape(text[1:])
            for first in {text[0], text[0].upper(), text[0].lower()} if token.normalized else {text[0]}:
                by_first.setdefault(first, []).append(rest)
    # By first characters: a vocabulary may have thousands, and texts have few places where one can begin.
    return re.compile(
        "|".join(
            f"{re.escape(first)}(?:{'|'.join(sorted(rests, key=len, reverse=True))})"
            for first, rests in by_first.items()
        )
        or _NEVER
    )


def unreadable(name: str, error: Exception) -> ModelError:
    """Return the error for a model that transformers or vLLM cannot read."""
    return ModelError(
        f"model {name!r} cannot be loaded ({(str(error).splitlines() or ['no reason given'])[0]})",
        expected="a causal language model in the Hugging Face format",
        cure="check the name, the network and the files",
    )
