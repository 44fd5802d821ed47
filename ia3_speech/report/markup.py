"""HTML and SVG as text that nothing can break out of: elements in, markup out.

    >>> element("p", "5 < 6", class_="note")
    '<p class="note">5 &lt; 6</p>'

What isn't `Markup` is escaped, so a reference with a <script> in it is shown and doesn't run. A page is made
of `element`, `json_block` and `raw_block`, and of no other text.
"""

import html
import json
import re
from collections.abc import Iterable
from typing import Any

VOID = {"meta", "link", "input", "br", "hr", "wbr"}
# In a <script> only these end it, or start a comment; in a JSON string each can be written as \uXXXX.
DANGEROUS = {ord(c): f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"}


class Markup(str):
    """Text that is markup already."""

    __slots__ = ()


Child = str | Iterable["Child"] | None


def element(name: str, /, *children: Child, **attributes: Any) -> Markup:
    """`<name attributes>children</name>`.

    children: text, markup, lists of them; None is nothing. attributes: `class_` is class, `aria_label` is
    aria-label, `viewBox` stays; True is the bare name, False and None leave it out.
    """
    start = f"<{name}{''.join(attribute(key, value) for key, value in attributes.items())}>"
    if name in VOID:
        return Markup(start)
    return Markup(f"{start}{join(children)}</{name}>")


def attribute(key: str, value: Any) -> str:
    if value is None or value is False:
        return ""
    name = key.rstrip("_").replace("_", "-")
    if value is True:
        return f" {name}"
    if isinstance(value, float):
        value = f"{value:.2f}".rstrip("0").rstrip(".")
    return f' {name}="{html.escape(str(value))}"'


def join(children: Child) -> Markup:
    """Text escaped, markup as it is, one behind the other."""
    if children is None:
        return Markup()
    if isinstance(children, Markup):
        return children
    if isinstance(children, str):
        return Markup(html.escape(children, quote=False))
    return Markup("".join(join(child) for child in children))


def json_block(name: str, value: Any) -> Markup:
    """`value` as JSON in a script element that doesn't run; raises ValueError for nan."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    # A lone surrogate (a file name that isn't UTF-8) can't be encoded: JSON writes it as an escape.
    text = re.sub("[\ud800-\udfff]", lambda found: f"\\u{ord(found[0]):04x}", text.translate(DANGEROUS))
    return Markup(f'<script type="application/json" id="{html.escape(name)}">{text}</script>')


def raw_block(name: str, text: str) -> Markup:
    """Our own style sheet or script, as it stands. Raises ValueError where it would end its element."""
    if f"</{name}" in text.lower() or "<!--" in text:
        raise ValueError(f"this text would end its <{name}> element")
    return Markup(f"<{name}>{text}</{name}>")
