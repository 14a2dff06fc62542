"""Frames of samples to columns: the transforms of `audiornn.features` as products with matrices.

The runtime's own Fourier transform is slower than a product with cosines and sines, more so as a power spectrum does
not ask for the phase: with time counted from the middle of the window, cosines see the even part of a frame alone and
sines the odd one, which halves the products. In float32 both are about as exact (`test_export_graph`).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from audiornn.export.graph import END, FLOAT, START, GraphBuilder, Value, to_array
from audiornn.features import FeaturesConfig
from audiornn.features.config import LOGMEL
from audiornn.features.frames import FrameTransform
from audiornn.features.matrices import SMALLEST_ENERGY, SMALLEST_POWER
from audiornn.features.pitch import EnergyTransform, PitchTransform

_TO_LOG10 = 1 / math.log(10)


def columns_of(
    graph: GraphBuilder, transform: FrameTransform | PitchTransform | EnergyTransform, frames: Value
) -> Value:
    """What `transform` makes of frames: ``(batch, frames, win_length or more)`` -> ``(batch, frames, columns)``."""
    if isinstance(transform, FrameTransform):
        return _log_bands(graph, transform, frames)
    if isinstance(transform, PitchTransform):
        return _pitch(graph, transform, frames)
    return _energy(graph, transform, frames)


def cepstra_of(graph: GraphBuilder, transform: FrameTransform, columns: Value) -> Value:
    """`FrameTransform.cepstra`."""
    config = transform.config
    if config.kind == LOGMEL:
        return columns
    if not config.use_energy:
        return graph.node("MatMul", columns, to_array(transform.dct), name="dct")
    bands = graph.slice(columns, 2, 0, config.n_mels)
    cepstra = graph.node("MatMul", bands, to_array(transform.dct), name="dct")
    energy = graph.slice(columns, 2, config.n_mels, END)
    return graph.concat([energy, graph.slice(cepstra, 2, 1, END)], 2)


def _windows(graph: GraphBuilder, config: FeaturesConfig, frames: Value) -> Value:
    """Frames without what follows the window: ``(batch, frames, win_length)``."""
    exact = config.win_length % config.hop_length == 0
    return frames if exact else graph.slice(frames, 2, 0, config.win_length)


def _log_bands(graph: GraphBuilder, transform: FrameTransform, frames: Value) -> Value:
    """`FrameTransform.forward`."""
    config = transform.config
    emphasis = float(config.pre_emphasis) if config.pre_emphasis_per_frame else 0.0
    if config.remove_dc or config.use_energy or emphasis > 0:
        frames = _windows(graph, config, frames)
    if config.remove_dc:
        frames = _without_mean(graph, frames)
    energy = graph.node("ReduceSumSquare", frames, [2], name="energy") if config.use_energy else None
    if emphasis > 0:
        # The first sample is its own predecessor.
        before = graph.concat([graph.slice(frames, 2, 0, 1), graph.slice(frames, 2, 0, -1)], 2)
        frames = graph.node("Sub", frames, graph.node("Mul", before, emphasis), name="pre_emphasis")
    bank = transform.filter_bank().double().numpy()
    used = np.flatnonzero(bank.any(axis=1))
    bins = np.arange(used[0], used[-1] + 1) if len(used) else np.arange(1)
    window = to_array(transform.window)[: config.win_length]
    spectrum = _power_spectrum(graph, frames, window, config.n_fft, bins)
    if config.power == 1:
        spectrum = graph.node("Sqrt", graph.node("Max", spectrum, SMALLEST_POWER))
    bands = graph.node("MatMul", spectrum, bank[bins].astype(np.float32), name="mel")
    logs = _log(graph, config, bands, config.power)
    return logs if energy is None else graph.concat([logs, _log(graph, config, energy, 2.0)], 2)


def _power_spectrum(
    graph: GraphBuilder, frames: Value, window: NDArray[np.float32], size: int, bins: NDArray[np.int64]
) -> Value:
    """Squared magnitudes of some bins of windowed frames: ``(batch, frames, samples)`` -> ``(batch, frames, bins)``.

    Frames may be longer than the window.
    """
    weights = window.astype(np.float64)
    support = np.flatnonzero(weights) if weights.any() else np.arange(len(weights))
    first, end = int(support[0]), int(support[-1]) + 1
    if not np.allclose(weights[first:end], weights[first:end][::-1], rtol=0, atol=1e-6):
        frames = graph.node("Mul", graph.slice(frames, 2, 0, len(window)), window, name="windowed")
        first, end, weights = 0, len(window), np.ones(len(window))
    half = (end - first + 1) // 2
    late = graph.slice(frames, 2, end - half, end)
    early = graph.slice(frames, 2, first + half - 1, first - 1 if first else START, -1)
    times = np.arange(half) + (0.5 if (end - first) % 2 == 0 else 0.0)
    weights = (weights[end - half : end] + weights[first : first + half][::-1]) / 2
    # The sample in the middle, if there is one, is in both halves.
    weights = np.where(times == 0, weights / 2, weights)
    # In whole turns first, which are exact.
    angles = 2 * np.pi * ((times[:, None] * bins) % size) / size
    parts = []
    for name, op, matrix in (("cosines", "Add", np.cos(angles)), ("sines", "Sub", np.sin(angles))):
        folded = graph.node(op, late, early, name=f"{name}_part")
        part = graph.node("MatMul", folded, (weights[:, None] * matrix).astype(np.float32), name=name)
        parts.append(graph.node("Mul", part, part))
    return graph.node("Add", *parts, name="power_spectrum")


def _log(graph: GraphBuilder, config: FeaturesConfig, x: Value, power: float) -> Value:
    """The logarithm that `config` asks for, of values above its floor."""
    x = graph.node("Max" if config.log_floor_mode == "max" else "Add", x, float(config.log_floor))
    factor = {"ln": 1.0, "log10": _TO_LOG10, "db": _TO_LOG10 * 20.0 / power}[config.log]
    logs = graph.node("Log", x, name="log")
    return logs if factor == 1 else graph.node("Mul", logs, factor)


def _without_mean(graph: GraphBuilder, frames: Value) -> Value:
    return graph.node("Sub", frames, graph.node("ReduceMean", frames, [2]), name="without_dc")


def _energy(graph: GraphBuilder, transform: EnergyTransform, frames: Value) -> Value:
    """`EnergyTransform.forward`."""
    frames = _windows(graph, transform.config, frames)
    if transform.config.remove_dc:
        frames = _without_mean(graph, frames)
    windowed = graph.node("Mul", frames, to_array(transform.window), name="windowed")
    return _log(graph, transform.config, graph.node("ReduceSumSquare", windowed, [2], name="energy"), 2.0)


def _pitch(graph: GraphBuilder, transform: PitchTransform, frames: Value) -> Value:
    """`PitchTransform.forward`."""
    config = transform.config
    frames = _without_mean(graph, _windows(graph, config, frames))
    found = _autocorrelation(graph, transform, frames)
    energy = graph.node("Max", graph.slice(found, 2, 0, 1), SMALLEST_ENERGY)
    of_window = transform.of_window[0] / transform.of_window[1:]
    lags = graph.node("Div", graph.slice(found, 2, 1, END), energy)
    periodic = graph.node("Mul", lags, to_array(of_window), name="periodic")
    searched = graph.node("Sub", graph.slice(periodic, 2, 1, -1), to_array(transform.cost))
    index = graph.node("ArgMax", searched, axis=2, keepdims=1, name="period")
    before, best, after = (
        graph.node("GatherElements", periodic, graph.node("Add", index, [step]), axis=2) for step in range(3)
    )
    bend = graph.node("Sub", graph.node("Add", before, after), graph.node("Mul", best, 2.0))
    rise = graph.node("Mul", graph.node("Sub", before, after), 0.5)
    top = graph.node("Div", rise, graph.node("Min", bend, -1e-6))
    lag = graph.node("Add", graph.cast(index, FLOAT), float(config.pitch_lags[0]))
    lag = graph.node("Add", lag, graph.node("Clip", top, -0.5, 0.5))
    ratio = graph.node("Div", float(config.sample_rate / config.f_min), lag)
    octaves = graph.node("Mul", graph.node("Log", ratio), 1 / math.log(2), name="octaves")
    best = graph.node("Clip", best, -1.0, 1.0)
    return graph.concat([best, graph.node("Mul", octaves, graph.node("Max", best, 0.0))], 2)


def _autocorrelation(graph: GraphBuilder, transform: PitchTransform, frames: Value) -> Value:
    """The lags of `PitchTransform`, through the power spectrum: ``(batch, frames, lags)``."""
    shortest, longest = transform.config.pitch_lags
    lags = np.array([0, *range(shortest - 1, longest + 2)])
    # Long enough that nothing wraps around into these lags.
    size = transform.config.win_length + longest + 1
    bins = np.arange(size // 2 + 1)
    spectrum = _power_spectrum(graph, frames, to_array(transform.window), size, bins)
    twice = np.where((bins == 0) | (2 * bins == size), 1.0, 2.0)
    inverse = twice[:, None] * np.cos(2 * np.pi * ((bins[:, None] * lags) % size) / size) / size
    return graph.node("MatMul", spectrum, inverse.astype(np.float32), name="autocorrelation")
