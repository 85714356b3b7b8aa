"""The transformers engine: a laptop or one GPU, exact log-probabilities, a prompt computed once for all its answers."""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from transformers import AutoModelForCausalLM

from llmrec.config import Config
from llmrec.errors import require
from llmrec.llm.adapters import Adapter, resolve_adapter, unfit
from llmrec.llm.device import choose_device, choose_dtype
from llmrec.llm.models import EMBEDDED_MODEL, model_identity, resolve_model
from llmrec.llm.permutation import require_single_tokens
from llmrec.llm.sampling import PermutationOnly, SeededSampling, StopAtText, cut_at_stop
from llmrec.llm.shared_prefix import SharedPrefixScorer, left_pad
from llmrec.llm.token_groups import group_prompts
from llmrec.llm.tokens import LOADING_ERRORS, PromptTokenizer, unreadable
from llmrec.protocols import Completion, FloatArray, Prompt, Sampling, Usage


class TransformersConfig(Config):
    """How the transformers engine runs."""

    model: str = EMBEDDED_MODEL
    """The embedded model, a folder or a hub name."""
    adapter: str | None = None
    """Folder of a LoRA adapter, or null for the plain model."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "float32"
    """Number format of weights and arithmetic (log-probabilities are always summed in float32); ``auto`` takes bfloat16
    where the processor or GPU computes in it, several times faster and exact to about two digits."""
    device: str = "auto"
    """``cpu``, ``cuda``, ``mps``; ``auto`` takes a GPU where there is one."""
    batch_tokens: int = 8192
    """Upper bound of rows x length in one forward pass; more needs more memory."""


class TransformersEngine:
    """A causal language model through transformers.

    ``logprobs`` computes what neighbouring prompts and their answers share once (see ``llmrec.llm.shared_prefix``), in
    batches of like length. Weights are loaded at first use: counting tokens, or finding every answer in a cache,
    needs none.

    Args:
        config: model, adapter, number format, device, batch size.

    Raises:
        ModelError: the model or the adapter cannot be loaded, or they do not fit each other.
        MissingPackageError: there is an adapter, and peft is not installed.
        EngineError: a prompt with its answer is longer than the model's context, or an answer is empty.
    """

    config_class = TransformersConfig

    def __init__(self, config: TransformersConfig | None = None) -> None:
        self.config = config or TransformersConfig()
        self.name = resolve_model(self.config.model)
        self.tokens = PromptTokenizer(self.name)
        self.usage = Usage()
        self.device = choose_device(self.config.device)
        self.dtype = choose_dtype(self.config.dtype, self.device)
        self._identity = f"transformers/{self.dtype}/{model_identity(self.name)}"
        self._adapter = resolve_adapter(self.config.adapter, self.name) if self.config.adapter is not None else None
        if self._adapter is not None:
            self._peft: Any = require("peft", extra="train", purpose="LoRA adapters")
            self._identity += f"+{self._adapter.identity}"

    @property
    def identity(self) -> str:
        """Engine, number format, model and a digest of its weights, the adapter's likewise."""
        return self._identity

    @property
    def context(self) -> int | None:
        """Tokens of the longest prompt with its answer."""
        return self.tokens.context

    @cached_property
    @torch.inference_mode(mode=False)  # first use may be inside inference mode, whose tensors nothing else can use
    def model(self) -> Any:  # noqa: ANN401 - transformers' models are untyped
        """The loaded model."""
        try:
            model: Any = AutoModelForCausalLM.from_pretrained(self.name, dtype=getattr(torch, self.dtype))
        except LOADING_ERRORS as error:
            raise unreadable(self.name, error) from error
        model = model.to(self.device)
        model.get_output_embeddings().register_forward_pre_hook(_in_one_piece)
        return (model if self._adapter is None else self._adapted(model, self._adapter)).eval()

    def _adapted(self, model: Any, adapter: Adapter) -> Any:  # noqa: ANN401 - as above
        """Return a model with its adapter, merged into the weights where that changes no score.

        In float32 merged and unmerged differ by 1e-5 at most, as much as either from float64. Half formats round merged
        weights, which alone costs between 1 % of the adapter's effect and nearly all of it, the smaller it is; there
        both matrices stay beside the layers, for half more time. A head that shares its weights with the embeddings
        cannot be merged either.
        """
        head = model.get_output_embeddings()
        try:
            with warnings.catch_warnings():
                # What a file lacks would be drawn at random.
                warnings.filterwarnings("error", message="Found missing adapter keys")
                warnings.filterwarnings("ignore", message="Model (has|with) `tie_word_embeddings=True`")
                tuned = self._peft.PeftModel.from_pretrained(model, adapter.folder, torch_device=self.device)
            if self.dtype == "float32" and tuned.get_output_embeddings() is head:
                return tuned.merge_and_unload(safe_merge=True)
        except (*LOADING_ERRORS, UserWarning) as error:
            raise unfit(adapter, self.name, error) from error
        return tuned.get_base_model()

    @cached_property
    def _scorer(self) -> SharedPrefixScorer:
        return SharedPrefixScorer(self.model, self.config.batch_tokens)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return how many tokens each text has, special ones left out."""
        return self.tokens.count(texts)

    @torch.inference_mode()
    def logprobs(self, prompts: Sequence[Prompt], answers: Sequence[Sequence[str]]) -> list[FloatArray]:
        """Return the summed natural log-probability of each answer after its prompt, float32 (n_answers,) a prompt."""
        start = time.perf_counter()
        tails = [self.tokens.encode_answers(prompt, row) for prompt, row in zip(prompts, answers, strict=True)]
        encoded = [
            self.tokens.encode(prompt, room=max(map(len, row), default=0))
            for prompt, row in zip(prompts, tails, strict=True)
        ]
        groups = group_prompts(encoded, tails)
        scores = [np.zeros(len(row), np.float64) for row in tails]
        if groups:
            self._scorer.score(groups, scores)
        self.usage += Usage(
            prompts=len(prompts),
            prompt_tokens=sum(group.prompt_tokens for group in groups),
            output_tokens=sum(group.answer_tokens for group in groups),
            submitted_tokens=sum(
                len(ids) + len(answer) for ids, row in zip(encoded, tails, strict=True) for answer in row
            ),
            cache_misses=sum(map(len, scores)),
            seconds=time.perf_counter() - start,
        )
        return [row.astype(np.float32) for row in scores]

    @torch.inference_mode()
    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[Completion]:
        """Return one completion for each prompt; the seed draws each prompt's text whatever batch it is in."""
        start = time.perf_counter()
        room = len(sampling.permutation) or sampling.max_tokens
        encoded = [self.tokens.encode(prompt, room=room) for prompt in prompts]
        pieces = self._permutations(prompts, sampling.permutation)
        order = sorted(range(len(prompts)), key=lambda row: len(encoded[row]))
        found: dict[int, Completion] = {}
        while order:
            longest = len(encoded[order[-1]]) + room
            size = max(1, self.config.batch_tokens // longest)
            batch, order = order[-size:], order[:-size]
            rows = [encoded[row] for row in batch]
            if pieces:
                texts = self._permute_batch(rows, [pieces[row] for row in batch], sampling)
            else:
                texts = self._generate_batch(rows, sampling)
            found.update(zip(batch, texts, strict=True))
        completions = [found[row] for row in range(len(prompts))]
        self.usage += Usage(
            prompts=len(prompts),
            prompt_tokens=sum(one.prompt_tokens for one in completions),
            output_tokens=sum(one.output_tokens for one in completions),
            submitted_tokens=sum(one.prompt_tokens + one.output_tokens for one in completions),
            cache_misses=len(prompts),
            seconds=time.perf_counter() - start,
        )
        return completions

    def _permutations(self, prompts: Sequence[Prompt], permutation: tuple[str, ...]) -> list[list[int]]:
        """Return the tokens of a permutation behind each prompt; none where free text is asked for."""
        if not permutation:
            return []
        return [
            require_single_tokens(permutation, self.tokens.encode_answers(prompt, permutation), self.identity)
            for prompt in prompts
        ]

    def _permute_batch(self, batch: list[list[int]], pieces: list[list[int]], sampling: Sampling) -> list[Completion]:
        tokens = torch.tensor(pieces, device=self.model.device)
        only = PermutationOnly(tokens, max(map(len, batch)))
        rows = self._write(batch, sampling, len(sampling.permutation), 0, [only], [])
        return [
            Completion("".join(sampling.permutation[piece.index(token)] for token in row), len(prompt), len(row))
            for prompt, piece, row in zip(batch, pieces, rows, strict=True)
        ]

    def _write(
        self, batch: list[list[int]], sampling: Sampling, room: int, padding: int, only: list[Any], stop: list[Any]
    ) -> list[list[int]]:
        """Return the new tokens of each row, padded behind its end."""
        ids, mask = left_pad(batch, self.model.device)
        output = self.model.generate(
            input_ids=ids,
            attention_mask=mask,
            max_new_tokens=room,
            do_sample=False,
            temperature=None,
            top_p=None,
            top_k=None,
            pad_token_id=padding,
            logits_processor=only + ([SeededSampling(sampling, batch)] if sampling.temperature > 0 else []),
            stopping_criteria=stop,
        )
        rows: list[list[int]] = output[:, ids.shape[1] :].tolist()
        return rows

    def _generate_batch(self, batch: list[list[int]], sampling: Sampling) -> list[Completion]:
        tokenizer = self.tokens.tokenizer
        end = self.model.generation_config.eos_token_id
        ends = set(end) if isinstance(end, list) else {end} - {None}
        padding = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else min(ends, default=0)
        stop = [StopAtText(tokenizer, sampling.stop, max(map(len, batch)))] if sampling.stop else []
        completions = []
        for prompt, row in zip(
            batch, self._write(batch, sampling, sampling.max_tokens, padding, [], stop), strict=True
        ):
            ended = next((place for place, token in enumerate(row) if token in ends), None)
            new = row if ended is None else row[:ended]
            text, stopped = cut_at_stop(tokenizer.decode(new, skip_special_tokens=True), sampling.stop)
            while stopped and new and new[-1] == padding:  # padded until the longest row of the batch was done
                new.pop()
            finish: Literal["stop", "length"] = "stop" if stopped or ended is not None else "length"
            completions.append(Completion(text, len(prompt), len(new), finish))
        return completions


def _in_one_piece(_: object, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    """Copy the hidden states that a head is given where they are a slice, as the last positions of a batch are.

    For a slice torch multiplies row by row where weights are frozen, as an adapter's base is, and in bfloat16 it copies
    the head for each row: 15 of the 19 seconds of a batch of 8 prompts, with a vocabulary of 262,144 words.
    """
    return tuple(each.contiguous() for each in inputs)
