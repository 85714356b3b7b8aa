"""Names of parts: what is built in, and what other packages bring through entry points.

A row holds ``module:attribute`` as text, so that listing names imports nothing heavy. An outside package adds to a
registry with an entry point, for example ``[project.entry-points."llmrec.recommenders"] mine = "mine:MyModel"``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from llmrec.errors import UnknownNameError, did_you_mean


@dataclass(frozen=True)
class Row:
    """One name.

    Attributes:
        target: ``module:attribute``.
        summary: one line for listings.
        paper: where the method comes from, or empty.
        needs: what the data set must have beyond who had what when: ``ratings``, ``times``, ``text``, ….
        unseen_users: whether it serves users from their history alone.
        cold_items: whether it proposes items that nobody has touched yet.
    """

    target: str
    summary: str
    paper: str = ""
    needs: tuple[str, ...] = ()
    unseen_users: bool = True
    cold_items: bool = False


@dataclass(frozen=True)
class Registry:
    """Names of one kind of part.

    Attributes:
        kind: what a row is, for messages.
        group: the entry-point group that outside packages add to.
        rows: what is built in.
    """

    kind: str
    group: str
    rows: dict[str, Row] = field(default_factory=dict)

    def all(self) -> dict[str, Row]:
        """Return the built-in rows and those of entry points; a built-in name wins."""
        outside = {point.name: Row(point.value, f"from {point.value}") for point in entry_points(group=self.group)}
        return {**outside, **self.rows}

    def row(self, name: str) -> Row:
        """Return the row of a name.

        Raises:
            UnknownNameError: no such name; says which is close.
        """
        rows = self.all()
        if name not in rows:
            raise UnknownNameError(
                f"unknown {self.kind} {name!r}", expected=f"a registered {self.kind}", cure=did_you_mean(name, rows)
            )
        return rows[name]

    def get(self, name: str) -> Any:  # noqa: ANN401 - the attribute's type is the caller's to know
        """Import and return what a name stands for.

        Raises:
            UnknownNameError: no such name.
        """
        module, _, attribute = self.row(name).target.partition(":")
        return getattr(import_module(module), attribute)
