"""``audiornn detect``: events in recordings of any length."""

from __future__ import annotations

import contextlib
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from audiornn.commands.console import print_lines, print_table, progress_bar
from audiornn.commands.event_options import EventOptions
from audiornn.commands.inputs import InputCommand
from audiornn.errors import AudioError, ConfigError
from audiornn.tasks import FRAMES

if TYPE_CHECKING:
    from audiornn.detection import Event
    from audiornn.inference import Classifier
    from audiornn.progress import Progress
    from audiornn.recordings import Gate
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
    find = _finder(command, classifier)
    table = _Table()
    seconds, failed = 0.0, 0
    counts: Counter[str] = Counter()
    with contextlib.ExitStack() as stack:
        writer = table if command.output is None else stack.enter_context(open_events(command.output, paths))
        heard = _SecondsHeard(paths, stack.enter_context(progress_bar("detect, seconds of audio")))
        for path in paths:
            gate = _gate(command, classifier, heard.hear(path, classifier.sample_rate))
            reason = _detect(find(path, gate), path, writer, counts)
            seconds += gate.num_samples / classifier.sample_rate
            failed += bool(reason)
        heard.finish()
    if command.output is None:
        print_table("", table.rows)
    print_lines([_summary(counts, seconds, len(paths)) + (f": {command.output}" if command.output else "")])
    if failed:
        sys.stderr.write(
            f"audiornn: {failed} of {len(paths)} inputs could not be used, or not to their end: see the reasons\n"
        )
    return 1 if failed else 0


def _gate(command: DetectCommand, classifier: Classifier, on_heard: Callable[[int], None] | None) -> Gate:
    from audiornn.recordings import Gate
    from audiornn.recordings.voice import VoiceGate

    if not command.voice_only:
        return Gate(on_heard)
    return VoiceGate(classifier.sample_rate, threshold=command.voice_threshold, on_heard=on_heard)


def _finder(command: DetectCommand, classifier: Classifier) -> Callable[[str, Gate], Iterator[Event]]:
    """Of a path the events, as the model's labels are of clips or of frames."""
    from audiornn.detection import detectable
    from audiornn.recordings import detect_events, settings_for

    wished = command.settings(classifier.spec.detection)
    settings = settings_for(classifier.spec, wished, enrolled=classifier.enrolled_words)
    if detectable(classifier.answered).kind != FRAMES:
        return lambda path, gate: detect_events(classifier, path, settings, batch_size=command.batch_size, gate=gate)
    from audiornn.streaming import detect_frames

    if command.voice_only:
        raise ConfigError("voice_only: expected a model that answers by windows, got one with a label per frame alone")
    return lambda path, gate: detect_frames(classifier, path, wished, gate=gate)


def _detect(events: Iterable[Event], path: str, writer: EventWriter | _Table, counts: Counter[str]) -> str:
    """One recording; why it was not heard to its end, if it was not."""
    found, reason = 0, ""
    try:
        for event in events:
            writer.event(path, event)
            counts[event.label] += 1
            found += 1
    except AudioError as error:
        reason = str(error)
    writer.finish(path, found=found, reason=reason)
    return reason


class _SecondsHeard:
    """Moves a bar with the audio that was heard, of which the headers of the files say how much there is.

    Args:
        paths: of all files.
        progress: where there is no terminal, no header is read.
    """

    def __init__(self, paths: Sequence[str], progress: Progress) -> None:
        self._seconds = {path: _seconds_of(path) for path in paths} if sys.stderr.isatty() else {}
        self._total = round(sum(self._seconds.get(path, 0.0) for path in paths))
        self._progress = progress
        self._before = 0.0
        self._path = ""

    def hear(self, path: str, sample_rate: int) -> Callable[[int], None] | None:
        """What is to be called with the samples that were heard of the next file."""
        self._before += self._seconds.get(self._path, 0.0)
        self._path = path
        return self._report(sample_rate) if self._seconds else None

    def finish(self) -> None:
        """After the last one."""
        if self._seconds:
            self._progress(self._total, self._total)

    def _report(self, sample_rate: int) -> Callable[[int], None]:
        def report(num_samples: int) -> None:
            of_file = min(num_samples / sample_rate, self._seconds[self._path])
            self._progress(min(self._total, round(self._before + of_file)), self._total)

        return report


def _seconds_of(path: str) -> float:
    from audiornn.audio import audio_duration

    try:
        return audio_duration(path)
    except AudioError:  # its reason comes with its row
        return 0.0


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
