"""A long Parquet file made of pieces, so that it is never held in memory whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import polars as pl

from llmrec.data.files import atomic_file, resumable

_OURS = ("part-*.parquet", "part-*.json", ".part-*.tmp", "whole.parquet")


class Parts:
    """Pieces in a folder beside the file that they become.

    Args:
        out: the file.
    """

    def __init__(self, out: Path) -> None:
        self.out, self.folder = out, out.with_name(f"{out.name}.parts")

    def path(self, number: int, ending: str = "parquet") -> Path:
        """Return where a piece is, or something about it."""
        return self.folder / f"part-{number:05}.{ending}"

    def write(self, number: int, frame: pl.DataFrame, metadata: Mapping[str, str] | None = None) -> None:
        """Write a piece with texts about it, whole or not at all."""
        with resumable(self.folder), atomic_file(self.path(number)) as temporary:
            frame.write_parquet(temporary, metadata=dict(metadata or {}))

    def join(self, numbers: Sequence[int]) -> None:
        """Put these pieces together as the file."""
        parts, whole = [self.path(number) for number in numbers], self.folder / "whole.parquet"
        with resumable(self.out):
            if len(parts) > 1:
                pl.scan_parquet(parts, glob=False).sink_parquet(whole, row_group_size=1 << 18)
            else:
                pl.read_parquet(parts, glob=False).write_parquet(whole)
            whole.replace(self.out)

    def remove(self) -> None:
        """Remove what was written into the folder, and the folder if nothing else is in it."""
        for pattern in _OURS:
            for path in self.folder.glob(pattern):
                path.unlink(missing_ok=True)
        with suppress(OSError):  # it is not empty: somebody else's, or another run's
            self.folder.rmdir()
