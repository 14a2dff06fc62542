"""Speed of the front end beside other libraries: `python benchmarks/front_end.py` writes `benchmarks/front_end.md`.

Every implementation computes the default MFCC. All run in turn in one process, many times over, so that a busy machine
slows all of them; printed are medians. Where other programs want the cores too, set OMP_WAIT_POLICY=PASSIVE: threads
that spin while they wait for one another make every torch program slower by tens of times there.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from audiornn.machine import processor

REPOSITORY = Path(__file__).resolve().parents[1]
SHAPES = {"64 x 1 s": (64, 1), "1 x 1 s": (1, 1), "1 x 60 s": (1, 60)}
BOUND = "fastest hand-written torch"
PADDED_BOUND = f"{BOUND}, clips half to full length"
PADDED = "audiornn, clips half to full length"
Implementation = Callable[[], object]


def hand_written(waveforms, lengths, rows: int, groups: int, block_frames: int):
    """The lower bound: this one MFCC and no other, `rows` items and `groups` of bands at a time.

    It does the whole job: zeros past each length, before and after; global mean and deviation, at no cost in the cosine
    transform; lengths in frames.
    """
    import numpy as np
    import torch

    from audiornn.features import FeaturesConfig
    from audiornn.features.mel import dct_matrix, mel_filter_bank, window_function

    c = FeaturesConfig()
    bank = mel_filter_bank(
        n_fft=c.n_fft, sample_rate=c.sample_rate, n_mels=c.n_mels, f_min=c.f_min, f_max=float(c.f_max or 0),
        mel_scale=c.mel_scale, mel_norm=c.mel_norm, triangles_in=c.triangles_in,
    )  # fmt: skip
    window = torch.zeros(c.n_fft)
    window[: c.win_length] = torch.from_numpy(window_function(c.window, c.win_length, periodic=True))
    mean, std = torch.zeros(c.n_mfcc), torch.ones(c.n_mfcc)
    shift, dct = -mean / std, torch.from_numpy(dct_matrix(c.n_mels, c.n_mfcc, c.dct_norm)).float() / std
    bands = []
    for group in np.array_split(bank, groups, axis=1):
        used = np.flatnonzero(group.any(axis=1))
        weights = np.repeat(group[used[0] : used[-1] + 1], 2, axis=0)
        bands.append((2 * used[0], 2 * used[-1] + 2, torch.from_numpy(weights).float().contiguous()))

    def mfcc(frames):
        spectrum = torch.view_as_real(torch.fft.rfft(frames * window)).flatten(2).square_().flatten(0, 1)
        products = [spectrum[:, first:last] @ weights for first, last, weights in bands]
        mels = torch.cat(products, 1) if groups > 1 else products[0]
        return torch.addmm(shift, mels.clamp_(min=c.log_floor).log_(), dct).unflatten(0, frames.shape[:2])

    def run():
        items = []
        frame_lengths = lengths // c.hop_length + 1
        for part, part_lengths in zip(waveforms.split(rows), lengths.split(rows), strict=True):
            padded = torch.nn.functional.pad(part, (200, 312))
            for item, length in zip(padded, part_lengths.tolist(), strict=True):
                item[200 + length :].zero_()
            frames = padded.unfold(1, c.n_fft, c.hop_length)
            blocks = [mfcc(block) for block in frames.split(block_frames, dim=1)]
            items.append(torch.cat(blocks, 1) if len(blocks) > 1 else blocks[0])
        features = torch.cat(items) if len(items) > 1 else items[0]
        for item, length in zip(features, frame_lengths.tolist(), strict=True):
            item[length:].zero_()
        return features, frame_lengths

    return run


def of_other_libraries(waveforms) -> dict[str, Implementation]:
    """The same MFCC by other libraries, as near as their options come."""
    import kaldi_native_fbank as knf
    import librosa
    import numpy as np

    sys.path.insert(0, str(REPOSITORY / "tests"))
    from torchaudio_stub import import_torchaudio

    clips = list(waveforms.numpy())
    sizes = {"n_fft": 512, "win_length": 400, "hop_length": 160, "n_mels": 80}
    melkwargs = {**sizes, "f_min": 20.0, "f_max": 7600.0, "pad_mode": "constant"}
    transform = import_torchaudio().transforms.MFCC(16_000, n_mfcc=40, log_mels=True, melkwargs=melkwargs)
    options = knf.MfccOptions()
    options.frame_opts.dither, options.frame_opts.snip_edges = 0.0, False
    options.mel_opts.num_bins, options.num_ceps = 80, 40

    def of_librosa(y):
        return librosa.feature.mfcc(y=y, sr=16_000, n_mfcc=40, fmin=20.0, fmax=7600.0, htk=True, **sizes)

    def of_kaldi(clip):
        computer = knf.OnlineMfcc(options)
        computer.accept_waveform(16_000, clip)
        computer.input_finished()
        return np.stack([computer.get_frame(i) for i in range(computer.num_frames_ready)])

    return {
        "torchaudio": lambda: transform(waveforms),
        "librosa, clip by clip": lambda: [of_librosa(clip) for clip in clips],
        "librosa, batch": lambda: of_librosa(waveforms.numpy()),
        "kaldi-native-fbank": lambda: [of_kaldi(clip) for clip in clips],
    }


def implementations(batch: int, seconds: int) -> tuple[dict[str, Implementation], dict[str, list[Implementation]]]:
    """Those of the table, and the candidates, for full and for mixed lengths, of which the fastest is the bound."""
    import torch

    from audiornn.features import PRESETS, FeatureExtractor, FeaturesConfig

    waveforms = 0.1 * torch.randn(batch, seconds * 16_000, generator=torch.Generator().manual_seed(0))
    lengths = torch.full((batch,), waveforms.shape[1])
    shorter = torch.linspace(waveforms.shape[1] // 2, waveforms.shape[1], batch).long()
    extractor, kaldi = FeatureExtractor(FeaturesConfig()).eval(), FeatureExtractor(PRESETS["mfcc_kaldi"]).eval()
    table: dict[str, Implementation] = {
        "audiornn": lambda: extractor(waveforms, lengths),
        PADDED: lambda: extractor(waveforms, shorter),
        "audiornn, preset mfcc_kaldi": lambda: kaldi(waveforms, lengths),
        **of_other_libraries(waveforms),
    }
    candidates = {
        f"{rows}/{groups}/{frames}": [hand_written(waveforms, of, rows, groups, frames) for of in (lengths, shorter)]
        for rows in ((4, 8, 16, 64) if batch > 1 else (1,))
        for groups in (1, 2, 4)
        for frames in ((256, 512, 1024, 10_000) if seconds > 1 else (10_000,))
    }
    return table, candidates


def time_in_turn(functions: dict[str, Implementation], repetitions: int, seconds: float) -> dict[str, list[float]]:
    """Seconds per call, `repetitions` of each; one repetition calls it as often as fits into `seconds`."""
    # With one thread the processor's time: what other programs take doesn't count.
    clock = time.process_time if os.environ.get("OMP_NUM_THREADS") == "1" else time.perf_counter
    times: dict[str, list[float]] = {name: [] for name in functions}
    for function in functions.values():
        function()
    for _ in range(repetitions):
        for name, function in functions.items():
            calls, start = 0, clock()
            while calls == 0 or clock() - start < seconds:
                function()
                calls += 1
            times[name].append((clock() - start) / calls)
    return times


def measure(repetitions: int) -> dict[str, dict[str, list[float]]]:
    """Per shape and implementation: seconds of audio per second, and times the lower bound's, medians."""
    import torch

    results: dict[str, dict[str, list[float]]] = {}
    with torch.inference_mode():
        for shape, (batch, seconds) in SHAPES.items():
            table, candidates = implementations(batch, seconds)
            tried = time_in_turn({name: full for name, (full, _) in candidates.items()}, 9, 0.05)
            fastest = min(tried, key=lambda name: statistics.median(tried[name]))
            bounds = dict(zip((BOUND, PADDED_BOUND), candidates[fastest], strict=True))
            times = time_in_turn({**bounds, **table}, repetitions, 0.05)
            results[shape] = {}
            for name, of in times.items():
                bound = times[PADDED_BOUND if name in (PADDED_BOUND, PADDED) else BOUND]
                ratio = statistics.median(least / own for least, own in zip(bound, of, strict=True))
                results[shape][name] = [batch * seconds / statistics.median(of), ratio]
    return results


def render(results: dict[str, dict[str, dict[str, list[float]]]], repetitions: int) -> str:
    packages = ("torch", "torchaudio", "librosa", "kaldi-native-fbank", "numpy")
    lines = [
        "# Speed of the front end",
        "",
        "Written by `python benchmarks/front_end.py`; not to be edited.",
        "",
        "Default MFCC: 16 kHz, 25 ms windows every 10 ms, 80 bands, 40 coefficients. Seconds of audio per second,",
        f"medians of {repetitions} repetitions run in turn; in brackets the speed relative to the lower bound for such",
        "clips in the same repetition, median. One thread is timed on the processor's clock, more on the wall's. The",
        "bound is the fastest of a dozen or more hand-written torch versions (sizes of blocks; bands in 1, 2 or 4",
        "products) of this one MFCC, global normalisation and zeros past each length included. kaldi-native-fbank also",
        "removes the mean and pre-emphasises; the preset `mfcc_kaldi` does so too, with its own 23 bands and 13",
        "coefficients.",
        "",
        f"{processor()}, {os.cpu_count()} cores, Python {platform.python_version()}, "
        + ", ".join(f"{package} {version(package)}" for package in packages)
        + (f", OMP_WAIT_POLICY={policy}" if (policy := os.environ.get("OMP_WAIT_POLICY")) else ""),
    ]
    for threads, shapes in results.items():
        lines += ["", f"## {threads} thread{'s' * (threads != '1')}", "", f"| batch | {' | '.join(shapes)} |"]
        lines += ["|---|" + "---:|" * len(shapes)]
        for name in next(iter(shapes.values())):
            cells = (f"{speed:,.0f} ({ratio:.2f})" for speed, ratio in (of[name] for of in shapes.values()))
            lines += [f"| {name} | {' | '.join(cells)} |"]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", nargs="+", default=["1", "2"])
    parser.add_argument("--repetitions", type=int, default=25)
    parser.add_argument("--output", type=Path, default=REPOSITORY / "benchmarks" / "front_end.md")
    parser.add_argument("--measure-here", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure_here:
        print(json.dumps(measure(arguments.repetitions)))
        return
    results = {}
    for threads in arguments.threads:
        command = [sys.executable, __file__, "--measure-here", "--repetitions", str(arguments.repetitions)]
        environment = {**os.environ, "OMP_NUM_THREADS": threads, "PYTHONPATH": str(REPOSITORY)}
        done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
        results[threads] = json.loads(done.stdout.splitlines()[-1])
    text = render(results, arguments.repetitions)
    arguments.output.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
