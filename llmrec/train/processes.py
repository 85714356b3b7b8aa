"""Several processes of one run, as ``accelerate launch`` starts them: joined, in agreement on errors, sharing rows."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from accelerate import PartialState
from accelerate.utils import parse_flag_from_env
from accelerate.utils.environment import get_cpu_distributed_information
from numpy.typing import NDArray
from torch import distributed
from torch.distributed.tensor import DTensor

from llmrec.errors import ConfigError, LlmrecError
from llmrec.llm.device import choose_device

_UNTIL_SAID = 1.0
"""Seconds that a process lives on after another one's error: the launcher ends all with the first that goes."""


def join(device: str) -> PartialState:
    """Join the processes that were launched together, one where none were; a GPU each, or all on the CPU.

    Raises:
        ConfigError: FSDP on a CPU, where accelerate would let each process train alone.
    """
    cpu = choose_device(device) == "cpu"
    state = PartialState(cpu=cpu)
    with together():
        if cpu and parse_flag_from_env("ACCELERATE_USE_FSDP"):
            raise ConfigError(
                "FSDP on a CPU", expected="a GPU for each process", cure="launch with configs/accelerate/ddp-cpu.yaml"
            )
    return state


def is_first() -> bool:
    """Return whether this is the process that reports and writes, also before processes are joined."""
    return os.environ.get("RANK", "0") == "0"


def processes_here() -> int:
    """Return how many processes were launched together on this machine."""
    return int(get_cpu_distributed_information().local_world_size)


@contextmanager
def one_voice() -> Iterator[None]:
    """Let an error that all processes make be said by the first of each machine; the others end silently."""
    try:
        yield
    except LlmrecError as error:
        if os.environ.get("LOCAL_RANK", "0") != "0":
            _end_silently(error)
        raise


@contextmanager
def together() -> Iterator[None]:
    """Let an error of one process end all: the first that has one raises it, the others end silently.

    Every process must come here. Without it those that have no error would wait for ever for one that is gone.
    """
    error: LlmrecError | None = None
    try:
        yield
    except LlmrecError as found:
        error = found
    state = PartialState()
    first = _lowest(state.num_processes if error is None else state.process_index)
    if first == state.num_processes:
        return
    if first == state.process_index and error is not None:
        raise error
    _end_silently(error)


def share(n_rows: int) -> NDArray[np.int64]:
    """Return the numbers of the rows that this process computes: as many on each, the last ones repeated if need be."""
    state = PartialState()
    each = -(-n_rows // state.num_processes)
    mine: NDArray[np.int64] = np.arange(each) * state.num_processes + state.process_index
    return np.minimum(mine, n_rows - 1, dtype=np.int64)


def combine(mine: NDArray[np.int64], values: NDArray[np.float64], n_rows: int) -> NDArray[np.float64]:
    """Return the values of all rows (n_rows,) from those that each process has of its ``share``."""
    state = PartialState()
    whole = torch.full((n_rows,), -torch.inf, dtype=torch.float64)
    whole[mine] = torch.from_numpy(values)
    if state.num_processes > 1:
        whole = whole.to(state.device)
        distributed.all_reduce(whole, distributed.ReduceOp.MAX)
    return whole.cpu().numpy()


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """Return a weight of which each process may hold a part (FSDP), gathered; every process must call."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def _lowest(number: int) -> int:
    state = PartialState()
    if state.num_processes == 1:
        return number
    found = torch.tensor(number, device=state.device)
    distributed.all_reduce(found, distributed.ReduceOp.MIN)
    return int(found)


def _end_silently(error: LlmrecError | None) -> None:
    time.sleep(_UNTIL_SAID)
    raise SystemExit(LlmrecError.exit_code) from error
