"""Numbers as people read them, with their units."""

from __future__ import annotations

import math
import re

PERCENT = "\u00a0%"
"""A number and its sign stay on one line."""

MARKUP = frozenset("\\`*_[]<>$|~#&!")
"""Letters that mean something to Markdown, HTML or LaTeX in the middle of a line."""
JOINER = "\u2060"
"""Takes no room, and keeps an emoji's code, a directive or an address from being read as one."""


def percent(share: float, digits: int = 1) -> str:
    """0.953 -> "95.3 %", which no line breaks apart."""
    return f"{100 * share:.{digits}f}{PERCENT}"


def one_way(text: str) -> str:
    """A sentence of the core with its shares as pages write them: "80%" and "95 %" -> "80 %" and "95 %", unbroken."""
    return re.sub(r"(?<=\d)[ \u00a0]?%", PERCENT, text)


def plain(text: str) -> str:
    """A name from a person, a file or a link, so that Markdown shows it letter by letter."""
    shown = "".join(f"&#{ord(letter)};" if letter in MARKUP else letter for letter in " ".join(text.split()))
    return re.sub(r"(?<=[:@])(?=\S)|(?<=\bwww)(?=\.)", JOINER, re.sub(r"^([-+=>]|\d+[.)])", rf"{JOINER}\1", shown))


def title(name: str) -> str:
    """A name at the head of something: "accuracy" -> "Accuracy"."""
    return name[:1].upper() + name[1:]


def points(difference: float, digits: int = 1) -> str:
    """A difference of two shares in points: 0.004 -> "+0.4 points"."""
    return f"{_signed(difference, digits)} points"


def _signed(difference: float, digits: int) -> str:
    text = f"{100 * difference:+.{digits}f}"
    return text.replace("-", "+") if float(text) == 0 else text


def between(low: float, high: float, digits: int = 1) -> str:
    """The interval of a difference in points: " (between -0.4 and -0.2)"; nothing where there is none."""
    if math.isnan(low) or math.isnan(high):
        return ""
    return f" (between {_signed(low, digits)} and {_signed(high, digits)})"


def count(number: float) -> str:
    """266610 -> "266,610"."""
    return f"{number:,.0f}"


def things(number: float, name: str) -> str:
    """So many of what `name` calls in the plural: 4, "groups" -> "4 groups", 1, "groups" -> "1 group"."""
    return f"{number:,.0f} {name.removesuffix('s') if number == 1 else name}"


def size(number: float) -> str:
    """Bytes, in thousands: 1066440 -> "1.07 MB"."""
    for unit, factor in (("MB", 1e6), ("kB", 1e3)):
        if number >= factor:
            return f"{number / factor:.3g} {unit}" if number < 1000 * factor else f"{number / factor:,.0f} {unit}"
    return f"{number:.0f} B"


def change(now: float, before: float) -> str:
    """How much less (or more) of something there is: 30, 100 -> "-70 %"."""
    return f"{100 * (now / before - 1):+.0f}{PERCENT}" if before else f"0{PERCENT}"


def saved(now: float, before: float, less: str = "less") -> str:
    """How much less of something there is, or more of it: 30, 100 -> "70 % less"; 105, 100 -> "5 % more"."""
    share = 1 - now / before if before else 0.0
    return f"{percent(abs(share), 0)} {less if share >= 0 else 'more'}"


def interval(low: float, high: float) -> str:
    """A 95 % interval, or why there is none."""
    if math.isnan(low) or math.isnan(high):
        return "no interval: one seed"
    return f"95{PERCENT} interval {100 * low:.1f} to {percent(min(high, 1.0))}"


def throughput(rate: float) -> str:
    """Steps a second as people count them: 0.7 -> "42 a minute", 0.004 -> "14 an hour"."""
    return f"{60 * rate:.0f} a minute" if 60 * rate >= 2 else f"{3600 * rate:.0f} an hour"


def p_value(p: float) -> str:
    """0.034 -> "= 0.034", 0.00002 -> "< 0.001"; no line breaks within."""
    return "<\u00a00.001" if p < 0.001 else f"=\u00a0{p:.3f}" if p < 0.1 else f"=\u00a0{p:.2f}"


def duration(seconds: float) -> str:
    """43.2 -> "43 s", 130 -> "2 min 10 s", 4000 -> "1 h 6 min"."""
    whole = round(max(seconds, 0))
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole} s" if whole < 60 else f"{whole // 60} min {whole % 60} s"
