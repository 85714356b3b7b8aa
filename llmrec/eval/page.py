"""Pages: one HTML file each, with one head and one style sheet for all."""

from __future__ import annotations

from importlib import resources
from importlib.resources.abc import Traversable

import jinja2


def render_page(template: Traversable, **values: object) -> str:
    """Return the page of a template that extends one of this folder; all values are escaped, unknown ones refused."""
    ours = (file for file in resources.files("llmrec.eval").iterdir() if file.name.endswith(".html"))
    files = {file.name: file.read_text("utf-8") for file in (*ours, template)}
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, loader=jinja2.DictLoader(files)
    )
    return environment.get_template(template.name).render(values)
