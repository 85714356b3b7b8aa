"""Prompt templates: YAML files with sandboxed Jinja2, strict about unknown variables and keys."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from functools import cached_property
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

import jinja2
import jinja2.meta
import jinja2.sandbox
import pydantic
import yaml
from pydantic import Field

from llmrec.config import Config
from llmrec.errors import ConfigError, UnknownNameError, did_you_mean
from llmrec.prompts.answers import PARSERS
from llmrec.protocols import Prompt

_ENVIRONMENT = jinja2.sandbox.ImmutableSandboxedEnvironment(
    undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
)
_BUILT_IN = files("llmrec.prompts") / "templates"
_UNSAFE = re.compile(r"\s+")
_CONTROL = re.compile(
    r"<(?=[^\s<>]*[|\uff5c_][^\s<>]*>|/?(?:s|bos|eos|pad|unk|think)>|<?/?SYS>)"
    r"|\[(?=/[A-Z_]+\]|[A-Z]+(?:_[A-Z]+)+\]|INST\])"
)
"""What begins like a special token of a chat model: <|im_end|>, <end_of_turn>, </s>, [/INST], [TOOL_CALLS]."""


class Template(Config):
    """One prompt. Changed wording bumps ``version``."""

    name: str
    """The name it is asked for by."""
    version: int
    """Raised with every change of wording."""
    description: str
    """One sentence."""
    paper: str = ""
    """Where it comes from."""
    system: str = ""
    """Instructions, Jinja2."""
    user: str
    """The request, Jinja2; sees what its user gives: ``history``, ``candidates``, ``liked`` and ``disliked`` (lists of
    titles), ``labels`` of the candidates, ``target`` (a title), ``document`` (a CV)."""
    answer: str
    """How the answer is read: a parser's name, or ``continuation`` where answers are scored, not written."""
    continuation: str = ""
    """For ``continuation`` and ``identifiers``: how a candidate stands as an answer, or in one, Jinja2; sees
    ``candidate``, a title or label."""
    labels: tuple[str, ...] | None = Field(None, min_length=2)
    """Answers to choose among: no and yes, in this order, or what candidates are called by."""

    @pydantic.model_validator(mode="after")
    def _check(self) -> Template:
        if self.answer != "continuation" and self.answer not in PARSERS:
            raise ValueError(f"answer {self.answer!r} is no parser: {did_you_mean(self.answer, PARSERS)}")
        if (self.answer in {"continuation", "identifiers"}) != bool(self.continuation):
            raise ValueError("a continuation is needed with answer: continuation or identifiers, and only there")
        if self.answer == "identifiers" and self.labels is None:
            raise ValueError("labels are needed with answer: identifiers")
        return self

    @cached_property
    def _compiled(self) -> dict[str, jinja2.Template]:
        parts = {"system": self.system, "user": self.user, "continuation": self.continuation}
        try:
            return {part: _ENVIRONMENT.from_string(text) for part, text in parts.items()}
        except jinja2.TemplateSyntaxError as error:
            raise ConfigError(
                f"template {self.name!r} ({error})", expected="valid Jinja2", cure=f"mend line {error.lineno}"
            ) from None

    @cached_property
    def variables(self) -> frozenset[str]:
        """Names that system and user are filled with.

        Raises:
            ConfigError: they are no Jinja2.
        """
        wording = "\n".join(str(getattr(self, part)) for part in self._compiled if part != "continuation")
        return frozenset(jinja2.meta.find_undeclared_variables(_ENVIRONMENT.parse(wording)))

    def render(self, **variables: str | Sequence[str]) -> Prompt:
        """Return the prompt; every text in ``variables`` is folded and bounded by ``clean_text``.

        Raises:
            ConfigError: the template uses a variable that the strategy does not give.
        """
        return self.render_cleaned(
            {
                name: clean_text(value) if isinstance(value, str) else [clean_text(text) for text in value]
                for name, value in variables.items()
            }
        )

    def render_cleaned(self, variables: Mapping[str, str | Sequence[str]]) -> Prompt:
        """Return the prompt of texts that ``clean_text`` gave: for many rows of the same texts, or longer ones."""
        return Prompt(user=self._fill("user", variables).rstrip(" "), system=self._fill("system", variables).rstrip())

    def render_answer(self, candidate: str) -> str:
        """Return a candidate's title as the answer to score."""
        return self.render_cleaned_answer(clean_text(candidate))

    def render_cleaned_answer(self, candidate: str) -> str:
        """Return as an answer a text whose lines ``clean_text`` gave."""
        return self._fill("continuation", {"candidate": candidate})

    def _fill(self, part: str, variables: Mapping[str, str | Sequence[str]]) -> str:
        compiled, wording = self._compiled[part], str(getattr(self, part))
        if "{" not in wording:  # nothing to fill in: Jinja takes ten times as long to say the same
            return wording
        try:
            return compiled.render(variables)
        except (jinja2.TemplateError, AttributeError, TypeError, ValueError, ArithmeticError) as error:
            # Unknown variables, what the sandbox forbids, and wording such as {{ history + 1 }}.
            raise ConfigError(
                f"template {self.name!r}: {error}",
                expected=f"wording that uses the variables {', '.join(variables)}",
                cure=f"mend its {part!r}",
            ) from None


def clean_text(text: str, *, limit: int = 200) -> str:
    """Return untrusted item text on one line of at most ``limit`` characters, control characters folded into spaces.

    What looks like a chat model's special token gets a blank behind its first character, so that a server, whose
    tokenizer nobody here sees, does not take it for one; local engines break up those of their tokenizer themselves.
    """
    visible = "".join(" " if unicodedata.category(char)[0] in "CZ" else char for char in text)
    return _CONTROL.sub(r"\g<0> ", _UNSAFE.sub(" ", visible)).strip()[:limit].rstrip()


def template_names() -> list[str]:
    """Return the names of the templates that come with llmrec."""
    return sorted(entry.name.removesuffix(".yaml") for entry in _BUILT_IN.iterdir() if entry.name.endswith(".yaml"))


def template_file(name: str) -> Traversable:
    """Return the YAML file of a built-in name, or of a path.

    Raises:
        UnknownNameError: no such name or file.
    """
    if name.endswith((".yaml", ".yml")):
        path = Path(name)
        if not path.is_file():
            raise UnknownNameError(f"no template {name!r}", expected="a YAML file", cure="check the path")
        return path
    if name not in template_names():
        raise UnknownNameError(
            f"unknown template {name!r}",
            expected="a built-in name or the path of a YAML file",
            cure=did_you_mean(name, template_names()),
        )
    return _BUILT_IN / f"{name}.yaml"


def load_template(name: str) -> Template:
    """Return a built-in template by name, or one of your own by the path of its YAML file.

    Raises:
        UnknownNameError: no such name or file.
        ConfigError: the file is no valid template.
    """
    content = template_file(name).read_bytes()
    try:
        return Template.model_validate(yaml.safe_load(content.decode()))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"template {name!r} ({error})", expected="valid YAML in UTF-8", cure="mend that line"
        ) from None
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the template"
        raise ConfigError(
            f"template {name!r}, {where}: {first['msg']}",
            expected=f"the keys {', '.join(Template.model_fields)}",
            cure="mend or drop that key",
        ) from None
