"""How well groups of clips are answered: by speaker, sex, length, level or any column of the corpus."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from audiornn.errors import ConfigError
from audiornn.evaluation import weighted
from audiornn.evaluation.intervals import Estimate, Floats, wilson_estimate
from audiornn.manifest import OWN_COLUMNS

if TYPE_CHECKING:
    from audiornn.store import Store

BY_PREFIX = "by "
"""Of the columns of saved answers that name groups."""
LENGTH, LEVEL = "length", "level"
NOT_KNOWN = "not known"
MAX_NUMBERS = 20
"""A column with more distinct numbers is parted into quarters."""
_QUARTERS = 4
_LOWEST_DB = -120.0
GROUP_COLUMNS: dict[str, type] = {
    **{"column": str, "group": str, "clips": int, "figure": str},
    **{"value": float, "low": float, "high": float, "method": str},
}


@dataclass(frozen=True)
class ClipFigure:
    """A figure that is a quotient of sums over clips, such as accuracy."""

    name: str
    above: Floats
    """``(clips,)``."""
    below: Floats
    """``(clips,)``."""
    share: bool = True
    """Reported in per cent, more is better; else an error, less is better."""


@dataclass(frozen=True, kw_only=True)
class GroupFigure:
    """A figure on the clips of one group."""

    column: str
    group: str
    figure: str
    """Its name."""
    estimate: Estimate

    def row(self) -> dict[str, Any]:
        """The cells of `GROUP_COLUMNS`."""
        ends = {name: round(getattr(self.estimate, name), 6) for name in ("value", "low", "high")}
        own = {"column": self.column, "group": self.group, "clips": self.estimate.count, "figure": self.figure}
        return {**own, **ends, "method": self.estimate.method}


def measure_groups(
    by: Mapping[str, Sequence[str]], figure: ClipFigure, *, seed: int = 0
) -> dict[str, list[GroupFigure]]:
    """A figure on every group, by column, the worst group first, of equals the largest.

    Shares of clips have Wilson's interval, others that of a bootstrap over the clips of the group, a single clip none.
    Groups whose clips have no such figure are left out.

    Args:
        by: group of each clip, by column; empty where it is not known.
        figure: what is measured.
        seed: of the bootstrap.
    """
    found: dict[str, list[GroupFigure]] = {}
    for column, cells in by.items():
        names = np.array([cell or NOT_KNOWN for cell in cells])
        groups = [
            GroupFigure(column=column, group=str(name), figure=figure.name, estimate=estimate)
            for name in np.unique(names)
            if (estimate := estimate_of(figure, names == name, seed=seed)) is not None
        ]
        worse = 1 if figure.share else -1
        found[column] = sorted(groups, key=lambda each: (worse * each.estimate.value, -each.estimate.count, each.group))
    return found


def estimate_of(figure: ClipFigure, chosen: NDArray[np.bool_], *, seed: int = 0) -> Estimate | None:
    """A figure on some clips, with its interval; None where they have none. Shape: chosen ``(clips,)``."""
    above, below = figure.above[chosen], figure.below[chosen]
    if figure.share and bool((below == 1).all()) and bool(np.isin(above, (0, 1)).all()):
        return wilson_estimate(int(above.sum()), len(above))

    def quotient(weights: Floats) -> Floats:
        with np.errstate(invalid="ignore", divide="ignore"):
            result: Floats = (weights @ above) / (weights @ below)
        return result

    found = weighted.bootstrap_weights(quotient, len(above), share=figure.share, seed=seed)
    if found is None or figure.share or len(above) > 1:
        return found
    return replace(found, low=math.nan, high=math.nan)  # one clip says nothing of others


def group_cells(store: Store, rows: NDArray[np.int64], by: Sequence[str]) -> dict[str, list[str]]:
    """The group of some rows of a corpus, by column; empty where it is not known.

    Beside its columns a corpus has ``length`` and ``level`` (of all samples, in dB of full scale), parted into quarters
    of the rows, as a column of more than `MAX_NUMBERS` different numbers is, but for labels and speakers.

    Raises:
        ConfigError: no such column.
    """
    computed: dict[str, Callable[[], list[str]]] = {
        LENGTH: lambda: _quarters(store.durations(rows), "s"),
        LEVEL: lambda: _quarters(np.array([_level(store, int(row)) for row in rows]), "dB"),
    }
    if not store.reads_audio:
        del computed[LEVEL]
    known = [name for name in store.column_names if name not in ("path", "utterance_id")]
    if unknown := [name for name in by if name not in known and name not in computed]:
        choice = ", ".join(sorted({*known, *computed}))
        raise ConfigError(f"by: expected columns out of {choice}, got {', '.join(map(repr, unknown))}")
    return {name: _cells(store, rows, name) if name in known else computed[name]() for name in by}


def _cells(store: Store, rows: NDArray[np.int64], column: str) -> list[str]:
    whole = store.column(column)
    cells = [whole[row] for row in rows.tolist()]
    if column in OWN_COLUMNS or len({cell for cell in cells if cell}) <= MAX_NUMBERS:
        return cells
    try:
        numbers = np.array([float(cell) if cell else np.nan for cell in cells])
    except ValueError:
        return cells
    return _quarters(numbers, "") if np.isfinite(numbers[~np.isnan(numbers)]).all() else cells


def _quarters(values: Floats, unit: str) -> list[str]:
    """A quarter of the values each, named by its ends; fewer parts where many values are equal.

    Shape: ``(rows,)``, NaN where not known.
    """
    is_known = ~np.isnan(values)
    if not is_known.any():
        return [""] * len(values)
    inner = np.unique(np.quantile(values[is_known], np.linspace(0, 1, _QUARTERS + 1)))[1:-1]
    places = np.searchsorted(inner, values, side="right")
    parts = [values[is_known & (places == place)] for place in range(len(inner) + 1)]
    names = _names([(float(part.min()), float(part.max())) for part in parts if len(part)], unit)
    number = dict(zip([place for place, part in enumerate(parts) if len(part)], names, strict=True))
    return [number[place] if known else "" for place, known in zip(places.tolist(), is_known.tolist(), strict=True)]


def _names(ends: Sequence[tuple[float, float]], unit: str) -> list[str]:
    """Parts by their ends, with as many digits as it takes to tell them apart."""
    names: list[str] = []
    for digits in range(2, 18):
        texts = [[np.format_float_positional(end, digits, fractional=False, trim="-") for end in pair] for pair in ends]
        names = [f"{low} to {high} {unit}".strip() if low != high else f"{low} {unit}".strip() for low, high in texts]
        if len({text for pair in texts for text in pair}) == len({end for pair in ends for end in pair}):
            break
    return names


def _level(store: Store, row: int) -> float:
    """Of all samples that were heard, dB of full scale."""
    samples = store.audio(row).astype(np.float64)
    heard = samples[~np.isnan(samples)]
    power = float(np.mean(np.square(heard))) if len(heard) else 0.0
    return max(_LOWEST_DB, 10 * math.log10(max(power, 1e-300)))
