"""The model that is tuned: its base loaded, if memory allows, and an adapter put on it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import psutil
import torch
from accelerate import PartialState
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, BitsAndBytesConfig

from llmrec.data.files import atomic_folder, write_json
from llmrec.errors import ConfigError, ModelError, require
from llmrec.llm.adapters import resolve_adapter, unfit, write_adapter_base
from llmrec.llm.device import choose_device, choose_dtype
from llmrec.llm.models import resolve_model
from llmrec.llm.tokens import LOADING_ERRORS, PromptTokenizer, unreadable
from llmrec.train.packages import peft
from llmrec.train.processes import processes_here, whole
from llmrec.train.recipe import LoraRecipe, RunRecipe

_BYTES = {"float32": 4.0, "bfloat16": 2.0}
_QUANTIZED_BYTES = 0.6
"""A weight in 4 bits with its scales, embeddings apart."""
_ROOM = 1.2
"""What loading takes beside the weights themselves."""
SCALAR_HEAD = "score"
"""What transformers calls the head that gives a text one number; peft saves it with the adapter."""


def require_base(recipe: RunRecipe) -> None:
    """Raise an error where the base model would not load or fit; of several processes all ask before one loads it.

    Raises:
        ModelError: it would not fit into memory, or its files are damaged.
        ConfigError: a GPU is asked for and there is none, or there are several for one process; ``quantize`` on a CPU.
        MissingPackageError: ``quantize`` without bitsandbytes.
    """
    device = choose_device(recipe.device)
    if recipe.quantize and device == "cpu":
        raise ConfigError(
            "quantize = true on a CPU",
            # bitsandbytes repacks weights for inference when validation begins: gradients are wrong from then on.
            expected="a GPU, where alone 4 bits learn",
            cure="write quantize: false; dtype: bfloat16 halves the memory on a CPU",
        )
    if recipe.quantize:
        require("bitsandbytes", extra="qlora", purpose="quantize = true")
    require_gpu(device)
    bytes_each = _QUANTIZED_BYTES if recipe.quantize else _BYTES[choose_dtype(recipe.dtype, device)]
    require_memory(resolve_model(recipe.model), bytes_each, device)


def load_base(recipe: RunRecipe, *, scalar: bool = False) -> Any:  # noqa: ANN401 - transformers' models are untyped
    """Return the base model, frozen, on its device; ``require_base`` says whether it can be.

    Args:
        recipe: the run's.
        scalar: with a new head that gives a text one number, in place of the one that gives each token its logits.

    Raises:
        ModelError: it cannot be loaded.
    """
    name, device = resolve_model(recipe.model), choose_device(recipe.device)
    dtype = choose_dtype(recipe.dtype, device)
    quantized = _four_bits(dtype, scalar=scalar) if recipe.quantize else None
    kind: Any = AutoModelForSequenceClassification if scalar else AutoModelForCausalLM
    try:
        model: Any = kind.from_pretrained(
            name,
            **({"num_labels": 1} if scalar else {}),
            dtype=getattr(torch, dtype),
            quantization_config=quantized,
            device_map={"": device} if quantized else None,
        )
    except LOADING_ERRORS as error:
        raise unreadable(name, error) from error
    if quantized:
        return peft.prepare_model_for_kbit_training(model, use_gradient_checkpointing=recipe.gradient_checkpointing)
    return model.to(device)


def _four_bits(dtype: str, *, scalar: bool) -> BitsAndBytesConfig:
    return BitsAndBytesConfig(  # type: ignore[no-untyped-call]
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=getattr(torch, dtype),
        llm_int8_skip_modules=[SCALAR_HEAD] if scalar else None,
    )


def require_gpu(device: str) -> None:
    """Raise a ConfigError unless a GPU that is asked for is there, and this process has it alone."""
    if not device.startswith("cuda"):
        return
    if not torch.cuda.is_available():
        raise ConfigError(
            f"device = {device!r} without a GPU", expected="one that torch sees", cure="write device: auto"
        )
    if (n := torch.cuda.device_count()) > 1 and PartialState().num_processes == 1:
        raise ConfigError(
            f"{n} GPUs and one process",
            expected="a process for each GPU",
            cure="start it with accelerate launch (configs/accelerate/), or set CUDA_VISIBLE_DEVICES=0",
        )


def require_memory(name: str, bytes_each: float, device: str) -> None:
    """Raise a ModelError where a model's weights would not fit into free memory; a hub name is not looked into.

    On a CPU the processes of one machine load a copy each into the same memory; a GPU has one process, which loads the
    whole model before FSDP shares it out.

    Raises:
        ModelError: so they would not, or their files are damaged.
    """
    try:
        parameters = count_parameters(Path(name))
    except LOADING_ERRORS as error:
        raise unreadable(name, error) from error
    if device.startswith("cuda"):
        copies, free = 1, float(torch.cuda.mem_get_info(device)[0])
    else:
        copies, free = processes_here(), float(psutil.virtual_memory().available)
    needed = parameters * bytes_each * _ROOM * copies
    if needed > free:
        shared, fewer = (f" in {copies} processes", "fewer processes, ") if copies > 1 else ("", "")
        raise ModelError(
            f"model {name!r} of {parameters / 1e9:.1f} billion parameters needs about {needed / 1e9:.1f} GB{shared}",
            expected=f"at most the {free / 1e9:.1f} GB that are free on {device}",
            cure=f"take {fewer}a smaller model, dtype=bfloat16, quantize=true, or a machine with more memory",
        )


def count_parameters(folder: Path) -> int:
    """Return how many numbers a folder's safetensors hold; their headers say it."""
    total = 0
    for path in folder.glob("*.safetensors"):
        with safe_open(path, framework="pt") as file:
            total += sum(math.prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118 - no mapping
    return total


def add_adapter(
    model: Any,  # noqa: ANN401
    lora: LoraRecipe,
    start: Path | None,
    *,
    scalar: bool = False,
) -> Any:  # noqa: ANN401
    """Return the model with an adapter that learns: a new one that changes nothing yet, or the one saved at ``start``.

    Args:
        model: the base.
        lora: the adapter's shape.
        start: where to begin, or None.
        scalar: the base gives a text one number; its head learns too.

    Raises:
        ModelError: the model has no layer of a name in ``targets``.
    """
    if start is not None:
        return peft.PeftModel.from_pretrained(model, start, is_trainable=True)
    config = peft.LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=list(lora.targets) or "all-linear",
        task_type="SEQ_CLS" if scalar else "CAUSAL_LM",
        modules_to_save=[SCALAR_HEAD] if scalar else None,
    )
    try:
        return peft.get_peft_model(model, config)
    except ValueError as error:
        raise ModelError(
            f"targets {', '.join(lora.targets)} ({str(error).splitlines()[0]})",
            expected="names of the model's linear layers",
            cure="write targets: [] for all of them, or name them as the model does",
        ) from None


def save_adapter(
    model: Any,  # noqa: ANN401
    folder: Path,
    base: str,
    files: Mapping[str, object] = MappingProxyType({}),
) -> None:
    """Write an adapter as safetensors, and which model it is for, whole or not at all; every process must call.

    Args:
        model: with the adapter.
        folder: to write.
        base: the model that the adapter is for.
        files: what else is to lie there as JSON, by name.
    """
    weights = {name: whole(weight) for name, weight in model.named_parameters() if _is_learnt(name)}
    if not PartialState().is_main_process:
        return
    with atomic_folder(folder) as temporary:
        model.save_pretrained(temporary, state_dict=weights, selected_adapters=[model.active_adapter])
        write_adapter_base(temporary, base)
        for name, values in files.items():
            write_json(temporary / name, values)


def _is_learnt(name: str) -> bool:
    return "lora_" in name or "modules_to_save" in name


def merge(adapter: Path, out: Path, model: str) -> None:
    """Write the full model that a base and its adapter make, in float32: half formats would round off what was learnt.

    Args:
        adapter: folder of the adapter.
        out: model folder to write.
        model: the base: embedded name, folder or hub name.

    Raises:
        ModelError: the adapter or the base cannot be used, or they do not belong together.
    """
    name = resolve_model(model)
    found = resolve_adapter(str(adapter), name)
    tokenizer = PromptTokenizer(name).tokenizer
    try:
        base: Any = AutoModelForCausalLM.from_pretrained(name, dtype=torch.float32)
    except LOADING_ERRORS as error:
        raise unreadable(name, error) from error
    try:
        tuned = peft.PeftModel.from_pretrained(base, found.folder)
        merged = tuned.merge_and_unload(safe_merge=True)
    except LOADING_ERRORS as error:
        raise unfit(found, name, error) from error
    with atomic_folder(out) as temporary:
        merged.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
