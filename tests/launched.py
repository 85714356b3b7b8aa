"""A script that each of several processes runs, ``python launched.py TASK [MODEL]``, and how they are started."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import torch
from accelerate import PartialState
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from transformers import AutoModelForCausalLM

from llmrec.errors import DataError
from llmrec.llm.answer_head import AnswerHead
from llmrec.train.lora import save_adapter
from llmrec.train.processes import combine, join, share, together


def run_two(command):
    """Run a command as two processes that find each other; return exit code, stdout and stderr of each."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    processes = [
        subprocess.Popen(
            command,
            env={**os.environ, **shared, "RANK": str(number), "LOCAL_RANK": str(number)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(2)
    ]
    try:
        said = [process.communicate(timeout=120) for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [(process.returncode, *texts) for process, texts in zip(processes, said, strict=True)]


def talk():
    """Put together what each process has of five rows and of one; then fail in the second process only."""
    for n_rows in (5, 1):
        with together():
            mine = share(n_rows)
            print(mine.tolist(), combine(mine, mine * -1.5, n_rows).tolist())
    with together():
        if PartialState().process_index == 1:
            raise DataError("row 7", expected="an answer", cure="mend it")
    raise AssertionError("unreachable")


def sharded(folder):
    """Share a model and its adapter out (FSDP2), and see that scores and saved weights are those of the whole one."""
    torch.manual_seed(0)
    base = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)  # beside an adapter in float32
    head = AnswerHead(base)
    model = get_peft_model(base, LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False))
    ids = torch.randint(3, 100, (2, 9))
    wanted = torch.zeros_like(ids, dtype=torch.bool)
    wanted[0, 4] = wanted[1, 8] = True
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    before = {name: weight.detach().clone() for name, weight in model.named_parameters() if "lora_" in name}
    expected = head.logits(model, inputs, wanted).detach()
    mesh = init_device_mesh("cpu", (PartialState().num_processes,))
    for layer in base.model.layers:
        fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)
    found = head.logits(model, inputs, wanted)
    assert found.shape == (2, 200)
    torch.testing.assert_close(found.detach(), expected)
    found.float().square().sum().backward()
    assert all(weight.grad is not None for name, weight in model.named_parameters() if "lora_" in name)
    out = Path(folder).parent / "sharded-adapter"
    save_adapter(model, out, folder)
    PartialState().wait_for_everyone()
    saved = load_file(out / "adapter_model.safetensors")
    assert len(saved) == len(before)
    for name, weight in before.items():
        torch.testing.assert_close(saved[name.replace(".default", "")], weight)
    print("whole")


if __name__ == "__main__":
    join("cpu")
    task, *arguments = sys.argv[1:]
    try:
        {"talk": talk, "sharded": sharded}[task](*arguments)
    except DataError as error:
        time.sleep(0.2)  # the others must not come to an end before
        print(f"error: {error}")
        raise SystemExit(2) from None
