"""The training loop of torch models: early stopping, checkpoints, mixed precision, several processes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from pydantic import Field
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from llmrec.config import Config
from llmrec.data.files import atomic_file
from llmrec.errors import ModelError
from llmrec.protocols import Watch

Batch = Mapping[str, NDArray[Any]]
STATE = "state.safetensors"


class TrainingConfig(Config):
    """What the training loop reads; the configs of torch models derive from it."""

    epochs: int = Field(50, ge=1)
    """Passes over the training data, at most."""
    batch_size: int = Field(128, ge=1)
    """Rows of a step, over all processes and parts together."""
    learning_rate: float = Field(1e-3, gt=0)
    """Step size of AdamW."""
    weight_decay: float = Field(0.0, ge=0)
    """AdamW's pull towards zero."""
    accumulation: int = Field(1, ge=1)
    """Parts that a step is computed in one after the other, to save memory."""
    patience: int = Field(5, ge=1)
    """Epochs without a better validation value before training stops; the best epoch's weights are kept."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of the forward pass; auto is bfloat16 on a GPU and float32 on a CPU."""


class Batches(Protocol):
    """What an epoch consists of."""

    @property
    def steps(self) -> int:
        """Batches of an epoch."""
        ...

    def epoch(self, rng: np.random.Generator) -> Iterator[Batch]:
        """Yield dictionaries of arrays whose first axis is the rows of the batch; all draws come from ``rng``."""
        ...


@dataclass
class Log:
    """What was seen after each epoch.

    Attributes:
        losses: mean training loss.
        values: what validation measured, larger is better; empty without validation.
    """

    losses: list[float] = field(default_factory=list)
    values: list[float] = field(default_factory=list)

    @property
    def best(self) -> int:
        """Number of the best epoch, from 0: the first with the highest value, or the last without validation."""
        return int(np.argmax(self.values)) if self.values else len(self.losses) - 1

    def done(self, config: TrainingConfig) -> bool:
        """Return whether nothing is left to do."""
        waited = bool(self.values) and len(self.values) - 1 - self.best >= config.patience
        return waited or len(self.losses) >= config.epochs


def train(
    module: nn.Module,
    batches: Batches,
    config: TrainingConfig,
    *,
    seed: int,
    watch: Watch,
    measure: Callable[[], float] | None = None,
    identity: Mapping[str, object] | None = None,
    metric: str = "NDCG@10",
) -> Log:
    """Train ``module`` in place, leave it with the best epoch's weights, and return what was seen.

    ``module(batch)`` returns the sum of its losses and how many there were, so that a batch gives the same gradient
    whole, in ``accumulation`` parts, or spread over the processes of ``accelerate launch``. The draws of an epoch
    depend on the seed and its number only: a killed run that resumes ends with the numbers of one that was not.

    Args:
        module: takes a dictionary of tensors, returns (sum, count).
        batches: what an epoch consists of.
        config: how to train.
        seed: of everything random.
        watch: checkpoint folder and progress; its validation part is ``measure``'s business.
        measure: called after each epoch; larger is better. None trains for all epochs.
        identity: what a checkpoint must belong to, beside the config: model, data, seed.
        metric: what ``measure`` returns, for the line of progress.

    Raises:
        ModelError: the loss is not finite, or the checkpoint is damaged or of another run.
    """
    accelerator = Accelerator()
    optimizer = torch.optim.AdamW(
        module.to(accelerator.device).parameters(), config.learning_rate, weight_decay=config.weight_decay, fused=True
    )
    run = _Run(accelerator, module, accelerator.prepare_model(module), optimizer, config, watch, metric)
    about = {**(identity or {}), "seed": seed, "config": config.model_dump(mode="json", exclude={"epochs", "patience"})}
    log, best = _resume(run, about)
    with torch.random.fork_rng():
        while not log.done(config):
            epoch = len(log.losses)
            torch.manual_seed(seed + 1_000_003 * (epoch + 1))
            log.losses.append(run.epoch(batches, np.random.default_rng([seed, epoch]), epoch, log))
            if measure is not None:
                module.eval()
                log.values.append(measure())
            if log.best == epoch:
                best = {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}
            if watch.checkpoint is not None and accelerator.is_main_process:
                _save(watch.checkpoint / STATE, run, best, {**about, "log": asdict(log)})
    module.load_state_dict(best)
    module.eval()
    return log


@dataclass
class _Run:
    """The parts of one training run; ``wrapped`` is the module as several processes share it."""

    accelerator: Accelerator
    module: nn.Module
    wrapped: nn.Module
    optimizer: torch.optim.Optimizer
    config: TrainingConfig
    watch: Watch
    metric: str

    def epoch(self, batches: Batches, rng: np.random.Generator, epoch: int, log: Log) -> float:
        """Take one pass and return its mean loss."""
        self.module.train()
        total, count = 0.0, 0.0
        for step, batch in enumerate(batches.epoch(rng)):
            loss, terms = self._step(batch)
            total, count = total + loss, count + terms
            if not np.isfinite(loss):
                raise ModelError(
                    f"a loss of {loss} in epoch {epoch + 1}, step {step + 1}",
                    expected="a finite loss",
                    cure=f"lower learning_rate (now {self.config.learning_rate:g}), or use precision=float32",
                )
            if self.watch.report is not None and self.accelerator.is_main_process:
                seen = f", validation {self.metric} {log.values[-1]:.4f}" if log.values else ""
                text = f"epoch {epoch + 1} of at most {self.config.epochs}, loss {total / max(count, 1):.4f}{seen}"
                self.watch.report(epoch * batches.steps + step + 1, self.config.epochs * batches.steps, text)
        return total / max(count, 1)

    def _step(self, batch: Batch) -> tuple[float, float]:
        """Take one step and return the sum of its losses and their number, over all processes."""
        accelerator, parts = self.accelerator, self.config.accumulation
        sums = torch.zeros(2, dtype=torch.float64, device=accelerator.device)
        bfloat16 = self.config.precision == "bfloat16" or (
            self.config.precision == "auto" and accelerator.device.type == "cuda"
        )
        every = accelerator.num_processes * parts
        for part in range(parts):
            mine = slice(accelerator.process_index * parts + part, None, every)
            tensors = {name: torch.from_numpy(array[mine]).to(accelerator.device) for name, array in batch.items()}
            with torch.autocast(accelerator.device.type, torch.bfloat16, enabled=bfloat16):
                loss, terms = self.wrapped(tensors)
            accelerator.backward(loss)
            sums += torch.stack([loss.detach().double(), terms.detach().double()])
        sums = accelerator.reduce(sums, "sum")
        # Processes average their gradients; what is wanted is the mean over all terms of the batch.
        scale = (accelerator.num_processes / sums[1].clamp(min=1)).float()
        torch._foreach_mul_([p.grad for p in self.module.parameters() if p.grad is not None], scale)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return float(sums[0]), float(sums[1])


def _save(path: Path, run: _Run, best: Mapping[str, Tensor], about: Mapping[str, object]) -> None:
    """Write module, best weights and optimiser to one file, whole or not at all."""
    tensors = {f"module.{name}": tensor for name, tensor in run.module.state_dict().items()}
    tensors |= {f"best.{name}": tensor for name, tensor in best.items()}
    for number, slots in run.optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{number}.{slot}": tensor for slot, tensor in slots.items()}
    with atomic_file(path) as temporary:
        kept = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
        save_file(kept, temporary, metadata={"about": json.dumps(about)})


def _resume(run: _Run, about: Mapping[str, object]) -> tuple[Log, dict[str, Tensor]]:
    """Return the log and best weights of the checkpoint, its state put in place; an empty log where there is none."""
    folder = run.watch.checkpoint
    if folder is None or not (folder / STATE).is_file():
        return Log(), {}
    found, tensors = _read(folder / STATE)
    log = Log(**found.pop("log"))
    if found != json.loads(json.dumps(about)):
        different = sorted(key for key in {*found, *about} if found.get(key) != about.get(key))
        raise ModelError(
            f"the checkpoint in {str(folder)!r} differs in {', '.join(different)}",
            expected="a checkpoint of this model, data, seed and config",
            cure="remove that folder to begin anew, or repeat the command that it came from",
        )
    groups: dict[str, dict[str, Tensor]] = {"module": {}, "best": {}, "optimizer": {}}
    for name, tensor in tensors.items():
        group, _, rest = name.partition(".")
        groups[group][rest] = tensor
    run.module.load_state_dict(groups["module"])
    slots: dict[int, dict[str, Tensor]] = {}
    for name, tensor in groups["optimizer"].items():
        number, _, slot = name.partition(".")
        slots.setdefault(int(number), {})[slot] = tensor
    run.optimizer.load_state_dict({**run.optimizer.state_dict(), "state": slots})
    return log, groups["best"]


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    try:
        with safe_open(path, "pt") as file:
            about = json.loads(file.metadata()["about"])
            return about, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"the checkpoint {str(path)!r} cannot be read ({error})",
            expected="a whole checkpoint",
            cure="remove it to begin anew",
        ) from None
