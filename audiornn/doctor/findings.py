"""What was found wrong, in one line each, with what to do about it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from audiornn.doctor.evidence import Evidence

ERROR, WARNING, NOTE = "error", "warning", "note"
SEVERITIES = (ERROR, WARNING, NOTE)
"""An error makes results false; a warning may make them worse than they need be; a note is worth knowing."""

MAX_EXAMPLES = 10


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that is wrong."""

    kind: str
    """Short name, the same for the same thing in every corpus."""
    severity: str
    what: str
    """One line."""
    count: int
    """How many: clips, groups, speakers or classes, as ``what`` says."""
    examples: tuple[str, ...] = ()
    """The worst first, `MAX_EXAMPLES` at most."""
    remedy: str = ""
    clips: tuple[int, ...] = field(default=(), repr=False)
    """Positions of all clips that it is about, the worst first."""


def find_all(evidence: Evidence, *, speakers_may_cross: bool = False) -> list[Finding]:
    """All that is wrong, the most severe first."""
    from audiornn.doctor.class_findings import find_in_classes
    from audiornn.doctor.clip_findings import find_in_clips
    from audiornn.doctor.leaks import find_leaks
    from audiornn.doctor.names import find_in_names

    findings = [
        *find_leaks(evidence, speakers_may_cross=speakers_may_cross),
        *find_in_classes(evidence),
        *find_in_clips(evidence),
        *find_in_names(evidence),
    ]
    return sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity))


def about_clips(
    kind: str,
    severity: str,
    what: str,
    evidence: Evidence,
    clips: Sequence[int],
    *,
    detail: Callable[[int], str] | None = None,
    remedy: str = "",
) -> list[Finding]:
    """A finding about single clips; none where there are none.

    Args:
        what: what is said of "3 clips".
        clips: the worst first.
        detail: what is said of a clip in its example.
    """
    if not clips:
        return []
    worst = clips[:MAX_EXAMPLES]
    return [
        Finding(
            kind=kind,
            severity=severity,
            what=f"{counted(len(clips), 'clip')} {what}",
            count=len(clips),
            examples=tuple(
                f"{_shown(evidence.name(index))}{f': {detail(index)}' if detail else ''}" for index in worst
            ),
            remedy=remedy,
            clips=tuple(clips),
        )
    ]


def _shown(name: str) -> str:
    """A name, in quotes where one would not see all of it."""
    parts = [part for piece in name.split("/") for part in piece.rsplit(".", 1)]
    return name if all(part == part.strip() for part in parts) and name.isprintable() else repr(name)


def counted(count: int, noun: str, plural: str = "") -> str:
    """``1 clip``, ``2,000 clips``."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"
