"""Where a model runs and in which number format."""

from __future__ import annotations

import torch


def choose_device(device: str) -> str:
    """Return the device that is named; for ``auto`` a GPU where there is one, else the CPU."""
    if device != "auto":
        return device
    return "cuda" if torch.cuda.is_available() else "cpu"


def choose_dtype(dtype: str, device: str) -> str:
    """Return the number format that is named; for ``auto`` bfloat16 where the device computes in it, else float32."""
    if dtype != "auto":
        return dtype
    return "bfloat16" if _computes_bfloat16(device) else "float32"


def _computes_bfloat16(device: str) -> bool:
    """Return whether a device has bfloat16 arithmetic of its own; elsewhere it is emulated and slow."""
    if device.startswith("cuda"):
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    features = torch.cpu.get_capabilities()
    return device == "cpu" and any(features.get(name, False) for name in ("avx512_bf16", "amx_bf16"))
