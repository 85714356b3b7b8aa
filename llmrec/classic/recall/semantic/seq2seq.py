"""An encoder-decoder that reads the semantic ids of a history and writes the next item's, token by token."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from pydantic import Field, model_validator
from torch import Tensor, nn

from llmrec.classic.recall.semantic.ids import SemanticIds
from llmrec.classic.training import TrainingConfig

SCALE = 0.02  # standard deviation of token and position vectors at the start; multiplied by sqrt(d) where they are read
Memory = tuple[Tensor, Tensor]  # keys and values (b, heads, n, d / heads)


class Seq2SeqConfig(TrainingConfig):
    """What the encoder-decoder reads."""

    batch_size: int = Field(256, ge=1)
    """Targets of a step, over all processes and parts together."""
    embedding_dim: int = Field(128, ge=1)
    """Width of the model."""
    blocks: int = Field(2, ge=1)
    """Layers of the encoder, and of the decoder."""
    heads: int = Field(4, ge=1)
    """Attention heads of a layer; divides embedding_dim."""
    dropout: float = Field(0.3, ge=0, lt=1)
    """Share of activations that training silences."""
    history: int = Field(20, ge=1)
    """How many of the newest items are read."""

    @model_validator(mode="after")
    def _divides(self) -> Seq2SeqConfig:
        if self.embedding_dim % self.heads:
            raise ValueError(f"embedding_dim a multiple of heads, not {self.embedding_dim} of {self.heads}")
        return self


class Seq2Seq(nn.Module):
    """A transformer from item numbers to the log-probabilities of the next item's tokens.

    As in T5, layers have RMS norms before each part, no biases and ReLU, and one table of token vectors serves encoder,
    decoder and output. Positions are learned vectors, of an item's place counted from the newest and of a token's place
    in its id, where T5 has relative ones.

    Args:
        config: hyper-parameters.
        ids: of the catalogue.
    """

    tokens: Tensor

    def __init__(self, config: Seq2SeqConfig, ids: SemanticIds) -> None:
        super().__init__()
        width = config.embedding_dim
        self.scale = width**0.5
        self.sizes: list[int] = ids.sizes.tolist()
        self.starts: list[int] = [sum(self.sizes[:place]) for place in range(len(self.sizes))]
        self.register_buffer("tokens", torch.tensor(ids.tokens), persistent=False)
        self.table = nn.Parameter(torch.randn(sum(self.sizes), width) * SCALE)
        self.items = nn.Parameter(torch.randn(config.history, width) * SCALE)
        self.places = nn.Parameter(torch.randn(len(self.sizes), width) * SCALE)
        self.written = nn.Parameter(torch.randn(len(self.sizes), width) * SCALE)
        self.dropout = nn.Dropout(config.dropout)
        self.encoder = nn.ModuleList(Block(config) for _ in range(config.blocks))
        self.decoder = nn.ModuleList(DecoderBlock(config) for _ in range(config.blocks))
        self.encoder_norm, self.decoder_norm = nn.RMSNorm(width), nn.RMSNorm(width)

    @property
    def layers(self) -> list[DecoderBlock]:
        """The decoder's blocks."""
        return cast("list[DecoderBlock]", list(self.decoder))

    def forward(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return the summed cross-entropy of ``target`` (b,) after ``history`` (b, h), over its tokens, and b."""
        loss = -self.logprobs(batch["history"], batch["target"]).sum()
        return loss, torch.tensor(float(len(batch["target"])), device=loss.device)

    def logprobs(self, history: Tensor, target: Tensor) -> Tensor:
        """Return the log-probability (b,) of each item of ``target`` (b,) after the items of ``history`` (b, h)."""
        memories, real = self.read(history)
        tokens = self.tokens[target]
        hidden = self.dropout(self.scale * (F.pad(self.embed(tokens)[:, :-1], (0, 0, 1, 0)) + self.written))
        causal = torch.ones(len(self.sizes), len(self.sizes), dtype=torch.bool, device=hidden.device).tril()
        for layer, memory in zip(self.layers, memories, strict=True):
            hidden = layer(hidden, layer.block.remember(hidden), causal, memory, real)
        found = [self.predict(hidden[:, place], place) for place in range(len(self.sizes))]
        each = [one.gather(1, tokens[:, place : place + 1]) for place, one in enumerate(found)]
        return torch.cat(each, dim=1).sum(dim=1)

    def embed(self, tokens: Tensor) -> Tensor:
        """Return the vectors (…, width, d) of whole ids (…, width)."""
        return F.embedding(tokens + tokens.new_tensor(self.starts), self.table)

    def predict(self, hidden: Tensor, place: int) -> Tensor:
        """Return the log-probabilities (…, size) of the tokens of a place, from what the decoder holds there (…, d)."""
        start, size = self.starts[place], self.sizes[place]
        logits = self.decoder_norm(hidden) @ self.table[start : start + size].T
        found: Tensor = logits.float().log_softmax(dim=-1)
        return found

    def read(self, history: Tensor) -> tuple[list[Memory], Tensor]:
        """Return what each layer of the decoder may look up in histories (b, h), and where that is, (b, 1, 1, n).

        Histories are left-padded with -1, at least one real item a row.
        """
        history = history[:, int((history >= 0).any(dim=0).int().argmax()) :]
        positions = self.items[len(self.items) - history.shape[1] :].unsqueeze(1) + self.places
        inputs = self.scale * (self.embed(self.tokens[history.clamp(min=0)]) + positions)
        hidden = self.dropout(inputs.flatten(1, 2))
        real = (history >= 0).repeat_interleave(len(self.sizes), dim=1)[:, None, None]
        for block in self.encoder:
            hidden = block(hidden, real)
        hidden = self.encoder_norm(hidden)
        return [layer.crossed.remember(hidden) for layer in self.layers], real


class Writer:
    """The decoder as beam search asks it: one token of each beam at a time, after the histories (q, h) it was made for.

    What beams attend to in their query's history is held once for all of them.
    """

    def __init__(self, module: Seq2Seq, history: Tensor) -> None:
        self.module = module
        self.memories, self.real = module.read(history)
        self.written: list[Memory] = []
        self.place, self.beams = 0, 1

    def __call__(self, tokens: Tensor, parents: Tensor) -> Tensor:
        """Return the log-probabilities (q, b, size) of the tokens to come; see ``beam_search.Step``."""
        module, place = self.module, self.place
        inputs = module.written[place].expand(*tokens.shape, -1)
        if place:
            inputs = inputs + F.embedding(tokens + module.starts[place - 1], module.table)
            rows = torch.arange(len(parents), device=parents.device).unsqueeze(1) * self.beams + parents
            self.written = [(keys[rows.flatten()], values[rows.flatten()]) for keys, values in self.written]
        hidden = module.scale * inputs
        written = []
        for number, layer in enumerate(module.layers):
            keys, values = layer.block.remember(hidden.flatten(0, 1).unsqueeze(1))
            if place:
                old_keys, old_values = self.written[number]
                keys, values = torch.cat([old_keys, keys], dim=2), torch.cat([old_values, values], dim=2)
            written.append((keys, values))
            hidden = layer(hidden, written[-1], None, self.memories[number], self.real)
        self.written = written
        self.place, self.beams = place + 1, tokens.shape[1]
        return module.predict(hidden, place)


class Block(nn.Module):
    """Attention to its own row and a feed-forward part, each with an RMS norm before it and a residual around it."""

    def __init__(self, config: Seq2SeqConfig) -> None:
        super().__init__()
        width = config.embedding_dim
        self.own, self.own_norm, self.feed_norm = Attention(config), nn.RMSNorm(width), nn.RMSNorm(width)
        self.feed = nn.Sequential(
            nn.Linear(width, 4 * width, bias=False), nn.ReLU(), nn.Linear(4 * width, width, bias=False)
        )
        self.dropout = nn.Dropout(config.dropout)

    def remember(self, hidden: Tensor) -> Memory:
        """Return what places attend to in (b, n, d) on their own row."""
        return self.own.remember(self.own_norm(hidden))

    def attend(self, hidden: Tensor, own: Memory, allowed: Tensor | None) -> Tensor:
        """Return (b, n, d) after the attention to ``own``, where ``allowed``."""
        attended: Tensor = hidden + self.dropout(self.own(self.own_norm(hidden), own, allowed))
        return attended

    def forward(self, hidden: Tensor, allowed: Tensor) -> Tensor:
        """Return (b, n, d) for (b, n, d)."""
        hidden = self.attend(hidden, self.remember(hidden), allowed)
        fed: Tensor = hidden + self.dropout(self.feed(self.feed_norm(hidden)))
        return fed


class DecoderBlock(nn.Module):
    """A block with attention to what was read between its two parts."""

    def __init__(self, config: Seq2SeqConfig) -> None:
        super().__init__()
        self.block, self.crossed, self.norm = Block(config), Attention(config), nn.RMSNorm(config.embedding_dim)

    def forward(self, hidden: Tensor, own: Memory, allowed: Tensor | None, memory: Memory, real: Tensor) -> Tensor:
        """Return (b, n, d); attends to ``own`` where ``allowed``, then to ``memory`` where it is ``real``."""
        block = self.block
        hidden = block.attend(hidden, own, allowed)
        hidden = hidden + block.dropout(self.crossed(self.norm(hidden), memory, real))
        fed: Tensor = hidden + block.dropout(block.feed(block.feed_norm(hidden)))
        return fed


class Attention(nn.Module):
    """Attention with several heads to a memory of keys and values."""

    def __init__(self, config: Seq2SeqConfig) -> None:
        super().__init__()
        self.heads, width = config.heads, config.embedding_dim
        self.query, self.out = nn.Linear(width, width, bias=False), nn.Linear(width, width, bias=False)
        self.key_value = nn.Linear(width, 2 * width, bias=False)

    def remember(self, source: Tensor) -> Memory:
        """Return keys and values of (b, n, d)."""
        keys, values = (self._split(part) for part in self.key_value(source).chunk(2, dim=-1))
        return keys, values

    def forward(self, inputs: Tensor, memory: Memory, allowed: Tensor | None) -> Tensor:
        """Return (b, n, d); inputs that share one row of the memory lie beside each other."""
        query = self._split(self.query(inputs).reshape(len(memory[0]), -1, inputs.shape[-1]))
        seen = F.scaled_dot_product_attention(query, *memory, attn_mask=allowed)
        out: Tensor = self.out(seen.transpose(1, 2).reshape(inputs.shape))
        return out

    def _split(self, vectors: Tensor) -> Tensor:
        b, n, d = vectors.shape
        return vectors.view(b, n, self.heads, d // self.heads).transpose(1, 2)
