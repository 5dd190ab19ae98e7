"""What the viewer's panel can show beside controls: small words, pictures, warnings, tables.

viser renders its texts as MDX: markdown, and JSX elements with styles. Its panel is about 260 pixels wide inside a
folder; its own pictures shrink to two thirds of that.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterable

from PIL import Image

ALARM_COLOUR = "#ff8787"
ESCAPED = {letter: f"&#{ord(letter)};" for letter in "&<>{}|*_`[]!#~\\"}
FLAG = re.compile(r"--[a-z][\w.-]*\w(?: [-+]?[\d.]*\d)?")


def as_text(message: str) -> str:
    """A message that the panel shows as it is.

    Brackets, stars and the like would be read as markup, and what stands in braces would be run as a script: nothing
    that comes out of a file may reach the panel in another way.
    """
    return "".join(ESCAPED.get(letter, letter) for letter in message)


def code(flag: str) -> str:
    """A flag, on a line of its own where it would break, and broken anywhere where it is longer than a line."""
    style = 'fontSize: "0.92em", display: "inline-block", maxWidth: "100%", overflowWrap: "anywhere"'
    return f"<code style={{{{{style}}}}}>{as_text(flag)}</code>"


def with_flags(message: str) -> str:
    """A sentence as text, its command line flags as code."""
    words, found = FLAG.split(message), FLAG.findall(message)
    return "".join(as_text(word) + code(flag) for word, flag in zip(words, found, strict=False)) + as_text(words[-1])


def small(content: str) -> str:
    """Faint words in small letters; the content is markup."""
    return f'<div style={{{{fontSize: "0.8em", lineHeight: 1.4, opacity: 0.75}}}}>{content}</div>'


def alarm(message: str) -> str:
    """A warning with a red edge."""
    style = f'fontSize: "0.85em", lineHeight: 1.35, borderLeft: "3px solid {ALARM_COLOUR}", paddingLeft: "0.6em"'
    return f'<div style={{{{{style}, marginBottom: "0.6em"}}}}>{with_flags(message)}</div>'


def table(rows: Iterable[tuple[str, str]]) -> str:
    """Names on the left, values on the right."""
    return "\n".join(["| | |", "|---|---:|", *(f"| {as_text(name)} | {as_text(value)} |" for name, value in rows)])


def data_url(picture: Image.Image, kind: str = "png", quality: int = 85) -> str:
    """A picture as an address that holds it: PNG of few colours, or JPEG."""
    stream = io.BytesIO()
    if kind == "png":
        picture.quantize(64).save(stream, "png", optimize=True)
    else:
        picture.save(stream, kind, quality=quality)
    return f"data:image/{kind};base64,{base64.b64encode(stream.getvalue()).decode()}"


def picture(url: str, words: str) -> str:
    """A picture as wide as the panel; the words are for those who cannot see it."""
    return f'<img src="{url}" alt="{words}" style={{{{width: "100%", display: "block"}}}} />'
