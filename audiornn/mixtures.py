"""Long recordings with known truth: clips at known times in noise, made as they are heard."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from audiornn.audio import Recording, to_int16
from audiornn.effects.spectra import amplitudes_of
from audiornn.errors import ConfigError
from audiornn.seeds import check_seed
from audiornn.tasks import Interval

Waveform = NDArray[np.float32]

SCENE_SECONDS = 60.0
"""For which noise and its level stay the same; longer where clips are long."""
FEWEST_HOURS, MOST_HOURS = 1.0, 8.0
CLIP_LEVEL_DB = -26.0
"""Power of every clip, against full scale; the noise makes the ratio."""
_PEAK = 0.9
_FADE_SECONDS = 0.005


@dataclass(frozen=True, kw_only=True)
class MixtureConfig:
    """How clips are placed in noise.

    Raises:
        ConfigError: a value out of range.
    """

    hours: float | None = None
    """None = until every clip has come, but from `FEWEST_HOURS` to `MOST_HOURS`."""
    seconds_between: float = 4.0
    """From one clip to the next on average; drawn from a quarter of it to seven quarters."""
    snr_db: list[float] = field(default_factory=lambda: [20.0, 10.0])
    """Power of a clip over that of the noise in the same stretch; drawn anew for every minute."""
    others_share: float | None = None
    """Share of the clips placed that are of no label; None = as many as there are."""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.others_share is not None and not 0 <= self.others_share < 1:
            raise ConfigError(f"others_share must be at least 0 and below 1, got {self.others_share}")
        hours = 1.0 if self.hours is None else self.hours
        if not 0 < hours < float("inf") or not 0 < self.seconds_between < float("inf"):
            raise ConfigError(f"hours and seconds_between must be above 0, got {self.hours} and {self.seconds_between}")
        if not self.snr_db or not np.isfinite(self.snr_db).all():
            raise ConfigError(f"snr_db must be one number or several, got {self.snr_db}")
        check_seed(self.seed)


@dataclass(frozen=True)
class Clips:
    """What is placed.

    Args:
        labels: of each clip: what is true while it sounds; none for one that only disturbs.
        read: the waveform of a clip at the rate of the mixture.
        longest_samples: of all clips.
    """

    labels: Sequence[Sequence[str]]
    read: Callable[[int], Waveform]
    longest_samples: int


class Mixture:
    """A recording in which clips lie in noise, scene by scene, the same each time it is gone through.

    Recordings of noise serve a scene each, one after the other; then noise is synthesised, of another colour for each
    scene. Clips come in a drawn order, and again from the start when all were placed; one that does not fit in the rest
    of a scene begins the next.

    Args:
        config: how they are placed.
        clips: at least one.
        noises: recordings of noise at the same rate.
        sample_rate: Hz.
    """

    def __init__(self, config: MixtureConfig, clips: Clips, noises: Sequence[Waveform], sample_rate: int) -> None:
        if not clips.labels:
            raise ConfigError("expected clips to be placed in noise, got none")
        self.config = config
        self.truth: list[Interval] = []
        """What lies where, of what was gone through."""
        self.num_clips = 0
        """Placed in what was gone through."""
        self.num_others = 0
        """Of those, that are of no label."""
        self._times = [0] * len(clips.labels)
        self._clips = clips
        self._rate = sample_rate
        self._scene_samples = max(round(SCENE_SECONDS * sample_rate), 4 * clips.longest_samples)
        self._noises = [part for noise in noises for part in _parts(noise, self._scene_samples)]
        hours = config.hours
        if hours is None:
            step = config.seconds_between + clips.longest_samples / sample_rate
            hours = min(max(len(clips.labels) * step / 3600, FEWEST_HOURS), MOST_HOURS)
        self.num_scenes = self._scenes_in(hours)
        """Without ``hours`` an estimate, until it was gone through."""

    def _scenes_in(self, hours: float) -> int:
        return max(1, round(hours * 3600 * self._rate / self._scene_samples))

    @property
    def recorded_scenes(self) -> int:
        """Scenes whose noise is recorded."""
        return min(self.num_scenes, len(self._noises))

    @property
    def repeats(self) -> float:
        """How often a clip that came did so on average."""
        return self.num_clips / max(1, sum(map(bool, self._times)))

    def blocks(self) -> Iterator[Recording]:
        """The scenes one by one; `truth` grows with them."""
        self.truth, self.num_clips, self.num_others = [], 0, 0
        self._times = [0] * len(self._clips.labels)
        order = self._order()
        waits = np.random.default_rng([self.config.seed, 2])
        index, position, scene = next(order), self._wait(waits), 0
        while scene < self.num_scenes:
            rng = np.random.default_rng([self.config.seed, 1, scene])
            snr_db = float(rng.choice(self.config.snr_db))
            samples = self._noise(scene, rng) * np.float32(10 ** ((CLIP_LEVEL_DB - snr_db) / 20))
            while position < len(samples) and position + len(clip := self._clip(index)) <= len(samples):
                samples[position : position + len(clip)] += clip
                self._note(index, scene * len(samples) + position, len(clip))
                index, position = next(order), position + len(clip) + self._wait(waits)
            position = max(0, position - len(samples))
            scene += 1
            if self.config.hours is None:
                self.num_scenes = self._scenes_needed(scene)
            yield Recording(to_int16(samples))

    def _scenes_needed(self, done: int) -> int:
        """As far as is known when so many are done."""
        labels, share = self._clips.labels, self.config.others_share
        never = share == 0 and any(labels)  # those of no label
        if all(times or (never and not own) for times, own in zip(self._times, labels, strict=True)):
            return max(done, self._scenes_in(FEWEST_HOURS))
        return min(max(self.num_scenes, done + 1), self._scenes_in(MOST_HOURS))

    def _order(self) -> Iterator[int]:
        """Each clip before any comes again; those of no label by themselves where their share is given."""
        labels = self._clips.labels
        rng = np.random.default_rng([self.config.seed, 0])
        share = self.config.others_share
        others = [index for index, own in enumerate(labels) if not own]
        if share is None or not others or len(others) == len(labels):
            yield from _again_and_again(range(len(labels)), rng)
            return
        wanted = _again_and_again([index for index, own in enumerate(labels) if own], rng)
        rest = _again_and_again(others, rng)
        while True:
            yield next(rest if rng.random() < share else wanted)

    def _noise(self, scene: int, rng: np.random.Generator) -> Waveform:
        """Of power 1."""
        if scene < len(self._noises):
            noise = np.resize(self._noises[scene], self._scene_samples)
        else:
            noise = coloured_noise(self._scene_samples, rng.uniform(0, 2), rng, sample_rate=self._rate)
        scaled: Waveform = (noise / np.sqrt(np.mean(noise.astype(np.float64) ** 2))).astype(np.float32)
        return scaled

    def _clip(self, index: int) -> Waveform:
        return _levelled(self._clips.read(index), round(_FADE_SECONDS * self._rate))

    def _note(self, index: int, first: int, num_samples: int) -> None:
        """Remember a clip that was placed."""
        labels = self._clips.labels[index]
        start, end = first / self._rate, (first + num_samples) / self._rate
        self.truth += [(start, end, label) for label in labels]
        self.num_clips += 1
        self.num_others += not labels
        self._times[index] += 1

    def _wait(self, rng: np.random.Generator) -> int:
        """Samples from one clip to the next."""
        return round(rng.uniform(0.25, 1.75) * self.config.seconds_between * self._rate)


def _again_and_again(indices: Sequence[int], rng: np.random.Generator) -> Iterator[int]:
    while True:
        yield from rng.permutation(np.asarray(indices, dtype=np.int64)).tolist()


def _parts(noise: Waveform, num_samples: int) -> list[Waveform]:
    """A recording in parts of a scene each; a rest of less than half of one is left out, unless it is all there is."""
    starts = range(0, max(1, len(noise) - num_samples // 2), num_samples)
    parts = [np.nan_to_num(noise[start : start + num_samples]) for start in starts]
    return [part for part in parts if part.any()]


def coloured_noise(num_samples: int, exponent: float, rng: np.random.Generator, *, sample_rate: int) -> Waveform:
    """Noise whose power falls with frequency ``f`` as ``1 / f**exponent``: 0 is white, 1 pink, 2 brown.

    Below 20 Hz it falls no further: else most of brown noise, by which its level is set, would be what nothing hears.
    """
    spectrum = np.fft.rfft(rng.standard_normal(num_samples)) * amplitudes_of(num_samples, sample_rate, exponent)
    noise: Waveform = np.fft.irfft(spectrum, num_samples).astype(np.float32)
    return noise


def _levelled(clip: Waveform, fade: int) -> Waveform:
    """At the common level, with short slopes at its ends, so that it does not click; silence stays."""
    clip = np.nan_to_num(clip)
    power = float(np.sqrt(np.mean(clip.astype(np.float64) ** 2))) if len(clip) else 0.0
    peak = float(np.abs(clip).max(initial=0.0))
    if power == 0:
        return clip
    levelled = clip * np.float32(min(10 ** (CLIP_LEVEL_DB / 20) / power, _PEAK / peak))
    fade = min(fade, len(clip) // 2)
    if fade:
        slope = np.arange(1, fade + 1, dtype=np.float32) / (fade + 1)
        levelled[:fade] *= slope
        levelled[-fade:] *= slope[::-1]
    return levelled
