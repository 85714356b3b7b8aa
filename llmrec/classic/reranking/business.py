"""Business rules as data: each a frozen recipe, in YAML ``{rule: quota, category: Drama, at_most: 3}``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Annotated, Literal, TypeVar

from pydantic import Field, model_validator

from llmrec.config import Config

Place = Annotated[int, Field(ge=1)]
Id = int | str
COLUMN = "categories"
R = TypeVar("R", bound=Config)


class Block(Config):
    """Items that are never shown."""

    rule: Literal["block"] = "block"
    """Which rule this is."""
    items: tuple[Id, ...] = ()
    """Ids of items."""
    categories: tuple[str, ...] = ()
    """All items that have one of these in ``column``."""
    column: str = COLUMN
    """Column of the item table."""

    @model_validator(mode="after")
    def _check(self) -> Block:
        if not self.items and not self.categories:
            raise ValueError("items or categories to block")
        return self


class Pin(Config):
    """A place for an item, where it is among the candidates."""

    rule: Literal["pin"] = "pin"
    """Which rule this is."""
    item: Id
    """Its id."""
    place: Place
    """From 1; a shorter list has it last."""


class Insert(Config):
    """Places for items that are shown to everybody who has not had them, candidates or not."""

    rule: Literal["insert"] = "insert"
    """Which rule this is."""
    items: tuple[Id, ...] = Field(min_length=1)
    """Ids; the first ones that a history does not hold fill the slots."""
    slots: tuple[Place, ...] = Field(min_length=1)
    """Places from 1; a shorter list has them behind its candidates."""


class Quota(Config):
    """How many of the first items have a category."""

    rule: Literal["quota"] = "quota"
    """Which rule this is."""
    category: str
    """Items that have it in ``column``."""
    at_least: int = Field(0, ge=0)
    """As few as that."""
    at_most: int | None = Field(None, ge=0)
    """As many as that; null for any number."""
    of: int = Field(10, ge=1)
    """Among so many first places."""
    column: str = COLUMN
    """Column of the item table."""

    @model_validator(mode="after")
    def _check(self) -> Quota:
        most = self.of if self.at_most is None else self.at_most
        if not self.at_least <= most or (self.at_least == 0 and self.at_most is None) or self.at_least > self.of:
            raise ValueError(f"at_least or at_most within {self.of} places, at_least not above at_most")
        return self


class Distance(Config):
    """How far apart items that share a category stand."""

    rule: Literal["distance"] = "distance"
    """Which rule this is."""
    apart: int = Field(ge=2)
    """Places from one to the next: 2 keeps neighbours apart."""
    of: int = Field(20, ge=2)
    """Among so many first places."""
    column: str = COLUMN
    """Column of the item table."""


class Fresh(Config):
    """A bonus for new items, before anything is placed."""

    rule: Literal["fresh"] = "fresh"
    """Which rule this is."""
    weight: float = Field(0.2, gt=0)
    """Added to the score, which goes from 0 to 1, of an item as new as the newest event."""
    half_life: float = Field(30.0, gt=0)
    """Days of age in which the bonus halves."""
    column: str | None = None
    """Column of the item table with dates; null takes the time of an item's first event."""


Rule = Annotated[Block | Pin | Insert | Quota | Distance | Fresh, Field(discriminator="rule")]


class RulesConfig(Config):
    """The rules of a list."""

    rules: tuple[Rule, ...] = Field((), max_length=1000)
    """What holds; their order does not matter."""

    @model_validator(mode="after")
    def _check(self) -> RulesConfig:
        pins, inserts = of_kind(self.rules, Pin), of_kind(self.rules, Insert)
        blocked = chain.from_iterable(each.items for each in of_kind(self.rules, Block))
        placed = [*(each.item for each in pins), *chain.from_iterable(each.items for each in inserts)]
        _once("place", [*(each.place for each in pins), *chain.from_iterable(each.slots for each in inserts)])
        _once("item", [*map(str, placed), *dict.fromkeys(map(str, blocked))])
        if len(of_kind(self.rules, Fresh)) > 1:
            raise ValueError("one fresh rule")
        return self


def of_kind(rules: Iterable[object], kind: type[R]) -> list[R]:
    """Return the rules of one kind."""
    return [each for each in rules if isinstance(each, kind)]


def _once(what: str, values: Sequence[object]) -> None:
    """Raise a ValueError where two rules claim one place, or say where an item goes that another one places."""
    for value in values:
        if values.count(value) > 1:
            raise ValueError(f"{what} {value} in one rule only")
