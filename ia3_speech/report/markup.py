"""HTML and SVG elements with all text escaped: elements in, markup out.

    >>> element("p", "5 < 6", class_="note")
    '<p class="note">5 &lt; 6</p>'

Text that is not `Markup` is escaped, so a reference that contains <script> is shown and does not run. The
page is composed of `element`, `json_block` and `raw_block` only.
"""

import html
import json
import re
from collections.abc import Iterable
from typing import Any

VOID_ELEMENTS = {"meta", "link", "input", "br", "hr", "wbr"}
# Only these characters can end a <script> or start a comment in it; JSON may write each as \uXXXX.
SCRIPT_ESCAPES = {ord(c): f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"}


class Markup(str):
    """Text that is not escaped again."""

    __slots__ = ()


Child = str | Iterable["Child"] | None


def element(name: str, /, *children: Child, **attributes: Any) -> Markup:
    """`<name attributes>children</name>`.

    Args:
        children: text, markup, or iterables of these; None is ignored.
        attributes: `class_` becomes class, `aria_label` becomes aria-label. True writes the bare name; False
            and None omit the attribute.
    """
    start = f"<{name}{''.join(format_attribute(key, value) for key, value in attributes.items())}>"
    if name in VOID_ELEMENTS:
        return Markup(start)
    return Markup(f"{start}{escape_children(children)}</{name}>")


def format_attribute(key: str, value: Any) -> str:
    if value is None or value is False:
        return ""
    name = key.rstrip("_").replace("_", "-")
    if value is True:
        return f" {name}"
    if isinstance(value, float):
        value = f"{value:.2f}".rstrip("0").rstrip(".")
    return f' {name}="{html.escape(str(value))}"'


def escape_children(children: Child) -> Markup:
    """The children concatenated: text escaped, markup unchanged."""
    if children is None:
        return Markup()
    if isinstance(children, Markup):
        return children
    if isinstance(children, str):
        return Markup(html.escape(children, quote=False))
    return Markup("".join(escape_children(child) for child in children))


def json_block(name: str, value: Any) -> Markup:
    """`value` as JSON in a script element that is not executed. Raises ValueError for nan."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    # A lone surrogate (of a file name that is not UTF-8) cannot be encoded, so JSON writes it as an escape.
    text = re.sub("[\ud800-\udfff]", lambda found: f"\\u{ord(found[0]):04x}", text.translate(SCRIPT_ESCAPES))
    return Markup(f'<script type="application/json" id="{html.escape(name)}">{text}</script>')


def raw_block(name: str, text: str) -> Markup:
    """The page's own style sheet or script, unescaped. Raises ValueError where it would end its element."""
    if f"</{name}" in text.lower() or "<!--" in text:
        raise ValueError(f"this text would end its <{name}> element")
    return Markup(f"<{name}>{text}</{name}>")
