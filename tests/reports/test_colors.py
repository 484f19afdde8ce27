"""Colours: one set for report, studio and plots, told apart by colour-blind people, and readable as text."""

from __future__ import annotations

import re
from itertools import product
from pathlib import Path

import numpy as np
import pytest

import charter
from charter.jobs.notebook import plots

CSS = (Path(charter.__file__).parent / "reports" / "templates" / "report.css").read_text(encoding="utf-8")
LIGHT, DARK = (dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", block)) for block in re.findall(r":root \{([^}]*)\}", CSS))
DARK = LIGHT | DARK
SEEN = {
    "full": np.eye(3),
    "protanopia": [[0.1523, 1.0526, -0.2049], [0.1145, 0.7863, 0.0992], [-0.0039, -0.0481, 1.0520]],
    "deuteranopia": [[0.3673, 0.8606, -0.2280], [0.2801, 0.6725, 0.0474], [-0.0118, 0.0429, 0.9689]],
    "tritanopia": [[1.2555, -0.0767, -0.1788], [-0.0784, 0.9308, 0.1476], [0.0047, 0.6914, 0.3039]],
}
"""What is seen of linear RGB (G. Machado, M. Oliveira, L. Fernandes, *A Physiologically-based Model for Simulation of
Color Vision Deficiency*, 2009, severity 1)."""
PAIRS = (("accent", "before"), ("accent", "bad"))
"""Colours that stand for two things: after and before, good and bad."""
APART = 30
"""CIE76; 2.3 is a difference that is just seen."""


def linear(color: str) -> np.ndarray:
    """Linear RGB of an sRGB colour (IEC 61966-2-1)."""
    shares = np.array([int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)])
    return np.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    """CIE Lab of linear RGB under D65."""
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ np.clip(rgb, 0, 1)
    shares = xyz / np.array([0.9505, 1, 1.0888])
    x, y, z = np.where(shares > 0.008856, np.cbrt(shares), 7.787 * shares + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def contrast(one: str, other: str) -> float:
    """Contrast as WCAG 2 defines it."""
    dark, light = sorted(float(np.array([0.2126, 0.7152, 0.0722]) @ linear(color)) for color in (one, other))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize(("colors", "pair", "eyes"), list(product((LIGHT, DARK), PAIRS, SEEN)))
def test_colors_with_a_meaning_are_told_apart(colors: dict[str, str], pair: tuple[str, str], eyes: str) -> None:
    one, other = (lab(np.array(SEEN[eyes]) @ linear(colors[name])) for name in pair)
    assert np.linalg.norm(one - other) > APART


@pytest.mark.parametrize(
    ("colors", "name", "ground"),
    list(product((LIGHT, DARK), ("ink", "soft", "accent", "bad", "before"), ("page", "card", "tint"))),
)
def test_text_is_readable(colors: dict[str, str], name: str, ground: str) -> None:
    assert contrast(colors[name], colors[ground]) >= 4.5


def test_plots_have_the_colors_of_the_page() -> None:
    names = ("accent", "before", "ink", "soft", "line")
    assert [LIGHT[name] for name in names] == [plots.AFTER, plots.BEFORE, plots.INK, plots.SOFT, plots.LINE]


def test_green_and_red_of_one_lightness_would_be_refused() -> None:
    one, other = (lab(np.array(SEEN["deuteranopia"]) @ linear(color)) for color in ("#1d7a3e", "#b3261e"))
    assert np.linalg.norm(one - other) < APART
