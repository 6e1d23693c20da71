"""Colours of organs: the same organ has the same colour in every figure."""

from __future__ import annotations

from collections.abc import Iterable

from autoseg.labels import Label

# Okabe & Ito's palette for the colour-blind (jfly.uni-koeln.de/color) without its black and yellow, which vanish on
# a CT image and on white paper, then colours of Paul Tol's "muted" and "vibrant" schemes (SRON/EPS/TN/09-002), the
# darkest of them made lighter: an outline in a black casing must show on black and on grey.
PALETTE = (
    "#D55E00",  # vermilion
    "#56B4E9",  # sky blue
    "#009E73",  # green
    "#E69F00",  # orange
    "#0072B2",  # blue
    "#CC79A7",  # pink
    "#EE3377",  # magenta
    "#999933",  # olive
    "#44AA99",  # teal
    "#AA4499",  # purple
    "#DDAA77",  # sand
    "#8C7AE6",  # violet
    "#A65628",  # brown
    "#6699CC",  # pale blue
)
_MIXED = ((0.0, 0), (0.33, 255), (0.3, 0), (0.55, 255), (0.5, 0), (0.2, 255), (0.18, 0), (0.45, 255))  # share, of what
INK = "#222222"
FAINT = "#9A9A9A"
TRAINING = "#5F6B7A"  # a set of cases rather than an organ
VALIDATION = "#D55E00"
TESTING = "#0072B2"


def organ_colour(index: int) -> str:
    """Return the colour of the organ at a place in label order (from 0), as #RRGGBB.

    After the palette come its colours mixed with white and with black, so that neighbours in the order differ in hue.

    >>> organ_colour(0), organ_colour(len(PALETTE)), len({organ_colour(n) for n in range(104)})
    ('#D55E00', '#E39354', 104)
    """
    turn, place = divmod(index, len(PALETTE))
    share, end = _MIXED[turn % len(_MIXED)]
    parts = (int(PALETTE[place][i : i + 2], 16) for i in (1, 3, 5))
    return "#" + "".join(f"{round(part + share * (end - part)):02X}" for part in parts)


def organ_colours(labels: Iterable[Label]) -> dict[int, str]:
    """Return the colour of each organ of a plan, by its value; `labels` are all of them, in label order."""
    return {label.value: organ_colour(place) for place, label in enumerate(labels)}


def colours_by_name(organs: Iterable[str]) -> dict[str, str]:
    """Return the colour of each organ of a plan, by its name; `organs` are all of them, in label order."""
    return {name: organ_colour(place) for place, name in enumerate(organs)}


def luminance(colour: str) -> float:
    """Return the relative luminance of #RRGGBB, from 0 (black) to 1 (white).

    Source: Web Content Accessibility Guidelines 2.2.

    >>> luminance("#FFFFFF")
    1.0
    """
    parts = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return round(0.2126 * red + 0.7152 * green + 0.0722 * blue, 6)
