"""Least squares for many rows at once: the half step of matrix factorisation, and how histories are folded in."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_limits

from llmrec.data.queries import pad_ragged

BLOCK_FLOATS = 1 << 20  # 8 MiB at once: what stays in the CPU's cache is faster
Floats = NDArray[np.float64]


def solve_rows(
    vectors: NDArray[np.floating],
    rows: csr_matrix,
    *,
    weight: float,
    left: Floats,
    right: Floats | None = None,
    penalty: Floats | None = None,
) -> Floats:
    """Return, for each row, the x that solves (left + weight VtV + penalty I) x = Vt t + right; zeros if it is empty.

    Args:
        vectors: (n, d); V (h, d) are those of the row's h columns.
        rows: (q, n) with t, the row's targets, as its values.
        weight: of VtV.
        left: (d, d), of all rows.
        right: (d,), of all rows; zeros by default.
        penalty: (q,), of each row; zeros by default.
    """
    lengths, width = np.diff(rows.indptr), vectors.shape[1]
    solved = np.zeros((len(lengths), width))
    table = np.vstack([vectors, np.zeros(width)])  # -1, the padding, reads the zeros at the end

    def solve(some: NDArray[np.intp]) -> None:
        columns, targets = _pad(rows[some])
        seen = np.take(table, columns, axis=0, mode="wrap")
        turned = seen.transpose(0, 2, 1)
        matrix = turned @ seen
        matrix *= weight
        matrix += left
        if penalty is not None:
            np.einsum("qdd->qd", matrix)[:] += penalty[some, None]
        sought = turned @ targets + (0 if right is None else right[:, None])
        solved[some] = np.linalg.solve(matrix, sought)[:, :, 0]

    # Many small systems: BLAS' threads wait for one another more than they work. So each block has a thread, as many
    # as BLAS may have.
    with threadpool_limits(1, "blas") as limits:
        threads = limits.get_original_num_threads()["blas"] or 1
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(solve, _blocks_of_like_length(lengths, width)))
    return solved


def _pad(rows: csr_matrix) -> tuple[NDArray[np.int32], Floats]:
    """Return the columns (q, h) of each row, left-padded with -1, and their values (q, h, 1)."""
    within = np.repeat(np.arange(rows.shape[0]), np.diff(rows.indptr))
    columns = pad_ragged(within, rows.indices, rows.shape[0])
    return columns, pad_ragged(within, rows.data.astype(np.float64), rows.shape[0], fill=0)[:, :, None]


def _blocks_of_like_length(lengths: NDArray[np.integer], width: int) -> Iterator[NDArray[np.intp]]:
    """Yield the numbers of rows that are not empty, longest first: padding to the longest of all costs tenfold."""
    order = np.argsort(-lengths, kind="stable")
    start, end = 0, int(np.count_nonzero(lengths))
    while start < end:
        floats = width * int(lengths[order[start]] + 2 * width)
        step = max(1, BLOCK_FLOATS // floats)
        yield order[start : min(start + step, end)]
        start += step
