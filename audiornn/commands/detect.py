"""``audiornn detect``: events in recordings of any length."""

from __future__ import annotations

import contextlib
import sys
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from audiornn.commands.console import print_lines, print_table, progress_bar
from audiornn.commands.event_options import EventOptions
from audiornn.commands.inputs import InputCommand
from audiornn.errors import AudioError

if TYPE_CHECKING:
    from audiornn.detection import DetectionSettings
    from audiornn.inference import Classifier
    from audiornn.recordings.writing import EventWriter


@dataclass(frozen=True, kw_only=True)
class DetectCommand(EventOptions, InputCommand):
    """Settings of ``audiornn detect``."""

    output: str | None = None
    enrolled: str | None = None
    voice_only: bool = False
    voice_threshold: float = 0.5


def run(command: DetectCommand) -> int:
    """Find events, write or print them; 1 when any input failed."""
    from audiornn.recordings import settings_for
    from audiornn.recordings.voice import voice_model
    from audiornn.recordings.writing import check_event_output, open_events

    if command.voice_only:
        voice_model()
    if command.output is not None:
        check_event_output(command.output, [])  # before torch is loaded
    classifier, paths = command.open()
    if command.output is not None:
        check_event_output(command.output, paths)
    if command.enrolled is not None:
        classifier = classifier.with_enrolled(command.enrolled)
    wished = command.settings(classifier.spec.detection)
    settings = settings_for(classifier.spec, wished, enrolled=classifier.enrolled_words)
    table = _Table()
    seconds, failed = 0.0, 0
    counts: Counter[str] = Counter()
    with contextlib.ExitStack() as stack:
        writer = table if command.output is None else stack.enter_context(open_events(command.output, paths))
        progress = stack.enter_context(progress_bar("detect"))
        for done, path in enumerate(paths, 1):
            heard, reason = _detect(command, classifier, settings, path, writer, counts)
            seconds += heard
            failed += bool(reason)
            progress(done, len(paths))
    if command.output is None:
        print_table("", table.rows)
    print_lines([_summary(counts, seconds, len(paths)) + (f": {command.output}" if command.output else "")])
    if failed:
        sys.stderr.write(
            f"audiornn: {failed} of {len(paths)} inputs could not be used, or not to their end: see the reasons\n"
        )
    return 1 if failed else 0


def _detect(
    command: DetectCommand,
    classifier: Classifier,
    settings: DetectionSettings,
    path: str,
    writer: EventWriter | _Table,
    counts: Counter[str],
) -> tuple[float, str]:
    """One recording; seconds that were heard of it, and why no more."""
    from audiornn.recordings import Gate, detect_events
    from audiornn.recordings.voice import VoiceGate

    rate = classifier.sample_rate
    gate = VoiceGate(rate, threshold=command.voice_threshold) if command.voice_only else Gate()
    found, reason = 0, ""
    try:
        for event in detect_events(classifier, path, settings, batch_size=command.batch_size, gate=gate):
            writer.event(path, event)
            counts[event.label] += 1
            found += 1
    except AudioError as error:
        reason = str(error)
    writer.finish(path, found=found, reason=reason)
    return gate.num_samples / rate, reason


class _Table:
    """Rows that are kept to be printed."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def event(self, path: str, event: Any) -> None:
        from audiornn.recordings.writing import event_row

        self.rows.append(event_row(path, event))

    def finish(self, path: str, *, found: int, reason: str = "") -> None:
        from audiornn.recordings.writing import closing_row

        if row := closing_row(path, found=found, reason=reason):
            self.rows.append(row)


def _summary(counts: Counter[str], seconds: float, inputs: int) -> str:
    events = sum(counts.values())
    told = ", ".join(f"{count} {label}" for label, count in counts.most_common())
    heard = f"{seconds / 3600:.2f} hours" if seconds >= 3600 else f"{seconds:.1f} s"
    return f"{events} event{'' if events == 1 else 's'}{f' ({told})' if told else ''} in {heard} of {inputs} inputs"
