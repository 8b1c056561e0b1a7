"""Numbers as a report writes them: a space that does not break before "%", a sign before every difference."""

from __future__ import annotations

import math
import re

from ..evaluation import Interval

SPACE = "\u00a0"


def percent(share: float, digits: int = 1) -> str:
    """A share of 1.

    >>> percent(0.9512).replace(SPACE, " ")
    '95.1 %'
    """
    return f"{100 * share:.{digits}f}{SPACE}%"


def spaced(text: str) -> str:
    """A text whose shares are written as here.

    >>> spaced("15% can go, 95 % interval").replace(SPACE, "_")
    '15_% can go, 95_% interval'
    """
    return re.sub(r"(?<=\d) ?%", f"{SPACE}%", text)


def points(difference: float, digits: int = 2) -> str:
    """A difference of two shares.

    >>> points(-0.00001), points(0.0034)
    ('+0.00 points', '+0.34 points')
    """
    return f"{_signed(100 * difference, digits)} points"


def between(interval: Interval, *, signed: bool = False, least: float = -math.inf) -> str:
    """An interval in per cent or, if `signed`, in points, beside the number that it is of; empty without one.

    >>> between(Interval(0.5, 0.41, 1.2)), between(Interval(0, -0.001, 0.007), signed=True)
    ('(between 41.0 and 100.0)', '(between -0.10 and +0.70)')
    """
    low, high = interval.low, interval.high
    if math.isnan(low) or math.isnan(high):
        return ""
    if signed:
        return f"(between {_signed(100 * low, 2)} and {_signed(100 * high, 2)})"
    return f"(between {100 * max(low, least):.1f} and {100 * min(high, 1):.1f})"


def stacked(interval: Interval, least: float | None = None) -> str:
    """A number with its interval on a line of its own, for narrow columns: per cent above `least`, or points.

    >>> stacked(Interval(0.5, 0.41, 1.2), 0.0), stacked(Interval(-0.01, math.nan, math.nan))
    ('50.00\\n41.0 to 100.0', '-1.00')
    """
    value, low, high = interval.estimate, interval.low, interval.high
    if math.isnan(value):
        return "–"
    if least is None:
        ends = f"{_signed(100 * low, 2)} to {_signed(100 * high, 2)}"
        return _signed(100 * value, 2) + ("" if math.isnan(low) else f"\n{ends}")
    ends = f"{100 * max(low, least):.1f} to {100 * min(high, 1):.1f}"
    return f"{100 * value:.2f}" + ("" if math.isnan(low) else f"\n{ends}")


def count(number: int | float) -> str:
    """A whole number.

    >>> count(266610)
    '266,610'
    """
    return f"{number:,.0f}"


def size(number: int | float) -> str:
    """Bytes, in thousands.

    >>> size(1066440).replace(SPACE, " "), size(512).replace(SPACE, " ")
    ('1.07 MB', '512 B')
    """
    for unit, factor in (("MB", 1e6), ("kB", 1e3)):
        if number >= factor:
            return f"{number / factor:,.3g}{SPACE}{unit}" if number < 1e9 else f"{number / factor:,.0f}{SPACE}{unit}"
    return f"{number:.0f}{SPACE}B"


def saved(now: int | float, before: int | float) -> str:
    """How much less, or more, of something there is.

    >>> saved(30, 100).replace(SPACE, " "), saved(105, 100).replace(SPACE, " "), saved(1, 0)
    ('70 % less', '5 % more', 'the same')
    """
    if not before or now == before:
        return "the same"
    return f"{percent(abs(1 - now / before), 0)} {'less' if now < before else 'more'}"


def listed(names: list[str] | tuple[str, ...]) -> str:
    """Names as a sentence has them.

    >>> listed(["a", "b", "c"])
    'a, b and c'
    """
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1] if names else ""]))


def things(number: int, name: str) -> str:
    """So many of what `name` calls in the plural.

    >>> things(1, "seeds"), things(3, "seeds")
    ('1 seed', '3 seeds')
    """
    return f"{number:,} {name.removesuffix('s') if number == 1 else name}"


def _signed(number: float, digits: int) -> str:
    text = f"{number:+.{digits}f}"
    return text.replace("-", "+") if float(text) == 0 else text
