"""RQ-VAE: vectors as short rows of codes, coarse to fine, by a residual-quantised variational autoencoder."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from scipy.cluster.vq import kmeans2
from torch import Tensor, nn

from llmrec.classic.training import Batch, TrainingConfig, train
from llmrec.protocols import FloatArray, Watch

ROWS = 4096  # vectors that are encoded at once
SAMPLE = 64  # vectors for each code that k-means looks at
SWEEPS = 20  # of k-means


class RQVAEConfig(TrainingConfig):
    """How vectors become codes."""

    epochs: int = Field(100, ge=1)
    """Passes over the vectors."""
    batch_size: int = Field(256, ge=1)
    """Vectors of a step, over all processes and parts together."""
    precision: Literal["auto", "float32", "bfloat16"] = "float32"
    """Of the forward pass; residuals are small differences, which bfloat16 blurs."""
    levels: int = Field(3, ge=1)
    """Codes of a vector, coarse to fine."""
    codes: int = Field(256, ge=2)
    """Size of each level's codebook."""
    hidden: tuple[int, ...] = (512, 256, 128)
    """Widths of the encoder's hidden layers; the decoder has them backwards."""
    latent_dim: int = Field(32, ge=1)
    """Length of the vectors that are quantised."""
    commitment: float = Field(0.25, ge=0)
    """Weight of the pull of residuals towards their codes."""


class RQVAE(nn.Module):
    """An autoencoder whose latent vector is a sum of codes: each level quantises what the levels before it left.

    Vectors are centred and scaled to a mean squared length of 1 first. The loss of a vector is the squared distance
    between it and its reconstruction, and for each level that of the residual from its code: once to move the code,
    once, weighted, to move the residual. Gradients pass the quantisation straight through; residuals of later levels
    move the encoder only.

    Args:
        config: hyper-parameters.
        dim: length of the vectors.

    Paper: Lee et al., Autoregressive Image Generation Using Residual Quantization, CVPR 2022, and Zeghidour et al.,
    SoundStream, TASLP 2021; on items Rajput et al., NeurIPS 2023. Differs: k-means sees all latents at the start, not
    the first batch alone; a code that no vector has moves to the residual of a random one before each epoch; AdamW.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, config: RQVAEConfig, dim: int) -> None:
        super().__init__()
        self.commitment = config.commitment
        widths = (dim, *config.hidden, config.latent_dim)
        self.encoder, self.decoder = _mlp(widths), _mlp(widths[::-1])
        self.codebooks = nn.Parameter(torch.randn(config.levels, config.codes, config.latent_dim) * 0.01)
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("scale", torch.ones(()))

    def forward(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return the summed loss of ``vector`` (b, dim), and b."""
        vectors = (batch["vector"] - self.mean) / self.scale
        latent = self.encoder(vectors)
        residual, loss = latent, vectors.new_zeros(())
        for book in self.codebooks:
            chosen = book[nearest(residual, book)]
            loss = loss + _square(residual.detach() - chosen) + self.commitment * _square(residual - chosen.detach())
            residual = residual - chosen.detach()
        quantised = latent - residual.detach()  # the sum of the codes, with the latent's gradient
        return loss + _square(self.decoder(quantised) - vectors), torch.tensor(float(len(vectors)), device=loss.device)

    @torch.no_grad()
    def latents(self, vectors: FloatArray) -> Tensor:
        """Return what the encoder makes of vectors (n, dim), (n, latent_dim)."""
        parts = [torch.from_numpy(vectors[start : start + ROWS]) for start in range(0, len(vectors), ROWS)]
        return torch.cat([self.encoder((part.to(self.mean.device) - self.mean) / self.scale) for part in parts])

    @torch.no_grad()
    def quantise(self, vectors: FloatArray) -> tuple[NDArray[np.int64], Tensor]:
        """Return codes (n, levels) of vectors (n, dim), and the residuals (levels, n, latent_dim) they stand for."""
        residual, codes, residuals = self.latents(vectors), [], []
        for book in self.codebooks:
            chosen = nearest(residual, book)
            codes.append(chosen)
            residuals.append(residual)
            residual = residual - book[chosen]
        return torch.stack(codes, dim=1).cpu().numpy(), torch.stack(residuals)

    def codes(self, vectors: FloatArray) -> NDArray[np.int64]:
        """Return the codes (n, levels) of vectors (n, dim)."""
        return self.quantise(vectors)[0]

    @torch.no_grad()
    def reconstruct(self, codes: NDArray[np.int64]) -> FloatArray:
        """Return the vectors (n, dim) that codes (n, levels) stand for."""
        levels = torch.arange(len(self.codebooks), device=self.mean.device)
        quantised = self.codebooks[levels, torch.from_numpy(codes).to(self.mean.device)].sum(dim=1)
        vectors: FloatArray = (self.decoder(quantised) * self.scale + self.mean).cpu().numpy()
        return vectors

    @torch.no_grad()
    def initialise(self, vectors: FloatArray, seed: int) -> None:
        """Take over mean and scale of vectors (n, dim), and put the codebooks where k-means finds centres, in turn."""
        rng = np.random.default_rng(seed)
        centred = vectors - vectors.mean(axis=0)
        self.mean.copy_(torch.from_numpy(vectors.mean(axis=0)))
        self.scale.fill_(float(np.sqrt(np.square(centred).sum(axis=1).mean())) or 1.0)
        codes = self.codebooks.shape[1]
        some = rng.permutation(len(vectors))[: SAMPLE * codes]
        residual = self.latents(vectors[some])
        for book in self.codebooks:
            centres = _centres(residual.cpu().numpy(), codes, rng)
            book[: len(centres)] = torch.from_numpy(centres).to(book.device)
            residual = residual - book[nearest(residual, book)]

    @torch.no_grad()
    def revive(self, vectors: FloatArray, rng: np.random.Generator) -> int:
        """Move codes that none of the vectors (n, dim) has to residuals of random ones; return how many moved."""
        codes, residuals = self.quantise(vectors)
        moved = 0
        for level, book in enumerate(self.codebooks):
            dead = np.flatnonzero(np.bincount(codes[:, level], minlength=len(book)) == 0)[: len(vectors)]
            drawn = rng.permutation(len(vectors))[: len(dead)]
            book[torch.from_numpy(dead).to(book.device)] = residuals[level][torch.from_numpy(drawn).to(book.device)]
            moved += len(dead)
        return moved


def nearest(vectors: Tensor, book: Tensor) -> Tensor:
    """Return which row of ``book`` (c, d) is nearest to each vector (n, d), int64 (n,)."""
    parts = [torch.cdist(vectors[start : start + ROWS], book) for start in range(0, len(vectors), ROWS)]
    return torch.cat([part.argmin(dim=1) for part in parts])


def fit_rqvae(vectors: FloatArray, config: RQVAEConfig, *, seed: int, watch: Watch) -> tuple[RQVAE, list[float]]:
    """Return an RQ-VAE learned from vectors (n, dim), and the mean loss after each epoch."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        module = RQVAE(config, vectors.shape[1])
    module.initialise(vectors, seed)
    batches = _Vectors(module, vectors, config.batch_size)
    log = train(module, batches, config, seed=seed, watch=watch, identity={"model": "rqvae", "vectors": len(vectors)})
    return module, log.losses


@dataclass(frozen=True)
class _Vectors:
    """Vectors in random order; codes that died are revived before each epoch, on every process alike."""

    module: RQVAE
    vectors: FloatArray
    batch_size: int

    @property
    def steps(self) -> int:
        return -(-len(self.vectors) // self.batch_size)

    def epoch(self, rng: np.random.Generator) -> Iterator[Batch]:
        self.module.revive(self.vectors, rng)
        order = rng.permutation(len(self.vectors))
        for start in range(0, len(order), self.batch_size):
            yield {"vector": self.vectors[order[start : start + self.batch_size]]}


def _mlp(widths: tuple[int, ...]) -> nn.Sequential:
    layers = [layer for one, two in pairwise(widths) for layer in (nn.Linear(one, two), nn.ReLU())]
    return nn.Sequential(*layers[:-1])


def _square(differences: Tensor) -> Tensor:
    return differences.float().square().sum()


def _centres(points: FloatArray, k: int, rng: np.random.Generator) -> FloatArray:
    """Return at most k centres of points (n, d): one for each point where there are no more."""
    distinct = np.unique(points, axis=0)
    if len(distinct) <= k:
        return distinct
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "One of the clusters is empty")  # its centre stays, and is revived if needed
        centres: FloatArray = kmeans2(points, distinct[rng.choice(len(distinct), k, replace=False)], SWEEPS, "matrix")[
            0
        ].astype(np.float32)
    return centres
