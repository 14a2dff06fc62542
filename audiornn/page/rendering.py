"""Self-contained HTML pages: no network, light and dark, from a phone's width up.

Names of files and labels come from strangers. They are escaped wherever they stand, a page's own script puts them in as
text alone, and the page's policy lets no other script run and nothing be fetched.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from audiornn.files.escaping import escape_text

_SHARED = "audiornn.page"


def render_page(
    package: str,
    template: str,
    *,
    title: str,
    scripts: Sequence[str] = (),
    filters: Mapping[str, Callable[..., Any]] | None = None,
    **content: Any,
) -> str:
    """A page as text.

    Args:
        package: its folder ``page`` holds the template and the script.
        template: file name; it extends ``layout.html.jinja``, which has the style sheet and the policy.
        title: any text.
        scripts: file names, there or in this package; without any no script may run.
        filters: beside ``plain`` (text without lone surrogates), ``short`` (a number) and ``duration`` (seconds).
        content: what the template shows.
    """
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(package, "page"), PackageLoader(_SHARED, "")]),
        autoescape=True,
        undefined=StrictUndefined,
    )
    environment.filters |= {"plain": escape_text, "short": short_number, "duration": duration_text, **(filters or {})}
    code = "\n".join(_read_script(package, name) for name in scripts)
    digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
    return environment.get_template(template).render(
        title=escape_text(title),
        style=Markup(resources.files(_SHARED).joinpath("style.css").read_text("utf-8")),
        script=Markup(code),
        script_source=Markup(f"'sha256-{digest}'" if code else "'none'"),
        **content,
    )


def _read_script(package: str, name: str) -> str:
    own = resources.files(package).joinpath("page", name)
    return (own if own.is_file() else resources.files(_SHARED).joinpath(name)).read_text("utf-8")


def short_number(value: float) -> str:
    """Whole numbers with separators, others to four digits."""
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def duration_text(seconds: float) -> str:
    """``42 s``, ``12.3 min`` or ``4.5 h``."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"
