import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_matrix
from sklearn.metrics.pairwise import cosine_similarity

from llmrec.eval.vectors import ItemVectors


@given(st.integers(0, 10**6), st.integers(1, 4), st.integers(1, 6), st.booleans())
def test_products_in_a_list_are_cosines(seed, b, n, sparse):
    rng = np.random.default_rng(seed)
    table = rng.random((9, 5)) * (rng.random((9, 5)) < 0.5) if sparse else rng.normal(size=(9, 5))
    table = table.astype(np.float32)
    items = rng.integers(-1, 9, (b, n))
    vectors = ItemVectors(csr_matrix(table) if sparse else table).gather(items)
    assert vectors.shape[2] <= ItemVectors(csr_matrix(table)).widest(n)
    for row, found in zip(items, vectors, strict=True):
        expected = cosine_similarity(table[row].astype(float)) * np.outer(row >= 0, row >= 0)
        np.testing.assert_allclose(found @ found.T, expected, atol=1e-12)


def test_a_list_keeps_the_columns_that_it_has():
    table = csr_matrix(np.eye(1000, dtype=np.float32))
    vectors = ItemVectors(table)
    found = vectors.gather(np.array([[3, 999, 3], [7, -1, -1]]))
    assert found.shape == (2, 3, 2)
    assert found.tolist() == [[[1, 0], [0, 1], [1, 0]], [[1, 0], [0, 0], [0, 0]]]
    assert (vectors.widest(3), vectors.widest(5000), len(vectors)) == (3, 1000, 1000)


@pytest.mark.parametrize("sparse", [True, False])
def test_nothing_is_like_nothing(sparse):
    zeros = np.zeros((2, 3), np.float32)
    vectors = ItemVectors(csr_matrix(zeros) if sparse else zeros)
    assert not vectors.gather(np.array([[0, 1, -1]])).any()
    assert vectors.gather(np.zeros((0, 4), int)).shape[:2] == (0, 4)
    assert vectors.gather(np.zeros((3, 0), int)).shape[:2] == (3, 0)
