"""The picture of what an answer hangs on: over the waveform, and on the spectrogram."""

from __future__ import annotations

import numpy as np
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure

from audiornn.files.escaping import escape_text
from audiornn.occlusion.measuring import Explanation
from audiornn.page.figures import dress, png
from audiornn.page.spectrogram import RANGE_DB, spectrogram_db


def draw_explanation(found: Explanation, *, title: str = "") -> bytes:
    """Waveform, spectrogram with the parts that speak for (red) and against (blue) the answer, and moments, as PNG."""
    figure = Figure(figsize=(9.0, 6.5), dpi=110, layout="constrained")
    wave, bands, moments = figure.subplots(3, 1, sharex=True, height_ratios=[1, 3, 1.2])
    samples = np.nan_to_num(found.waveform)
    seconds = len(samples) / found.sample_rate
    times = np.arange(len(samples)) / found.sample_rate
    wave.plot(times, samples, linewidth=0.5, color="#404040")
    dress(wave, "", "waveform")

    bands.imshow(
        spectrogram_db(samples, found.sample_rate),
        origin="lower",
        aspect="auto",
        extent=(0, seconds, 0, found.sample_rate / 2),
        cmap="gray_r",
        vmin=-RANGE_DB,
        vmax=0,
    )
    most = float(max(np.abs(found.parts).max(), 1e-9))
    mesh = bands.pcolormesh(
        found.times, found.frequencies, found.parts, cmap="RdBu_r", norm=TwoSlopeNorm(0, -most, most), alpha=0.5
    )
    mesh.set_edgecolor("face")
    bands.set_xlim(0, seconds)
    bands.set_ylim(0, found.frequencies[-1])
    dress(bands, "", "Hz")
    bands.grid(visible=False)
    unit = f", {found.unit}" if found.unit else ""
    figure.colorbar(mesh, ax=bands, label=f"for the answer{unit}", pad=0.01)

    moments.stairs(found.moments, found.times, fill=True, color="#c8481c", alpha=0.7)
    moments.axhline(0, color="#404040", linewidth=0.8)
    dress(moments, "s", f"all bands{unit}")
    answer = f"{found.label}: {found.score:.4g}"
    text = escape_text(f"{title}  {answer}" if title else answer)
    figure.suptitle(text, fontsize=10, parse_math=False)
    return png(figure)
