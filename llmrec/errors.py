"""Every error that a user can cause: the value, what was expected, and the cure, in one line."""

from __future__ import annotations

import importlib
from difflib import get_close_matches
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class LlmrecError(Exception):
    """Base of all user errors; the command line prints it as one line and exits with code 2.

    Args:
        found: the offending value, named so that a reader finds it.
        expected: what should have been there.
        cure: what to do about it.
    """

    exit_code = 2

    def __init__(self, found: str, *, expected: str, cure: str) -> None:
        self.found, self.expected, self.cure = found, expected, cure
        super().__init__(" ".join(f"{found}: expected {expected}; {cure}".split()))


class DataError(LlmrecError):
    """A file, a table or an array does not hold what it should."""


class ConfigError(LlmrecError):
    """A setting is unknown, of the wrong type or out of range."""


class UnknownNameError(LlmrecError):
    """A name is in no registry."""


class ModelError(LlmrecError):
    """A model's folder or weights cannot be used."""


class EngineError(LlmrecError):
    """A language-model engine cannot do what was asked."""


class TrainingError(LlmrecError):
    """Training cannot go on."""


class MissingPackageError(LlmrecError):
    """An optional package is not installed."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``did you mean 'x'?`` or the list of known names, for the end of an error."""
    known = sorted(known)
    close = get_close_matches(name, known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"choose from {', '.join(known) or 'none'}"


def require(module: str, *, extra: str, purpose: str) -> ModuleType:
    """Import an optional module, or raise a MissingPackageError that names the extra to install."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as missing:
        # A broken import inside an installed package is not "not installed": let that one through.
        if missing.name is None or missing.name.split(".")[0] != module.split(".", maxsplit=1)[0]:
            raise
        raise MissingPackageError(
            f"package {module.split('.', maxsplit=1)[0]!r} is not installed",
            expected=f"it for {purpose}",
            cure=f"install it with: pip install 'llmrec[{extra}]'",
        ) from None
