"""LoRA adapters: found, checked against the model they were made for, and named by what is in them.

An adapter is the folder that peft's ``save_pretrained`` writes. What runs on one engine runs on all: pairs of
``lora_A`` and ``lora_B`` for linear layers and nothing else (no whole layers saved beside them, no DoRA, no biases).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from llmrec.data.files import read_json, write_json
from llmrec.errors import DataError, ModelError
from llmrec.llm.adapter_layers import Pair, read_pairs, require_layers
from llmrec.llm.models import model_identity

ADAPTER_BASE = "llmrec.json"
"""The file beside an adapter that says which model it was made for."""
_CONFIG, _WEIGHTS, _PICKLE = "adapter_config.json", "adapter_model.safetensors", "adapter_model.bin"
_NO_ANSWER = frozenset(
    {
        "auto_mapping",
        "base_model_name_or_path",
        "inference_mode",
        "lora_dropout",
        "peft_version",
        "revision",
        "target_modules",  # the weights name their layers; here they are a set, saved in any order
        "task_type",
    }
)
"""Settings of an adapter that change no answer."""


@dataclass(frozen=True, slots=True)
class Adapter:
    """A LoRA adapter that fits its model.

    Attributes:
        folder: where it is, absolute.
        digest: of its weights and of the settings that scale them; its place and its other files do not count.
        rank: the largest of its layers' ranks.
    """

    folder: Path
    digest: str
    rank: int

    @property
    def identity(self) -> str:
        """Its part of an engine's identity."""
        return f"lora@{self.digest}"


def resolve_adapter(adapter: str, model: str) -> Adapter:
    """Return the adapter of a folder, read and checked whole.

    Args:
        adapter: the folder.
        model: what it is to be used with, as ``resolve_model`` returns it.

    Raises:
        ModelError: there is no such folder, a file is missing, damaged or pickled, it is no plain LoRA, a weight is not
            a number, or it was made for another model.
    """
    folder = Path(adapter).expanduser()
    config = _read_config(folder)
    tensors = read_weights(folder)
    require_same_base(folder, model)
    pairs = read_pairs(folder, tensors)
    _require_ranks(folder, config, pairs)
    require_layers(folder, pairs, model)
    return Adapter(folder.resolve(), _digest(config, tensors), max(pair.rank for pair in pairs.values()))


def unfit(adapter: Adapter, model: str, error: Exception) -> ModelError:
    """Return the error for an adapter that peft or vLLM cannot put on a model."""
    return ModelError(
        f"adapter {str(adapter.folder)!r} cannot be put on model {model!r} "
        f"({(str(error).splitlines() or ['no reason given'])[0]})",
        expected="a LoRA adapter made for this model",
        cure="name the model that it was trained on, or merge it into that with peft",
    )


def write_adapter_base(folder: Path, model: str) -> None:
    """Write beside an adapter which model it was made for, for ``resolve_adapter`` to check.

    Args:
        folder: the adapter's folder.
        model: the model that it was trained on, as ``resolve_model`` returns it.
    """
    write_json(folder / ADAPTER_BASE, {"base_model": model_identity(model)})


def _read_config(folder: Path) -> dict[str, Any]:
    if not folder.is_dir():
        raise ModelError(
            f"no folder {str(folder)!r}", expected="the folder of a LoRA adapter", cure="check the path, or download it"
        )
    if not (folder / _CONFIG).is_file():
        raise ModelError(
            f"{str(folder)!r} has no {_CONFIG}",
            expected="a LoRA adapter",
            cure="point at what peft's save_pretrained wrote, or copy the folder again",
        )
    config = _json(folder / _CONFIG)
    kind = config.get("peft_type")
    if kind != "LORA" or config.get("alora_invocation_tokens"):
        raise ModelError(
            f"{str(folder)!r} is an adapter of type {kind if kind != 'LORA' else 'activated LoRA'!r}",
            expected="'LORA'",
            cure="merge it into its model with peft and name the merged folder as the model",
        )
    return config


def read_weights(folder: Path) -> dict[str, torch.Tensor]:
    """Return an adapter's weights.

    Raises:
        ModelError: they are missing, damaged or pickled, or one is not a number.
    """
    path = folder / _WEIGHTS
    if not path.is_file():
        pickled = (folder / _PICKLE).is_file()
        raise ModelError(
            f"{str(folder)!r} has {f'a pickled {_PICKLE}, which can run code, and ' if pickled else ''}no {_WEIGHTS}",
            expected="the adapter's weights as safetensors",
            cure="where you trust it, load it with peft and save it again: save_pretrained writes safetensors"
            if pickled
            else "copy the folder again, or save the adapter again",
        )
    try:
        tensors: dict[str, torch.Tensor] = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelError(
            f"{str(path)!r} cannot be read ({error})", expected="a whole safetensors file", cure="copy it again"
        ) from None
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise ModelError(
                f"{str(path)!r} has NaN or infinity in {name}",
                expected="finite weights",
                cure="the training that wrote it diverged: train again with a smaller learning rate",
            )
    return tensors


def require_same_base(folder: Path, model: str) -> None:
    """Compare what the adapter was made for with the model, where both are known: digest with digest, name with name.

    Somebody else's adapter names no digest, and a hub name has none; whether the layers fit is checked in any case.

    Raises:
        ModelError: they differ.
    """
    path = folder / ADAPTER_BASE
    if not path.is_file():
        return
    made_for, asked = _json(path).get("base_model"), model_identity(model)
    if not isinstance(made_for, str) or not made_for:
        raise ModelError(
            f"{str(path)!r} names no base_model", expected="the model that the adapter was made for", cure="train again"
        )
    (_, one, first), (_, two, second) = made_for.rpartition("@"), asked.rpartition("@")
    if bool(one) == bool(two) and first != second:
        raise ModelError(
            f"adapter {str(folder)!r} was made for model {made_for!r}",
            expected=f"one made for {asked!r}, the model asked",
            cure="name the model that it was trained on, or train an adapter on this one",
        )


def _require_ranks(folder: Path, config: Mapping[str, Any], pairs: Mapping[str, Pair]) -> None:
    """Compare ranks of settings and weights: alpha is divided by the former, the latter is what is multiplied."""
    said = {config.get("r"), *(config.get("rank_pattern") or {}).values()}
    found = {pair.rank for pair in pairs.values()}
    if not found <= said:
        raise ModelError(
            f"{str(folder)!r} holds weights of rank {min(found - said)}",
            expected=f"rank {config.get('r')}, as its {_CONFIG} says",
            cure="copy both files again: they are not of one training",
        )


def _digest(config: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> str:
    """Return a digest of all weights and of each setting that is set and may count."""
    digest = hashlib.blake2b(digest_size=8)
    # Newer versions of peft write new settings, switched off.
    settings = {
        name: value
        for name, value in config.items()
        if name not in _NO_ANSWER and value is not None and value is not False and value not in ({}, [])
    }
    digest.update(json.dumps(settings, sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        digest.update(f"{name}:{tensor.dtype}:{tuple(tensor.shape)}".encode())
        digest.update(tensor.view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _json(path: Path) -> dict[str, Any]:
    try:
        return read_json(path)
    except DataError as error:
        raise ModelError(
            error.found, expected=error.expected, cure="copy the adapter again, it may be cut off"
        ) from None
