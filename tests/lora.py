"""Random LoRA adapters, and the models that they make when their products are added to the weights by hand."""

import json

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def make_adapter(model, folder, *, seed=0, size=0.1, targets=LINEAR, r=4, lora_alpha=8, **settings):
    """Write an adapter of normal numbers for a model folder, as training with peft would; return its folder."""
    base = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    config = LoraConfig(r=r, lora_alpha=lora_alpha, target_modules=list(targets), task_type="CAUSAL_LM", **settings)
    tuned = get_peft_model(base, config)
    draw = torch.Generator().manual_seed(seed)
    for name, weight in tuned.named_parameters():
        if "lora_" in name:
            weight.data = torch.randn(weight.shape, generator=draw) * size
    tuned.save_pretrained(folder, save_embedding_layers=False)
    return folder


def add_by_hand(model, adapter, folder, scale):
    """Write W + scale B A for each layer of an adapter, computed in float64, as a plain model; return its folder."""
    base = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float64)
    tensors = load_file(adapter / "adapter_model.safetensors")
    layers = {name.removesuffix(".lora_A.weight") for name in tensors if name.endswith(".lora_A.weight")}
    assert 2 * len(layers) == len(tensors)
    for layer in layers:
        first, second = (tensors[f"{layer}.lora_{which}.weight"].double() for which in "AB")
        weight = base.get_submodule(layer.removeprefix("base_model.model.")).weight
        # GPT-2 keeps its weights the other way round
        weight.data += scale * (second @ first if weight.shape == (len(second), first.shape[1]) else (second @ first).T)
    base.float().save_pretrained(folder)
    AutoTokenizer.from_pretrained(model).save_pretrained(folder)
    return folder


def change_config(adapter, **settings):
    """Set keys of an adapter's configuration."""
    path = adapter / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))


def change_weights(adapter, change):
    """Write what ``change`` makes of an adapter's tensors by name."""
    path = adapter / "adapter_model.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in change(load_file(path)).items()}, path)
