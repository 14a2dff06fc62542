"""What the front end computes: its settings and presets. Without torch, so that a command can check them cheaply."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from audiornn.errors import ConfigError

MFCC, LOGMEL, PITCH, ENERGY, NONE = "mfcc", "logmel", "pitch", "energy", "none"

_CHOICES: Mapping[str, tuple[str, ...]] = {
    "kind": (MFCC, LOGMEL, PITCH, ENERGY, NONE),
    "window": ("hann", "hamming", "povey", "rectangular"),
    "mel_scale": ("htk", "slaney"),
    "mel_norm": ("none", "slaney"),
    "triangles_in": ("hz", "mel"),
    "log": ("ln", "log10", "db"),
    "log_floor_mode": ("max", "add"),
    "dct_norm": ("ortho", "scaled", "none"),
    "normalisation": ("none", "global", "utterance", "utterance_mean"),
}


LARGEST = 1e30
"""A number that float32 has, and its square root too."""
LIMITS = {"sample_rate": 1_000_000, "n_fft": 1 << 17, "hop_length": 1 << 24, "n_mels": 2_048, "delta_window": 1_001}
"""More than anybody has, and little enough for the settings of a stranger's model to be refused at once."""


@dataclass(frozen=True, kw_only=True)
class FeaturesConfig:
    """Settings of the front end, in the order in which they act. The defaults are a modern MFCC at 16 kHz.

    Raises:
        ConfigError: a value is out of range, or impossible beside another one.

    >>> FeaturesConfig(n_mfcc=80, n_mels=40)
    Traceback (most recent call last):
    audiornn.errors.ConfigError: n_mfcc must be at most n_mels, got n_mfcc=80 and n_mels=40
    """

    kind: str = "mfcc"
    """``mfcc``; ``logmel``: the log filter bank without the cosine transform; ``pitch``: how periodic a frame is, and
    its pitch between ``f_min`` and ``f_max``; ``energy``: its log energy; ``none``: audio is not read."""
    sample_rate: int = 16_000
    """Hz."""
    amplitude_scale: float = 1.0
    """Factor on the waveform; 32768 is Kaldi's 16-bit range."""
    dither: float = 0.0
    """Standard deviation of white noise added in training mode only, in units of the scaled waveform."""
    pre_emphasis: float = 0.0
    """``c`` of ``y[t] = x[t] - c * x[t - 1]``; 0 is off."""
    pre_emphasis_per_frame: bool = False
    """False: over the waveform, ``y[0] = x[0]``. True: inside each frame, ``y[0] = (1 - c) * x[0]`` (Kaldi)."""
    win_length: int = 400
    """Samples."""
    hop_length: int = 160
    """Samples."""
    n_fft: int = 512
    """Samples; a shorter window is padded with zeros to it."""
    center: bool = True
    """True: zeros on both sides, ``1 + num_samples // hop_length`` frames. False: whole windows only."""
    remove_dc: bool = False
    """Subtract each frame's mean."""
    window: str = "hann"
    """``hann``, ``hamming``, ``povey`` (Kaldi's hann ** 0.85) or ``rectangular``."""
    periodic: bool = True
    """True: the window's period is ``win_length`` (librosa, torchaudio). False: symmetric (Kaldi)."""
    power: float = 2.0
    """2 power spectrum, 1 magnitudes."""
    n_mels: int = 80
    """Bands. One narrower than ``sample_rate / n_fft`` may hold no bin: it is constant, at the floor."""
    f_min: float = 20.0
    """Hz, lower edge of the first band."""
    f_max: float | None = 7_600.0
    """Hz, upper edge of the last band; None is half the sample rate."""
    mel_scale: str = "htk"
    """``htk`` (also Kaldi's), or ``slaney``: linear up to 1 kHz."""
    mel_norm: str = "none"
    """``none``: triangles of height 1. ``slaney``: of area 1 in Hz."""
    triangles_in: str = "hz"
    """Sides are straight in ``hz`` (librosa, torchaudio) or in ``mel`` (Kaldi)."""
    log: str = "ln"
    """``ln``, ``log10``, or ``db``: 10 log10 of power, 20 log10 of magnitude."""
    log_floor: float = 1e-8
    """Smallest band value. Fixed, so that no clip depends on another; the default is the noise of 16-bit rounding."""
    log_floor_mode: str = "max"
    """``log(max(x, floor))`` or ``log(x + floor)`` (``add``)."""
    top_db: float | None = None
    """Raise what lies more than this many dB below the utterance's own maximum; None is off."""
    n_mfcc: int = 40
    """Coefficients kept, c0 included."""
    dct_norm: str = "ortho"
    """DCT-II: orthonormal; ``scaled``: so but for c0, which has the factor of the others (kws_streaming); or plain
    (``none``: ``2 * sum``, as scipy)."""
    lifter: float = 0.0
    """``Q`` of the weights ``1 + Q / 2 * sin(pi * i / Q)`` on coefficient i from 0 (HTK, Kaldi); 0 is off."""
    use_energy: bool = False
    """c0 becomes the log energy of the frame, taken before its pre-emphasis and window (Kaldi)."""
    deltas: int = 0
    """1 appends first differences over frames, 2 also second ones."""
    delta_window: int = 5
    """Frames of the regression behind a difference, odd."""
    normalisation: str = "global"
    """``none``; ``global``: mean and deviation of the training frames; ``utterance``: the clip's own;
    ``utterance_mean``: only its mean."""

    def __post_init__(self) -> None:
        for name, choices in _CHOICES.items():
            value = getattr(self, name)
            if value not in choices:
                raise ConfigError(f"{name} must be one of {', '.join(choices)}, got {value!r}")
        for name in ("sample_rate", "win_length", "hop_length", "n_mels"):
            self._check(getattr(self, name) >= 1, f"{name} must be at least 1", name)
        for name, limit in LIMITS.items():
            self._check(getattr(self, name) <= limit, f"{name} must be at most {limit:,}", name)
        self._check_signal()
        self._check_bands()
        self._check_output()

    def _check(self, fact: bool, rule: str, *names: str) -> None:
        if not fact:
            raise ConfigError(f"{rule}, got {' and '.join(f'{name}={getattr(self, name)!r}' for name in names)}")

    def _check_signal(self) -> None:
        check = self._check
        check(self.n_fft >= self.win_length, "n_fft must be at least win_length", "n_fft", "win_length")
        check(self.power in (1.0, 2.0), "power must be 1 or 2", "power")
        check(0 < self.amplitude_scale < LARGEST, "amplitude_scale must be positive", "amplitude_scale")
        check(0 <= self.dither < float("inf"), "dither must not be negative", "dither")
        check(0 <= self.pre_emphasis <= 1, "pre_emphasis must be between 0 and 1", "pre_emphasis")
        check(0 < self.log_floor < LARGEST, "log_floor must be positive", "log_floor")
        check(self.top_db is None or 0 < self.top_db < math.inf, "top_db must be positive", "top_db")
        check(self.top_db is None or self.kind in (MFCC, LOGMEL), "top_db needs mel bands", "top_db", "kind")

        if self.kind == PITCH:
            rule = "pitch needs a window of two periods of f_min, and f_max below a quarter of the sample rate"
            shortest, longest = self.pitch_lags
            check(longest * 2 <= self.win_length and 4 <= shortest < longest, rule, "win_length", "f_min", "f_max")

    def _check_bands(self) -> None:
        if self.kind in (ENERGY, NONE):
            return
        check, half = self._check, self.sample_rate / 2
        check(0 <= self.f_min < half, "f_min must be below half the sample rate", "f_min", "sample_rate")
        if self.f_max is not None:
            rule = "f_max must be at most half the sample rate (null takes that half)"
            check(self.f_max <= half, rule, "f_max", "sample_rate")
            check(self.f_min < self.f_max, "f_min must be below f_max", "f_min", "f_max")

    def _check_output(self) -> None:
        check = self._check
        if self.kind == MFCC:
            check(self.n_mfcc >= 1, "n_mfcc must be at least 1", "n_mfcc")
            check(self.n_mfcc <= self.n_mels, "n_mfcc must be at most n_mels", "n_mfcc", "n_mels")
        check(0 <= self.lifter < float("inf"), "lifter must not be negative", "lifter")
        per_frame = self.pre_emphasis_per_frame and self.pre_emphasis > 0
        rule = "pre_emphasis_per_frame needs mel bands"
        check(self.kind in (MFCC, LOGMEL) or not per_frame, rule, "pre_emphasis_per_frame", "kind")
        check(self.kind == MFCC or not self.use_energy, "use_energy needs kind='mfcc'", "use_energy", "kind")
        check(self.deltas in (0, 1, 2), "deltas must be 0, 1 or 2", "deltas")
        odd = self.delta_window >= 3 and self.delta_window % 2 == 1
        check(odd, "delta_window must be odd and at least 3", "delta_window")

    @property
    def num_features(self) -> int:
        """Values per frame, differences included."""
        own = {MFCC: self.n_mfcc, LOGMEL: self.n_mels, PITCH: 2, ENERGY: 1, NONE: 0}
        return own[self.kind] * (1 + self.deltas)

    @property
    def pitch_lags(self) -> tuple[int, int]:
        """Shortest and longest period of ``pitch``, in samples."""
        highest = self.sample_rate / 2 if self.f_max is None else self.f_max
        if self.f_min <= 0:
            raise ConfigError(f"pitch needs f_min above 0, got {self.f_min}")
        return math.floor(self.sample_rate / highest), math.ceil(self.sample_rate / self.f_min)

    @property
    def samples_before(self) -> int:
        """Samples of the first window that lie before the first sample."""
        return self.n_fft // 2 - (self.n_fft - self.win_length) // 2 if self.center else 0

    @property
    def first_seconds(self) -> float:
        """Middle of the first frame."""
        return 0.0 if self.center else self.win_length / 2 / self.sample_rate

    @property
    def frame_rate(self) -> float:
        """Frames per second."""
        return self.sample_rate / self.hop_length

    def num_frames(self, num_samples: int) -> int:
        """Frames of a waveform: 0 for 0 samples, else ``1 + num_samples // hop_length`` when centred; without
        centring ``1 + (num_samples - win_length) // hop_length``, 0 if shorter than a window.

        >>> [FeaturesConfig().num_frames(n) for n in (0, 1, 159, 160, 16_000)]
        [0, 1, 1, 2, 101]
        >>> [FeaturesConfig(center=False).num_frames(n) for n in (0, 399, 400, 559, 560)]
        [0, 0, 1, 1, 2]
        """
        if self.center:
            return min(num_samples, 1) + num_samples // self.hop_length
        return max(0, 1 + (num_samples - self.win_length) // self.hop_length)


_MFCC = FeaturesConfig()
_LOGMEL = replace(_MFCC, kind="logmel", n_mels=64)

PRESETS: Mapping[str, FeaturesConfig] = MappingProxyType(
    {
        "mfcc": _MFCC,
        "logmel": _LOGMEL,
        "mfcc_delta": replace(_MFCC, deltas=2),
        "logmel_delta": replace(_LOGMEL, deltas=2),
        "pitch": FeaturesConfig(kind=PITCH, win_length=640, n_fft=640, f_min=60.0, f_max=500.0),
        "energy": FeaturesConfig(kind=ENERGY),
        "mfcc_librosa": FeaturesConfig(
            win_length=2048,
            hop_length=512,
            n_fft=2048,
            n_mels=128,
            f_min=0.0,
            f_max=None,
            mel_scale="slaney",
            mel_norm="slaney",
            log="db",
            log_floor=1e-10,
            top_db=80.0,
            n_mfcc=20,
        ),
        "mfcc_torchaudio": FeaturesConfig(
            hop_length=200,
            n_fft=400,
            n_mels=128,
            f_min=0.0,
            f_max=None,
            log="db",
            log_floor=1e-10,
            top_db=80.0,
        ),
        "mfcc_kaldi": FeaturesConfig(
            amplitude_scale=32_768.0,
            pre_emphasis=0.97,
            pre_emphasis_per_frame=True,
            center=False,
            remove_dc=True,
            window="povey",
            periodic=False,
            n_mels=23,
            f_max=None,
            triangles_in="mel",
            log_floor=1.1920929e-07,
            n_mfcc=13,
            lifter=22.0,
            use_energy=True,
        ),
    }
)
"""Named configs, also the options of ``features=`` on the command line. Vary one with ``dataclasses.replace``.

The last three give the numbers of another library with its own defaults at 16 kHz for the same waveform in [-1, 1],
until ``set_statistics`` is called: ``librosa.feature.mfcc``; ``torchaudio.transforms.MFCC`` with
``pad_mode="constant"``, one clip at a time (its ``top_db`` looks at the whole batch); Kaldi's ``compute-mfcc-feats``
and kaldi-native-fbank with ``dither = 0``, fed the waveform times 32768.
"""
