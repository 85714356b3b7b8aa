"""RQ-VAE: its loss by hand, clusters that share the first code, reconstruction, dead codes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from llmrec.classic.recall.semantic.rqvae import RQVAE, RQVAEConfig, fit_rqvae, nearest
from llmrec.config import load_config
from llmrec.errors import ConfigError
from llmrec.protocols import UNWATCHED, Watch
from llmrec.testing import expect_error

SMALL = RQVAEConfig(levels=2, codes=8, hidden=(16,), latent_dim=4, epochs=25, batch_size=64, learning_rate=1e-2)


def clusters(rng, n_clusters=4, each=20, dim=12, spread=0.05):
    """Return vectors in tight clusters and which cluster each is of."""
    centres = rng.normal(size=(n_clusters, dim))
    labels = np.repeat(np.arange(n_clusters), each)
    return (centres[labels] + spread * rng.normal(size=(len(labels), dim))).astype(np.float32), labels


def identity_module(books, commitment=0.25):
    """An RQ-VAE whose encoder and decoder change nothing, so that its loss can be done by hand."""
    books = torch.tensor(books, dtype=torch.float32)
    levels, codes, dim = books.shape
    config = RQVAEConfig(levels=levels, codes=codes, hidden=(), latent_dim=dim, commitment=commitment)
    module = RQVAE(config, dim)
    with torch.no_grad():
        for layer in (module.encoder[0], module.decoder[0]):
            layer.weight.copy_(torch.eye(dim))
            layer.bias.zero_()
        module.codebooks.copy_(books)
    return module


BOOKS = [[[1.0, 0.0], [0.0, 1.0]], [[0.5, 0.0], [0.0, 0.25]]]


def test_codes_by_hand():
    """(1.5, 0) is (1, 0) + (0.5, 0); (0, 1) is (0, 1) and (0, 0.25), the nearest to nothing left."""
    codes, residuals = identity_module(BOOKS).quantise(np.array([[1.5, 0.0], [0.0, 1.0]], np.float32))
    assert codes.tolist() == [[0, 0], [1, 1]]
    assert residuals.tolist() == [[[1.5, 0], [0, 1]], [[0.5, 0], [0, 0]]]
    assert identity_module(BOOKS).reconstruct(codes).tolist() == [[1.5, 0], [0, 1.25]]


def test_the_loss_and_its_gradients_by_hand():
    """For (1.4, 0): residuals (1.4, 0), (0.4, 0); to their codes 0.4 and 0.1; the reconstruction is (1.5, 0).

    Each distance counts 1 + 0.25, the reconstruction 1: 1.25 (0.16 + 0.01) + 0.01. Codes get the gradient of their
    own distance and none from the decoder: -2 * 0.4 and 2 * 0.1 in the first coordinate.
    """
    module = identity_module(BOOKS)
    loss, count = module({"vector": torch.tensor([[1.4, 0.0]])})
    assert count == 1
    assert loss.item() == pytest.approx(1.25 * 0.17 + 0.01)
    loss.backward()
    expected = torch.zeros(2, 2, 2)
    expected[0, 0, 0], expected[1, 0, 0] = -0.8, 0.2
    torch.testing.assert_close(module.codebooks.grad, expected)
    # Straight through the quantisation, 2 * 0.1, and the pull towards both codes, 0.25 * 2 * (0.4 - 0.1).
    assert module.encoder[0].bias.grad[0].item() == pytest.approx(0.2 + 0.15, rel=1e-5)


def test_a_batch_is_the_sum_of_its_parts():
    vectors, _ = clusters(np.random.default_rng(0))
    module = RQVAE(SMALL, 12)
    module.initialise(vectors, 0)
    whole, count = module({"vector": torch.from_numpy(vectors)})
    parts = [module({"vector": torch.from_numpy(vectors[part::2])})[0] for part in range(2)]
    assert count == len(vectors)
    assert whole.item() == pytest.approx(sum(part.item() for part in parts), rel=1e-5)


def test_near_vectors_share_the_first_code_and_far_ones_do_not():
    vectors, labels = clusters(np.random.default_rng(1))
    config = SMALL.model_copy(update={"codes": 4})
    module, losses = fit_rqvae(vectors, config, seed=0, watch=UNWATCHED)
    codes = module.codes(vectors)
    firsts = [set(codes[labels == label, 0]) for label in range(4)]
    assert [len(first) for first in firsts] == [1] * 4
    assert len(set.union(*firsts)) == 4
    assert losses[-1] < losses[0]


def test_it_reconstructs_and_later_levels_refine():
    vectors, _ = clusters(np.random.default_rng(2), each=50, spread=0.5)
    module, _ = fit_rqvae(vectors, SMALL, seed=0, watch=UNWATCHED)
    codes = module.codes(vectors)
    error = np.square(module.reconstruct(codes) - vectors).sum()
    assert error < 0.25 * np.square(vectors - vectors.mean(axis=0)).sum()
    _, residuals = module.quantise(vectors)
    assert residuals[1].square().sum() < 0.25 * residuals[0].square().sum()


def test_kmeans_puts_the_codes_among_the_latents():
    vectors, labels = clusters(np.random.default_rng(3), spread=0.001)
    module = identity_module(np.zeros((1, 4, 12)))
    module.initialise(vectors, 0)
    codes, _ = module.quantise(vectors)
    latents = module.latents(vectors).numpy()
    for code in np.unique(codes):  # each centre is the mean of what it stands for, also where k-means joined clusters
        mean = latents[codes[:, 0] == code].mean(axis=0)
        np.testing.assert_allclose(module.codebooks[0, code].detach().numpy(), mean, atol=1e-5)
    assert all(len(np.unique(codes[labels == label])) == 1 for label in range(4))


def test_scaled_vectors_have_a_mean_squared_length_of_one():
    vectors, _ = clusters(np.random.default_rng(4))
    module = RQVAE(SMALL, 12)
    module.initialise(7 * vectors + 3, 0)
    scaled = (7 * vectors + 3 - module.mean.numpy()) / module.scale.numpy()
    np.testing.assert_allclose(scaled.mean(axis=0), 0, atol=1e-5)
    assert np.square(scaled).sum(axis=1).mean() == pytest.approx(1, rel=1e-5)


def test_dead_codes_move_to_vectors_and_used_ones_stay():
    module = identity_module([[[1.0, 0.0], [9.0, 9.0], [-9.0, 9.0]]])
    vectors = np.array([[1.0, 0.0], [1.1, 0.0], [0.9, 0.3]], np.float32)
    assert module.revive(vectors, np.random.default_rng(0)) == 2
    assert module.codebooks[0, 0].tolist() == [1, 0]
    moved = {tuple(np.round(code, 4)) for code in module.codebooks[0, 1:].detach().numpy().tolist()}
    assert len(moved) == 2
    assert moved <= {tuple(np.round(vector, 4)) for vector in vectors.tolist()}


@pytest.mark.parametrize("n", [1, 3])
def test_fewer_vectors_than_codes(n):
    vectors = np.eye(n, 5, dtype=np.float32)
    module, _ = fit_rqvae(vectors, SMALL.model_copy(update={"epochs": 3}), seed=0, watch=UNWATCHED)
    assert len(np.unique(module.codes(vectors)[:, 0])) == n
    assert np.isfinite(module.reconstruct(module.codes(vectors))).all()


def test_equal_vectors_have_equal_codes():
    vectors = np.ones((9, 5), np.float32)
    module, _ = fit_rqvae(vectors, SMALL.model_copy(update={"epochs": 2}), seed=0, watch=UNWATCHED)
    assert len(np.unique(module.codes(vectors), axis=0)) == 1


def test_the_seed_decides_and_a_killed_fit_resumes(tmp_path):
    vectors, _ = clusters(np.random.default_rng(5))
    short = SMALL.model_copy(update={"epochs": 4})
    one, two = (fit_rqvae(vectors, short, seed=seed, watch=UNWATCHED)[0] for seed in (0, 0))
    torch.testing.assert_close(one.state_dict(), two.state_dict(), rtol=0, atol=0)
    part = short.model_copy(update={"epochs": 2})
    fit_rqvae(vectors, part, seed=0, watch=Watch(checkpoint=tmp_path))
    resumed, losses = fit_rqvae(vectors, short, seed=0, watch=Watch(checkpoint=tmp_path))
    assert len(losses) == 4
    torch.testing.assert_close(resumed.state_dict(), one.state_dict(), rtol=0, atol=0)


def test_nearest_is_the_nearest():
    rng = np.random.default_rng(6)
    vectors, book = rng.normal(size=(50, 3)), rng.normal(size=(7, 3))
    by_hand = [int(np.argmin(((vector - book) ** 2).sum(axis=1))) for vector in vectors]
    assert nearest(torch.from_numpy(vectors), torch.from_numpy(book)).tolist() == by_hand


def test_a_codebook_of_one_is_refused():
    expect_error(
        ConfigError, lambda: load_config(RQVAEConfig, None, ["codes=1"]), "codes", "greater than or equal to 2"
    )
