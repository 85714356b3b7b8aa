"""Checkpoints of PPO: all that the next step depends on, whole or not there, without pickle."""

from __future__ import annotations

import random
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from safetensors.torch import load_file, save_file

from llmrec.data.files import atomic_folder, read_json, write_json
from llmrec.train.lora import save_adapter
from llmrec.train.packages import peft
from llmrec.train.policy import Policy
from llmrec.train.record import ADAPTER

Log = list[dict[str, Any]]
_STATE, _TENSORS = "state.json", "state.safetensors"
_VALUE, _OPTIMIZER = "value.", "optimizer."


@dataclass(frozen=True, eq=False)
class Progress:
    """How far a run has come; what else a step depends on follows from the seed and the number of the step.

    Attributes:
        step: steps that are done.
        coefficient: price of a nat in the next one.
        log: what was logged.
    """

    step: int
    coefficient: float
    log: Log


def save_state(folder: Path, policy: Policy, optimizer: Any, progress: Progress, base: str) -> None:  # noqa: ANN401
    """Write a checkpoint and remove those before it; every process must call.

    Args:
        folder: of the run's checkpoints.
        policy: adapter (a folder of its own, which any engine takes) and value head.
        optimizer: its moments.
        progress: the rest.
        base: the model that the adapter is for.
    """
    randomness = gather_object([_random_state()])
    path = folder / f"step-{progress.step:06d}"
    if not PartialState().is_main_process:
        save_adapter(policy.model, path, base)
        return
    with atomic_folder(path) as temporary:
        save_adapter(policy.model, temporary / ADAPTER, base)
        save_file(_tensors(policy, optimizer), temporary / _TENSORS)
        values = {"step": progress.step, "coefficient": progress.coefficient, "log": progress.log}
        write_json(temporary / _STATE, {**values, "random": randomness})
    for other in folder.glob("step-*"):
        if other != path:
            shutil.rmtree(other)


def load_state(folder: Path, policy: Policy, optimizer: Any) -> Progress | None:  # noqa: ANN401
    """Put policy, optimizer and random states where the newest checkpoint left them; None where there is none.

    Raises:
        DataError: its file cannot be read.
    """
    path = max(folder.glob("step-*"), default=None)
    if path is None:
        return None
    found, tensors = read_json(path / _STATE), load_file(path / _TENSORS)
    peft.set_peft_model_state_dict(policy.model, load_file(path / ADAPTER / "adapter_model.safetensors"))
    policy.value.load_state_dict(_under(tensors, _VALUE))
    state: dict[int, dict[str, torch.Tensor]] = {}
    for name, tensor in _under(tensors, _OPTIMIZER).items():
        number, _, key = name.partition(".")
        state.setdefault(int(number), {})[key] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    if len(found["random"]) == PartialState().num_processes:
        _set_random_state(found["random"][PartialState().process_index])
    return Progress(found["step"], found["coefficient"], found["log"])


def _tensors(policy: Policy, optimizer: Any) -> dict[str, torch.Tensor]:  # noqa: ANN401
    found = {f"{_VALUE}{name}": tensor for name, tensor in policy.value.state_dict().items()}
    for number, state in optimizer.state_dict()["state"].items():
        found |= {f"{_OPTIMIZER}{number}.{key}": tensor.contiguous() for key, tensor in state.items()}
    return found


def _under(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _random_state() -> dict[str, Any]:
    """Return where the generators of this process are, as JSON; PPO asks none of them, but a reward may."""
    version, numbers, spare = random.getstate()
    numpy = np.random.get_state(legacy=False)  # noqa: NPY002 - a reward may ask the global one
    on_gpu = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {
        "python": [version, list(numbers), spare],
        "numpy": {**numpy, "state": {"key": numpy["state"]["key"].tolist(), "pos": numpy["state"]["pos"]}},
        "torch": bytes(torch.get_rng_state().tolist()).hex(),
        "cuda": [bytes(state.tolist()).hex() for state in on_gpu],
    }


def _set_random_state(found: dict[str, Any]) -> None:
    version, numbers, spare = found["python"]
    random.setstate((version, tuple(numbers), spare))
    state = found["numpy"]
    np.random.set_state({**state, "state": {**state["state"], "key": np.array(state["state"]["key"], np.uint32)}})  # noqa: NPY002
    torch.set_rng_state(_bytes(found["torch"]))
    if found["cuda"] and torch.cuda.device_count() == len(found["cuda"]):
        torch.cuda.set_rng_state_all(list(map(_bytes, found["cuda"])))


def _bytes(text: str) -> torch.Tensor:
    return torch.tensor(list(bytes.fromhex(text)), dtype=torch.uint8)
