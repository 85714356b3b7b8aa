"""DIEN: how the interest in what the target is about has moved."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from pydantic import Field
from torch import Tensor, nn

from llmrec.classic.ranking.features import FeatureSpace
from llmrec.classic.ranking.neural.layers import Deep, Dice
from llmrec.classic.ranking.neural.ranker import DeepConfig, RowModule, TorchRanker
from llmrec.classic.ranking.neural.sequences import SequenceModule
from llmrec.config import Config


class DIENConfig(DeepConfig):
    """Hyper-parameters of DIEN."""

    auxiliary: float = Field(1.0, ge=0)
    """Weight of the loss that tells each next event from a drawn one by the state before it."""


class DIEN(TorchRanker[DIENConfig]):
    """A recurrent network reads interests out of the history; a second one follows those that concern the target.

    The first one's states learn to foretell the next event. The second one's update gate is closed as far as a state
    has nothing to do with the target.

    Paper: Zhou et al., Deep Interest Evolution Network for Click-Through Rate Prediction, AAAI 2019. Differs: drawn
    events are those of other rows of the batch, for no list says what was shown and not clicked.
    """

    name: ClassVar[str] = "dien"
    config_class: ClassVar[type[Config]] = DIENConfig

    def _module(self, space: FeatureSpace, config: DIENConfig) -> RowModule:
        return Evolution(space, config)


class Evolution(SequenceModule):
    """The module of DIEN."""

    def __init__(self, space: FeatureSpace, config: DIENConfig) -> None:
        super().__init__(space, config.embedding_dim)
        self.auxiliary = config.auxiliary
        self.extractor = nn.GRU(self.item_width, self.item_width, batch_first=True)
        self.attention = nn.Linear(self.item_width, self.item_width, bias=False)
        self.evolution = AUGRU(self.item_width)
        self.deep = Deep(self.width + self.item_width, config.hidden, config.dropout, Dice)

    def states(self, history: Tensor) -> Tensor:
        """Return what is of interest after each event, (b, h, w); of right-padded histories (b, h)."""
        found: Tensor = self.extractor(self.items(history))[0]
        return found

    def interest(self, states: Tensor, real: Tensor, target: Tensor) -> Tensor:
        """Return what the interest in the target has become, (b, w); zeros without events."""
        close = (states @ self.attention(target).unsqueeze(2)).squeeze(2)
        weights = close.float().masked_fill(~real, torch.finfo(torch.float32).min).softmax(1) * real
        found: Tensor = self.evolution(states, weights)
        return found

    def read_out(self, batch: Mapping[str, Tensor], states: Tensor, real: Tensor) -> Tensor:
        """Return the log-odds of yes, (b,)."""
        interest = self.interest(states, real, self.items(batch["item"]))
        logits: Tensor = self.deep(torch.cat([self.vectors(self.fields(batch)).flatten(1), interest], 1))
        return logits

    def logits(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Return the log-odds of yes, (b,)."""
        history = aligned(batch["history"])
        return self.read_out(batch, self.states(history), history >= 0)

    def forward(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return the summed cross-entropy of the rows with what foretelling lost, and the number of rows."""
        history, label = aligned(batch["history"]), batch["label"]
        states = self.states(history)
        logits = self.read_out(batch, states, history >= 0).float()
        loss = F.binary_cross_entropy_with_logits(logits, label, reduction="sum")
        return loss + self.auxiliary * self.foretelling(history, states), torch.tensor(len(label), device=label.device)

    def foretelling(self, history: Tensor, states: Tensor) -> Tensor:
        """Return the sum over rows of the mean cross-entropy of telling the next event from a drawn one."""
        rows, places = (history[:, 1:] >= 0).nonzero(as_tuple=True)
        if not len(rows):
            return states.sum() * 0
        before, events = states[rows, places].float(), history[rows, places + 1]
        drawn = events[torch.randint(len(events), (len(events),), device=events.device)]
        each = F.softplus(-(before * self.items(events)).sum(1))
        each = each + F.softplus((before * self.items(drawn)).sum(1)) * (drawn != events)
        share = 1 / torch.bincount(rows, minlength=len(history))[rows]
        return (each * share).sum()


class AUGRU(nn.Module):
    """A gated recurrent network whose update gate is the attention to each input, times what it would be.

    u = a sigmoid(W_u x + U_u h), r = sigmoid(W_r x + U_r h), h' = (1 - u) h + u tanh(W x + r U h): an input without
    attention leaves the state as it is.

    Args:
        width: of inputs and state.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.inputs, self.state = nn.Linear(width, 3 * width), nn.Linear(width, 3 * width, bias=False)

    def forward(self, inputs: Tensor, attention: Tensor) -> Tensor:
        """Return the last state (b, w) for inputs (b, h, w) and attention (b, h)."""
        state = inputs.new_zeros(len(inputs), inputs.shape[2])
        for given, share in zip(self.inputs(inputs).unbind(1), attention.unsqueeze(2).unbind(1), strict=True):
            of_update, of_reset, of_new = given.chunk(3, 1)
            update, reset, new = self.state(state).chunk(3, 1)
            gate = share * torch.sigmoid(of_update + update)
            state = state + gate * (torch.tanh(of_new + torch.sigmoid(of_reset + reset) * new) - state)
        return state


def aligned(history: Tensor) -> Tensor:
    """Return left-padded histories (b, h) as right-padded ones, so that a recurrent network begins with an event."""
    width = history.shape[1]
    places = torch.arange(width, device=history.device) + (history < 0).sum(1, keepdim=True)
    return history.gather(1, places % max(width, 1))
