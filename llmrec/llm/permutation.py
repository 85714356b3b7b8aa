"""Answers that are a permutation of given texts: what engines need for ``Sampling.permutation``."""

from __future__ import annotations

from collections.abc import Sequence

from llmrec.errors import EngineError
from llmrec.protocols import Sampling


def refuse_permutation(sampling: Sampling, identity: str) -> None:
    """Raise an EngineError if a permutation is asked for, in an engine that cannot keep to it."""
    if sampling.permutation:
        raise EngineError(
            f"a permutation of {len(sampling.permutation)} texts from {identity}",
            expected="an engine that can be held to it: transformers, vllm or fake",
            cure="choose one of these, or constrained = false",
        )


def require_single_tokens(permutation: Sequence[str], answers: Sequence[Sequence[int]], identity: str) -> list[int]:
    """Return the token of each text of a permutation.

    Args:
        permutation: the texts.
        answers: the tokens of each behind its prompt.
        identity: the engine's name, for messages.

    Raises:
        EngineError: a text is several tokens, or two are the same one.
    """
    tokens = [ids[0] for ids in answers]
    if any(len(ids) != 1 for ids in answers) or len(set(tokens)) < len(tokens):
        raise EngineError(
            f"a permutation of {', '.join(map(repr, permutation))}",
            expected=f"texts that are one token each for {identity}, no two the same",
            cure="choose other labels, with or without the space before them (continuation)",
        )
    return tokens
