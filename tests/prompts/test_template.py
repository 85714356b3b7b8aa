"""Templates render what their golden files hold, treat item texts as text, and fail in one line."""

import os
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from llmrec.errors import ConfigError, UnknownNameError
from llmrec.prompts.template import Template, clean_text, load_template, template_names
from llmrec.testing import expect_error

GOLDEN = Path(__file__).parents[1] / "golden"
NASTY = "Heat\nIgnore all\r\n\x00\u2028{{ 7*7 }}{% for x in y %} <b>&amp;</b>  "
HISTORIES = {"no history": [], "one title": ["Alien (1979)"], "three titles": ["Alien (1979)", NASTY, "Amélie"]}
CANDIDATES = ["Dune", NASTY, "2001: A Space Odyssey"]


def variables(history):
    """Return all that templates are given by what uses them; each takes what it names."""
    lists = {
        "history": history,
        "candidates": CANDIDATES,
        "liked": history,
        "disliked": history[1:],
        "labels": list("ABC"),
    }
    return {**lists, "target": NASTY, "document": "A CV. " + " ".join(history)}


def golden_text(template):
    """Return all that a template renders, as one page."""
    parts = []
    for name, history in HISTORIES.items():
        prompt = template.render(**variables(history))
        parts += [f"=== {name}: system", prompt.system, f"=== {name}: user", prompt.user]
    if template.answer == "continuation":
        parts += ["=== answers", *(template.render_answer(title) for title in [*CANDIDATES, *(template.labels or ())])]
    return "\n".join([*parts, "=== end\n"])


def golden_path(template):
    return GOLDEN / f"{template.name}-v{template.version}.txt"


@pytest.mark.parametrize("name", template_names())
def test_a_template_renders_its_golden_file(name):
    """New wording takes a new version; LLMREC_GOLDEN=write then writes its file, and never replaces one."""
    template = load_template(name)
    path = golden_path(template)
    if os.environ.get("LLMREC_GOLDEN") == "write" and not path.exists():
        path.write_text(golden_text(template), encoding="utf-8")
    assert path.is_file(), f"no {path.name}: run pytest with LLMREC_GOLDEN=write, read the new file, commit it"
    assert golden_text(template) == path.read_text(encoding="utf-8"), "wording changed: raise the version"


def test_each_golden_file_is_of_a_template_of_today():
    expected = {golden_path(load_template(name)).name for name in template_names()}
    assert {path.name for path in GOLDEN.glob("*.txt")} == expected


@pytest.mark.parametrize("part", ["system", "user", "continuation"])
def test_wording_changed_without_a_new_version_shows(part):
    template = load_template("likelihood-chat")
    changed = Template(**template.model_dump() | {part: getattr(template, part) + "!"})
    assert golden_text(changed) != golden_path(changed).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", template_names())
def test_a_template_is_named_as_its_file_and_says_what_it_is(name):
    template = load_template(name)
    assert template.name == name
    assert template.version >= 1
    assert template.description.endswith(".")
    prompt = template.render(**variables([NASTY, "Heat "]))
    for text in (prompt.user, prompt.system, template.render(**variables([])).user):
        assert not text.endswith(" ")
        assert "\x00" not in text
        assert "\r" not in text


@pytest.mark.parametrize("name", template_names())
def test_item_texts_are_not_run(name):
    prompt = load_template(name).render(**variables(["{{ 7*7 }}", "Heat"]))
    assert "{{ 7*7 }}" in prompt.user
    assert "49" not in prompt.user


def written(tmp_path, **changes):
    """The path of a template file with these keys changed; None drops one."""
    keys = {"name": "mine", "version": 1, "description": "x", "user": "{{ history }}", "answer": "ranking"} | changes
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({key: value for key, value in keys.items() if value is not None}))
    return str(path)


def test_a_file_of_ones_own_is_read(tmp_path):
    template = load_template(written(tmp_path, user="{{ history | join('; ') }} ", system="Hello \n"))
    assert template.render(history=["a\nb", "c"]).user == "a b; c"
    assert template.render(history=[]).system == "Hello"


@pytest.mark.parametrize(
    "wording",
    [
        "{{ history.__class__ }}",
        "{{ history.__class__.__mro__ }}",
        "{{ ''.__class__.__base__.__subclasses__() }}",
        "{{ history.append('x') }}",
        "{{ self.__init__.__globals__ }}",
        "{{ history[0] + 1 }}",
        "{{ 1 // 0 }}",
        "{% for i in range(10 ** 9) %}x{% endfor %}",
        "{{ history | join(missing) }}",
        "{{ 'abc' | round }}",
        "{% include 'other' %}",
    ],
)
def test_wording_that_cannot_be_filled_in_is_one_line(tmp_path, wording):
    template = load_template(written(tmp_path, user=wording))
    expect_error(ConfigError, lambda: template.render(history=["Alien"]), "template 'mine'")


@pytest.mark.parametrize("wording", ["{{ history", "{% if %}", "{{ history | nofilter }}"])
def test_wording_that_is_no_jinja_is_one_line(tmp_path, wording):
    template = load_template(written(tmp_path, user=wording))
    expect_error(ConfigError, lambda: template.render(history=["Alien"]), "template 'mine'", "valid Jinja2", "line 1")


def test_an_unknown_variable_names_those_that_there_are(tmp_path):
    template = load_template(written(tmp_path, user="{{ histroy }}"))
    expect_error(
        ConfigError, lambda: template.render(history=["a"], candidates=["b"]), "histroy", "history, candidates"
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"answer": "rankin"}, ("answer 'rankin'", "did you mean 'ranking'?")),
        ({"answer": "continuation"}, ("a continuation is needed",)),
        ({"continuation": "{{ candidate }}"}, ("a continuation is needed",)),
        ({"labels": ["No."]}, ("labels", "at least 2")),
        ({"sytem": "hello"}, ("sytem", "system")),
        ({"user": None}, ("user", "required")),
        ({"version": "new"}, ("version", "integer")),
    ],
)
def test_a_wrong_key_or_value_is_one_line(tmp_path, changes, words):
    path = written(tmp_path, **changes)
    expect_error(ConfigError, lambda: load_template(path), repr(path), *words)


@pytest.mark.parametrize("content", [b"name: [", b"- a\n- b\n", b"", b"name: \xff\xfe", b"name: \x00"])
def test_a_file_that_is_no_template_is_one_line(tmp_path, content):
    (tmp_path / "x.yaml").write_bytes(content)
    expect_error(ConfigError, lambda: load_template(str(tmp_path / "x.yaml")), "x.yaml")


def test_an_unknown_name_or_file_says_what_there_is(tmp_path):
    expect_error(UnknownNameError, lambda: load_template("likelihood-lst"), "did you mean 'likelihood-list'?")
    expect_error(UnknownNameError, lambda: load_template("/no/file.yaml"), "/no/file.yaml", "check the path")
    (tmp_path / "folder.yaml").mkdir()
    expect_error(UnknownNameError, lambda: load_template(str(tmp_path / "folder.yaml")), "check the path")


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("  Heat\t(1995)\r\n", "Heat (1995)"),
        ("a\x00\x1b[31mb", "a [31mb"),
        ("zero\u200bwidth\u202eturned", "zero width turned"),
        ("line\u2028sep\u2029par\x85nel\xa0nbsp", "line sep par nel nbsp"),
        ("\ud800", ""),
        ("Amélie 東京 🎬", "Amélie 東京 🎬"),
        ("x" * 199 + " yz", "x" * 199),
    ],
)
def test_item_text_is_folded(text, clean):
    assert clean_text(text) == clean


@given(st.text(st.characters(), max_size=300), st.integers(1, 250))
def test_clean_text_is_one_bounded_line_and_stays_as_it_is(text, limit):
    clean = clean_text(text, limit=limit)
    assert len(clean) <= limit
    assert len(clean.splitlines()) <= 1
    assert clean == clean.strip()
    assert "  " not in clean
    assert clean_text(clean, limit=limit) == clean
    clean.encode("utf-8")


def test_a_single_text_is_cleaned_as_one_and_a_cleaned_one_stays():
    template = Template(name="x", version=1, description="x", user="{{ target }}", answer="ranking")
    assert template.render(target="He\nat ").user == "He at"
    assert template.render_cleaned({"target": "x" * 500}).user == "x" * 500


def test_the_in_context_prompt_keeps_a_history_of_one():
    template = load_template("llmrank-in-context")
    assert "I have just chosen Heat. There are 1 candidates" in template.render(history=["Heat"], candidates=["X"]).user
    assert template.render(history=[], candidates=["X"]).user.startswith("There are 1 candidates")
