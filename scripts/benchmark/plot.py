"""The comparison as a picture: an SVG with a bar for each contestant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from xml.sax.saxutils import escape

from scripts.benchmark.contest import Contestant
from scripts.benchmark.samples import Series
from scripts.benchmark.turns import is_ours

_WIDTH, _LABEL, _VALUE = 860, 330, 150  # pixels: of the whole, left of the bars, and right of the longest
_ROW, _BAR, _TITLE = 22, 14, 40
_OURS, _OTHER = "#2a78d6", "#9aa5b1"


def svg(series: Mapping[Contestant, Series]) -> str:
    """A panel for each profile and way of being asked. A bar is as long as the median of the rounds' pages/s, the thin
    line over it goes from the least to the greatest."""
    panels: dict[str, list[Contestant]] = {}
    for contestant in series:
        panels.setdefault(f"{contestant.profile}: {_asked(contestant)}", []).append(contestant)
    height = sum(_TITLE + _ROW * len(contestants) for contestants in panels.values()) + _ROW
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}" '
        'font-family="sans-serif" font-size="13">',
        f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>',
    ]
    top = 0
    for title, contestants in panels.items():
        parts.append(f'<text x="10" y="{top + 28}" font-weight="bold" fill="#1f2933">{escape(title)}, pages/s</text>')
        parts.extend(_panel(contestants, series, top + _TITLE))
        top += _TITLE + _ROW * len(contestants)
    return "\n".join([*parts, "</svg>\n"])


def _asked(contestant: Contestant) -> str:
    """Without what tells the contestants of a panel apart: how it is reached."""
    return contestant.way.partition(", ")[2] or contestant.way


def _panel(contestants: Sequence[Contestant], series: Mapping[Contestant, Series], top: int) -> list[str]:
    scale = (_WIDTH - _LABEL - _VALUE) / max(_range(series[contestant])[1] for contestant in contestants)
    parts = []
    for row, contestant in enumerate(sorted(contestants, key=lambda one: -series[one].throughput)):
        middle = top + row * _ROW + _ROW // 2
        least, greatest = _range(series[contestant])
        length = series[contestant].throughput * scale
        reached = contestant.way.partition(",")[0]
        label = f"{contestant.name}, {contestant.precision}" + ("" if reached == "in process" else f" ({reached})")
        colour = _OURS if is_ours(contestant) else _OTHER
        parts += [
            f'<text x="{_LABEL - 8}" y="{middle + 4}" text-anchor="end" fill="#1f2933">{escape(label)}</text>',
            f'<rect x="{_LABEL}" y="{middle - _BAR // 2}" width="{length:.1f}" height="{_BAR}" fill="{colour}"/>',
            f'<path d="M{_LABEL + least * scale:.1f} {middle}H{_LABEL + greatest * scale:.1f}" stroke="#1f2933"/>',
            f'<text x="{_LABEL + greatest * scale + 8:.1f}" y="{middle + 4}" fill="#1f2933">'
            f"{series[contestant].throughput:.2f}</text>",
        ]
    return parts


def _range(series: Series) -> tuple[float, float]:
    throughputs = [sample.throughput for sample in series.samples.values()]
    return min(throughputs), max(throughputs)
