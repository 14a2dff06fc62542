"""The picture of what an answer hangs on: over the waveform, and on the spectrogram."""

from __future__ import annotations

import numpy as np
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure
from scipy.signal import ShortTimeFFT
from scipy.signal.windows import hann

from audiornn.files.escaping import escape_text
from audiornn.occlusion.measuring import Explanation
from audiornn.page.figures import dress, png

_RANGE_DB = 70.0
"""What is shown of the spectrogram below its peak."""
_MOST_FRAMES = 2_000


def draw_explanation(found: Explanation, *, title: str = "") -> bytes:
    """Waveform, spectrogram with the parts that speak for (red) and against (blue) the answer, and moments, as PNG."""
    figure = Figure(figsize=(9.0, 6.5), dpi=110, layout="constrained")
    wave, bands, moments = figure.subplots(3, 1, sharex=True, height_ratios=[1, 3, 1.2])
    samples = np.nan_to_num(found.waveform)
    seconds = len(samples) / found.sample_rate
    times = np.arange(len(samples)) / found.sample_rate
    wave.plot(times, samples, linewidth=0.5, color="#404040")
    dress(wave, "", "waveform")

    size = max(16, round(0.025 * found.sample_rate))
    hop = max(1, round(0.01 * found.sample_rate), len(samples) // _MOST_FRAMES)
    transform = ShortTimeFFT(hann(size, sym=False), hop=hop, fs=found.sample_rate)
    padded = np.pad(samples, (0, max(0, size - len(samples))))
    power = 20 * np.log10(np.abs(transform.stft(padded)) + 1e-10)
    extent = transform.extent(len(padded))
    bands.imshow(
        power,
        origin="lower",
        aspect="auto",
        extent=extent,
        cmap="gray_r",
        vmin=power.max() - _RANGE_DB,
        vmax=power.max(),
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
