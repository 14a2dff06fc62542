"""What is wrong with single clips."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from audiornn.audio import NOTABLE_OFFSET
from audiornn.doctor.evidence import Evidence
from audiornn.doctor.examining import EMPTY, MISSING, TRUNCATED, UNREADABLE, Examined
from audiornn.doctor.findings import NOTE, WARNING, Finding, about_clips

SHORTEST_SECONDS = 0.1
FAR_FROM_MEDIAN = 4
"""A clip that is so many times shorter or longer than the median clip is told of."""
QUIET_DB = -60.0
CLIPPED_SHARE = 0.001
"""Of a clip's samples: from here on clipping is heard, and warned of."""

_LEFT_OUT = "prepare leaves them out: mend, replace or remove the files"


def find_in_clips(evidence: Evidence) -> list[Finding]:
    """Files that give nothing, and recordings that are other than they should be."""
    return [*_unusable(evidence), *_faults(evidence), *_levels(evidence), *_lengths(evidence), *_formats(evidence)]


def _unusable(evidence: Evidence) -> list[Finding]:
    findings = []
    for problem, what in (
        (MISSING, "can't be found"),
        (EMPTY, "without a sample"),
        (TRUNCATED, "cut short: the file ends before its header says"),
        (UNREADABLE, "can't be read"),
    ):
        clips = [index for index, clip in enumerate(evidence.clips) if clip.problem == problem]
        findings += about_clips(
            problem, WARNING, what, evidence, clips, detail=lambda index: evidence.clips[index].reason, remedy=_LEFT_OUT
        )
    silent = [index for index, clip in enumerate(evidence.clips) if clip.silent]
    return findings + about_clips("silent", WARNING, "with nothing but silence", evidence, silent, remedy=_LEFT_OUT)


def _faults(evidence: Evidence) -> list[Finding]:
    def share(clip: Examined) -> float:
        return clip.faults.clipped / (clip.seconds * clip.sample_rate)

    clipped = _worst(evidence, lambda clip: clip.faults.clipped, least=1)
    strongly = [index for index in clipped if share(evidence.clips[index]) >= CLIPPED_SHARE]
    strongly.sort(key=lambda index: -share(evidence.clips[index]))
    slightly = [index for index in clipped if share(evidence.clips[index]) < CLIPPED_SHARE]
    offset = _worst(evidence, lambda clip: abs(clip.faults.dc_offset), least=NOTABLE_OFFSET)
    missing = _worst(evidence, lambda clip: clip.faults.missing, least=1)
    clicks = _worst(evidence, lambda clip: clip.faults.clicks, least=1)

    def samples(index: int) -> str:
        clip = evidence.clips[index]
        return f"{clip.faults.clipped:,} samples, {share(clip):.2%}"

    return [
        *about_clips(
            "clipped",
            WARNING,
            f"with {CLIPPED_SHARE:.1%} of the samples clipped or more",
            evidence,
            strongly,
            detail=samples,
            remedy="record at a lower level; audio=repaired mends what it can",
        ),
        *about_clips("slightly clipped", NOTE, "with fewer samples clipped", evidence, slightly, detail=samples),
        *about_clips(
            "offset",
            WARNING,
            f"with an offset of {NOTABLE_OFFSET:g} of full scale or more",
            evidence,
            offset,
            detail=lambda index: f"{evidence.clips[index].faults.dc_offset:+.3f}",
            remedy="audio=repaired removes it",
        ),
        *about_clips(
            "missing samples",
            NOTE,
            "with missing samples",
            evidence,
            missing,
            detail=lambda index: f"{evidence.clips[index].faults.missing:,}",
        ),
        *about_clips(
            "clicks",
            NOTE,
            "with clicks",
            evidence,
            clicks,
            detail=lambda index: f"{evidence.clips[index].faults.clicks:,}",
            remedy="audio=repaired draws a line across them",
        ),
    ]


def _worst(evidence: Evidence, value: Callable[[Examined], float], *, least: float) -> list[int]:
    """Clips with a value from a limit on, the largest first."""
    values = {index: value(evidence.clips[index]) for index in evidence.heard}
    return sorted((index for index in values if values[index] >= least), key=lambda index: (-values[index], index))


def _levels(evidence: Evidence) -> list[Finding]:
    levels = {index: clip.level_db for index, clip in enumerate(evidence.clips) if clip.level_db is not None}
    quiet = sorted((index for index, level in levels.items() if level < QUIET_DB), key=lambda index: levels[index])
    return about_clips(
        "quiet",
        WARNING,
        f"with a mean level under {QUIET_DB:g} dB of full scale",
        evidence,
        quiet,
        detail=lambda index: f"{levels[index]:.0f} dB",
        remedy="listen: is there anything in them?",
    )


def _lengths(evidence: Evidence) -> list[Finding]:
    if not evidence.used:
        return []
    seconds = {index: evidence.clips[index].seconds for index in evidence.used}
    median = float(np.median(list(seconds.values())))
    least, most = max(SHORTEST_SECONDS, median / FAR_FROM_MEDIAN), median * FAR_FROM_MEDIAN
    # The median itself may be under the shortest.
    rule = f"a quarter of the median, {median:.3g} s" if least > SHORTEST_SECONDS else "too short for most sounds"
    short = sorted((index for index in seconds if seconds[index] < least), key=lambda index: seconds[index])
    long = sorted((index for index in seconds if seconds[index] > most), key=lambda index: -seconds[index])

    def length(index: int) -> str:
        return f"{seconds[index]:.3g} s"

    return [
        *about_clips(
            "short",
            WARNING,
            f"shorter than {least:.3g} s ({rule})",
            evidence,
            short,
            detail=length,
            remedy="listen: was the sound cut off?",
        ),
        *about_clips(
            "long",
            WARNING,
            f"longer than {most:.3g} s ({FAR_FROM_MEDIAN} times the median, {median:.3g} s)",
            evidence,
            long,
            detail=length,
            remedy="cut out the sound; a long clip in a batch makes all others wait",
        ),
    ]


def _formats(evidence: Evidence) -> list[Finding]:
    rates = {index: evidence.clips[index].sample_rate for index in evidence.heard}
    several = [index for index in evidence.heard if evidence.clips[index].channels > 1]
    return [
        *_odd_rates(evidence, rates),
        *_low_rates(evidence, rates),
        *about_clips(
            "channels",
            NOTE,
            "with more than one channel, which are averaged",
            evidence,
            several,
            detail=lambda index: f"{evidence.clips[index].channels} channels",
        ),
    ]


def _odd_rates(evidence: Evidence, rates: dict[int, int]) -> list[Finding]:
    counts = Counter(rates.values())
    if len(counts) < 2:
        return []
    (common, _), *others = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    odd = _rarest_first([index for index in rates if rates[index] != common], rates, counts)
    told = ", ".join(f"{count:,} at {rate:,} Hz" for rate, count in others[:5])
    return about_clips(
        "odd rate",
        WARNING,
        f"at another rate than most, {common:,} Hz: {told}",
        evidence,
        odd,
        detail=lambda index: f"{rates[index]:,} Hz",
        remedy="they are resampled; see that the rate does not go with a class or a split",
    )


def _rarest_first(clips: Sequence[int], rates: dict[int, int], counts: Counter[int]) -> list[int]:
    return sorted(clips, key=lambda index: (counts[rates[index]], index))


def _low_rates(evidence: Evidence, rates: dict[int, int]) -> list[Finding]:
    low = sorted((index for index in rates if rates[index] < evidence.sample_rate), key=lambda index: rates[index])
    if not low:
        return []
    highest = max(rates[index] for index in low)
    return about_clips(
        "low rate",
        WARNING,
        f"under the wanted {evidence.sample_rate:,} Hz: nothing is in them above {highest // 2:,} Hz",
        evidence,
        low,
        detail=lambda index: f"{rates[index]:,} Hz",
        remedy=f"train at their rate, sample_rate={min(rates.values())} with features of that rate",
    )
