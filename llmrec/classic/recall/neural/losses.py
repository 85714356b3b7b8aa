"""Losses over items, each a sum over its rows so that batches can be split."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor

LOGITS = 1 << 25  # of one softmax over all items: 128 MiB


def item_softmax(vectors: Tensor, items: Tensor, targets: Tensor, *, negatives: int | None = None) -> Tensor:
    """Return the summed cross-entropy of targets (b,) among all items (n, d), or among negatives drawn uniformly.

    Args:
        vectors: (b, d).
        items: (n, d), vectors of all items.
        targets: (b,).
        negatives: how many are drawn for all rows together, see ``sampled_softmax``; None for all items, in parts of
            rows that bound memory.
    """
    if negatives is not None:
        drawn = torch.randint(len(items), (negatives,), device=items.device)
        return sampled_softmax(vectors, items, targets, drawn, items.new_full((len(items),), -_log(len(items))))
    rows = max(1, LOGITS // len(items))
    parts = [slice(start, start + rows) for start in range(0, max(len(vectors), 1), rows)]
    return torch.stack([full_softmax(vectors[part], items, targets[part]) for part in parts]).sum()


def full_softmax(vectors: Tensor, items: Tensor, targets: Tensor) -> Tensor:
    """Return the summed cross-entropy of targets (b,) among all items (n, d), for vectors (b, d)."""
    return F.cross_entropy((vectors @ items.T).float(), targets, reduction="sum")


def sampled_softmax(vectors: Tensor, items: Tensor, targets: Tensor, negatives: Tensor, log_q: Tensor) -> Tensor:
    """Return the summed cross-entropy of each target against shared negatives, corrected for how these are drawn.

    A negative's logit is lowered by the log of how often it is expected among the draws, log(s q). The target is
    always there and is not corrected. A negative that is the row's target counts as absent.

    Args:
        vectors: (b, d).
        items: (n, d), the table that targets and negatives are rows of.
        targets: (b,).
        negatives: (s,), drawn with replacement with probability q.
        log_q: (n,), natural logarithm of q.

    Paper: Jean et al., On Using Very Large Target Vocabulary, ACL 2015; Bengio, Senécal 2008. The target's own
    correction, log(s q + …), is left out as in importance sampling with the target put in by hand.
    """
    positive = (vectors * items[targets]).sum(-1, keepdim=True).float()
    drawn = (vectors @ items[negatives].T).float() - log_q[negatives] - _log(len(negatives))
    drawn = drawn.masked_fill(negatives[None, :] == targets[:, None], -torch.inf)
    return -(positive - torch.logsumexp(torch.cat([positive, drawn], dim=1), dim=1, keepdim=True)).sum()


def in_batch_softmax(
    vectors: Tensor, target_vectors: Tensor, targets: Tensor, log_q: Tensor, *, temperature: float = 1.0
) -> Tensor:
    """Return the summed cross-entropy of each row's target among the targets of the batch, with logQ correction.

    Other rows with the same target count as absent.

    Args:
        vectors: (b, d).
        target_vectors: (b, d), vectors of the targets.
        targets: (b,).
        log_q: (n,), natural logarithm of how probable an item is as a row's target.
        temperature: divides the inner products.

    Paper: Yi et al., Sampling-Bias-Corrected Neural Modeling for Large Corpus Item Recommendations, RecSys 2019.
    """
    logits = (vectors @ target_vectors.T).float() / temperature - log_q[targets]
    same = (targets[None, :] == targets[:, None]) & ~torch.eye(len(targets), dtype=torch.bool, device=targets.device)
    rows = torch.arange(len(targets), device=targets.device)
    return F.cross_entropy(logits.masked_fill(same, -torch.inf), rows, reduction="sum")


def gbce(positive: Tensor, negative: Tensor, *, n_items: int, calibration: float) -> Tensor:
    """Return the summed generalised binary cross-entropy of one positive (b,) and k negative (b, k) logits a row.

    The positive's sigmoid is raised to beta = a (t (1 - 1/a) + 1/a), where a = k / (n - 1) is the sampling rate and
    t the calibration: 0 is plain binary cross-entropy, 1 undoes the over-confidence that sampling brings.

    Paper: Petrov, Macdonald, gSASRec: Reducing Overconfidence in Sequential Recommendation Trained with Negative
    Sampling, RecSys 2023, equations 8 to 10. There the sum is divided by k + 1; here it is too.
    """
    k = negative.shape[1]
    rate = k / max(n_items - 1, 1)
    beta = rate * (calibration * (1 - 1 / rate) + 1 / rate)
    losses = -(beta * F.logsigmoid(positive.float()) + F.logsigmoid(-negative.float()).sum(-1))
    return losses.sum() / (k + 1)


def _log(number: int) -> float:
    return float(torch.log(torch.tensor(float(number))))
