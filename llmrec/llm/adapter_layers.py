"""Whether a LoRA adapter's weights fit the layers of a model, which is built without weights to see."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.pytorch_utils import Conv1D

from llmrec.errors import ModelError
from llmrec.llm.tokens import LOADING_ERRORS, unreadable

_PREFIX, _SUFFIXES = "base_model.model.", (".lora_A.weight", ".lora_B.weight")


@dataclass(frozen=True, slots=True)
class Pair:
    """The shapes of one layer's two matrices: A is (rank, inputs), B is (outputs, rank).

    Attributes:
        inputs: numbers that the layer reads.
        outputs: numbers that it gives.
        rank: of the change to its weights.
    """

    inputs: int
    outputs: int
    rank: int


def read_pairs(folder: Path, tensors: Mapping[str, torch.Tensor]) -> dict[str, Pair]:
    """Return the pairs of an adapter by the name of their layer.

    Raises:
        ModelError: there is none, half of one, or something else.
    """
    shapes: dict[str, dict[str, torch.Size]] = {}
    for name, tensor in tensors.items():
        suffix = next((end for end in _SUFFIXES if name.endswith(end)), None)
        if suffix is None or not name.startswith(_PREFIX) or tensor.ndim != 2:
            raise ModelError(
                f"adapter {str(folder)!r} holds {name}",
                expected="lora_A and lora_B of linear layers alone",
                cure="merge it into its model with peft and name the merged folder as the model",
            )
        shapes.setdefault(name[len(_PREFIX) : -len(suffix)], {})[suffix] = tensor.shape
    whole = {layer: pair for layer, pair in shapes.items() if _is_whole(pair)}
    if not shapes or len(whole) < len(shapes):
        broken = next((layer for layer in shapes if layer not in whole), None)
        raise ModelError(
            f"adapter {str(folder)!r} holds {'no weights' if broken is None else f'half a pair for {broken}'}",
            expected="lora_A (rank, inputs) and lora_B (outputs, rank) for each of its layers",
            cure="copy it again, or save it again",
        )
    first, second = _SUFFIXES
    return {layer: Pair(pair[first][1], pair[second][0], pair[first][0]) for layer, pair in whole.items()}


def require_layers(folder: Path, pairs: Mapping[str, Pair], model: str) -> None:
    """Check that a model has each layer of an adapter, as wide as the adapter's weights are.

    Raises:
        ModelError: it has not, or the model cannot be built.
    """
    layers = _linear_layers(model)
    for name, pair in pairs.items():
        wide = layers.get(name)
        if wide != (pair.inputs, pair.outputs):
            found = "there is none" if wide is None else f"it has {wide[0]} inputs and {wide[1]} outputs"
            raise ModelError(
                f"adapter {str(folder)!r} changes a linear layer {name} with {pair.inputs} inputs and {pair.outputs} "
                f"outputs, and in model {model!r} {found}",
                expected="an adapter made for this model",
                cure="name the model that it was trained on",
            )


def _is_whole(pair: Mapping[str, torch.Size]) -> bool:
    first, second = (pair.get(suffix) for suffix in _SUFFIXES)
    return first is not None and second is not None and first[0] == second[1] > 0


def _linear_layers(model: str) -> dict[str, tuple[int, int]]:
    """Return inputs and outputs of each linear layer of a model."""
    kind: Any = AutoModelForCausalLM
    try:
        with torch.device("meta"):  # shapes without memory
            built = kind.from_config(AutoConfig.from_pretrained(model))
    except LOADING_ERRORS as error:
        raise unreadable(model, error) from error
    layers = {}
    for name, module in built.named_modules():
        if isinstance(module, torch.nn.Linear):
            layers[name] = module.in_features, module.out_features
        elif isinstance(module, Conv1D):
            layers[name] = module.nx, module.nf
    return layers
