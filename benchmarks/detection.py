"""What is found in hours of audio: `python benchmarks/detection.py MODEL CORPUS` writes the `.md` file beside it.

Thresholds are chosen as `audiornn tune` chooses them, on validation clips of SC-8u at known times in noise; what they
do is measured on test clips in other noise, with as many unknown words per hour. CORPUS is the folder of Speech
Commands; MODEL one of `experiment=sc8u`.
"""

from __future__ import annotations

import argparse
import dataclasses
import platform
import sys
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
from hydra import compose, initialize_config_dir

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

import audiornn  # noqa: E402
from audiornn.audio import read_audio  # noqa: E402
from audiornn.cli.schemas import register  # noqa: E402
from audiornn.corpora.background_noise import BackgroundNoise  # noqa: E402
from audiornn.corpora.speech_commands import SpeechCommands  # noqa: E402
from audiornn.detection import detectable  # noqa: E402
from audiornn.evaluation.detections import DetectionCounts, DetPoint, Track, det_curve, total  # noqa: E402
from audiornn.evaluation.operating_point import choose_operating_point  # noqa: E402
from audiornn.machine import processor  # noqa: E402
from audiornn.mixtures import Mixture, MixtureConfig  # noqa: E402
from audiornn.recordings import settings_for  # noqa: E402
from audiornn.store import prepare  # noqa: E402
from audiornn.tuning import clips_of, hear  # noqa: E402
from audiornn.workers import available_cores  # noqa: E402

ASKED = (1.0, 5.0, 20.0)
CONFIDENCE = 0.9
OTHERS_SHARE = 0.2
CURVE = (1, 2, 5, 10, 20, 50, 100)


def sc8u(folder: Path) -> SpeechCommands:
    """The corpus of `experiment=sc8u`."""
    register("train")
    with initialize_config_dir(str(REPOSITORY / "conf"), version_base="1.3"):
        data = compose("train", overrides=["experiment=sc8u"]).data
    return SpeechCommands(
        path=str(folder), words=list(data.words), unknown_percent=data.unknown_percent, silence=data.silence
    )


def noises(folder: Path, split: str, rate: int) -> dict[str, np.ndarray]:
    """The background recordings that only a split may hear."""
    background = BackgroundNoise.read(folder / "_background_noise_", parts=False)
    return {part.name: read_audio(background.folder / part.name, sample_rate=rate) for part in background.parts[split]}


def fewest_misses(curve: list[DetPoint], per_hour: float) -> str:
    usable = [point.counts for point in curve if point.counts.false_alarms <= per_hour * point.counts.hours + 1e-9]
    return f"{min(map(missed_percent, usable)):.1f}"


def missed_percent(counts: DetectionCounts) -> float:
    return 100 * (1 - counts.hits / counts.truths)


def measure(arguments: argparse.Namespace) -> list[str]:
    classifier = audiornn.load(arguments.model, device="cpu")
    task, settings = detectable(classifier.tasks), settings_for(classifier.spec)
    settings = dataclasses.replace(settings, thresholds={})
    rate = classifier.sample_rate
    store = prepare(sc8u(arguments.corpus), data_dir=arguments.data_dir, sample_rate=rate)
    lines: list[str] = []

    def heard(split: str, snr_db: list[float], seed: int) -> tuple[Track, float]:
        own = noises(arguments.corpus, split, rate)
        config = MixtureConfig(hours=arguments.hours, snr_db=snr_db, seed=seed, others_share=OTHERS_SHARE)
        mixture = Mixture(config, clips_of(store, task, settings, split), list(own.values()), rate)
        start = time.perf_counter()
        track = hear(classifier, mixture, settings)
        told = (
            f"{split}, {'/'.join(f'{snr:g}' for snr in snr_db)} dB: {track.hours:.2f} hours, {mixture.num_clips:,} "
            f"clips, {len(track.truth):,} of them true events, the others of unknown words, each {mixture.repeats:.1f} "
            f"times; noise: {', '.join(own)} for {mixture.recorded_scenes} min, then synthesised; seed {seed}"
        )
        print(told, f"{time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
        lines.append(f"- {told}")
        return track, mixture.repeats

    validation, repeats = heard("validation", [20.0, 10.0], 0)
    points = {
        asked: choose_operating_point(
            validation, task, settings, false_alarms_per_hour=asked, confidence=CONFIDENCE, repeats=repeats
        )
        for asked in ASKED
    }
    tests = {snr: heard("test", [snr], 1)[0] for snr in arguments.snr_db}
    lines += ["", "## At most so many false alarms per hour, chosen on validation", ""]
    lines += [
        f"Counted in each quarter when chosen on the other three; upper bounds with {100 * CONFIDENCE:g} % confidence:",
        "",
    ]
    lines += ["| asked | found there | false alarms there | at most per hour | promised |"]
    lines += ["|---:|---:|---:|---:|---|"]
    for asked, point in points.items():
        held_out = point.held_out
        cells = [f"{asked:g}", f"{held_out.detection_rate.value_text()}", f"{held_out.false_alarms}"]
        lines.append(f"| {' | '.join(cells)} | {point.bound_per_hour:.2f} | {'yes' if point.is_promised else 'no'} |")
    chosen = {asked: point.settings for asked, point in points.items()}
    lines += ["", "| asked | where | found | 95 % interval | false alarms per hour | 95 % interval |"]
    lines += ["|---:|---|---:|---:|---:|---:|"]
    for asked, own in chosen.items():
        for name, track in {"validation": validation, **{f"test, {snr:g} dB": tests[snr] for snr in tests}}.items():
            counts = total(track.counts(task, own), track.hours)
            found, alarms = counts.detection_rate, counts.false_alarms_per_hour
            cells = [f"{asked:g}", name, f"{counts.hits}/{counts.truths} = {found.value_text()}", found.interval_text()]
            cells += [f"{alarms.value:.2f}", f"{alarms.low:.2f} to {alarms.high:.2f}"]
            lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "Thresholds:", "", "| asked | " + " | ".join(chosen[ASKED[0]].thresholds) + " |"]
    lines += ["|---:|" + "---:|" * len(chosen[ASKED[0]].thresholds)]
    lines += [
        f"| {asked:g} | " + " | ".join(f"{x:.3f}" for x in own.thresholds.values()) + " |"
        for asked, own in chosen.items()
    ]
    lines += [
        "",
        "## Detection error trade-off, one threshold for all labels",
        "",
        "Misses in % at false alarms per hour:",
        "",
    ]
    lines += ["| | " + " | ".join(map(str, CURVE)) + " |", "|---|" + "---:|" * len(CURVE)]
    curves = {f"{snr:g} dB": det_curve(track, task, settings, points=160) for snr, track in tests.items()}
    for name, curve in curves.items():
        lines.append(f"| test, {name} | " + " | ".join(fewest_misses(curve, per_hour) for per_hour in CURVE) + " |")
    if arguments.picture:
        draw(arguments.picture, curves)
    return lines


def draw(path: Path, curves: dict[str, list[DetPoint]]) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 5), layout="constrained")
    axes = figure.subplots()
    for name, points in curves.items():
        rates = [point.counts.false_alarms / point.counts.hours for point in points]
        axes.step(rates, [missed_percent(point.counts) for point in points], where="post", label=name)
    axes.set(xscale="symlog", xlabel="false alarms per hour", ylabel="misses, %", ylim=(0, 100), xlim=(0, 300))
    axes.legend()
    figure.savefig(path)


def render(lines: list[str]) -> str:
    head = [
        "# Words found in hours of audio",
        "",
        "Written by `python benchmarks/detection.py MODEL CORPUS`; not to be edited.",
        "",
        "Clips of SC-8u, 4 s apart on average, at -26 dB in noise of the level that the ratio says (power of the whole",
        "clip, its own silence included). An event counts where its middle is no further than 0.25 s outside a clip of",
        "its label; a second one for the same clip is a false alarm. The model is that of `experiment=sc8u`, which",
        "heard neither noise nor silence as a class of its own.",
        "",
    ]
    tail = [
        "",
        f"{processor()}, {available_cores()} cores, Python {platform.python_version()}, "
        + ", ".join(f"{package} {version(package)}" for package in ("numpy", "torch", "soxr")),
    ]
    return "\n".join([*head, *lines, *tail]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    parser.add_argument("--hours", type=float, default=2.0)
    parser.add_argument("--snr-db", type=float, nargs="+", default=[20.0, 10.0, 0.0])
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--output", type=Path, default=REPOSITORY / "benchmarks" / "detection.md")
    arguments = parser.parse_args()
    text = render(measure(arguments))
    arguments.output.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
