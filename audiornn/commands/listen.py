"""``audiornn listen``: events on the terminal as they happen."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from audiornn.commands.sounds import Ending, import_sounddevice, microphone_chunks, pcm_chunks
from audiornn.errors import AudioError, ConfigError
from audiornn.hub import find_model
from audiornn.labels import SILENCE, UNKNOWN
from audiornn.tasks import BINARY, FRAMES, MULTICLASS, MULTILABEL, TaskSpec

if TYPE_CHECKING:
    from audiornn.streaming import Event, EventDetector, Stream

_STANDARD_INPUT = "-"
_ENCODINGS = {"s16le": "<i2", "f32le": "<f4"}
_USUAL_THRESHOLD = 0.5


@dataclass(frozen=True, kw_only=True)
class ListenCommand:
    """Settings of ``audiornn listen``."""

    input: str
    model_path: str
    runs_dir: str
    sample_rate: int | None = None
    channels: int = 1
    encoding: str = "s16le"
    microphone: Any = None
    threshold: float | None = None
    ignore: list[str] | None = None
    smoothing_seconds: float = 0.0
    refractory_seconds: float = 1.0
    window_seconds: float | None = None
    hop_seconds: float | None = None
    format: str = "text"
    output: str | None = None
    device: str | None = "cpu"


def run(command: ListenCommand) -> int:
    """Listen until the input ends or Ctrl-C; both are an ordinary end."""
    _check(command)
    model = find_model(command.model_path, Path(command.runs_dir))
    from audiornn.inference import load  # torch: after everything that can be refused without it
    from audiornn.streaming import Stream
    from audiornn.streaming.limits import WINDOW_SECONDS, reason_against

    classifier = load(model, device=command.device)
    task = _task_with_events(classifier.tasks)
    window = command.window_seconds
    if window is None and (task.kind != FRAMES or reason_against(classifier.spec)):
        window = WINDOW_SECONDS
    stream = Stream(
        classifier, sample_rate=command.sample_rate, window_seconds=window or None, hop_seconds=command.hop_seconds
    )
    detector = _detector(command, task)
    with ExitStack() as stack:
        outputs: list[tuple[IO[str], str]] = [(sys.stdout, command.format)]
        if command.output is not None:
            outputs.append((stack.enter_context(_opened(Path(command.output))), "jsonl"))
        ending = stack.enter_context(Ending())
        chunks = (
            pcm_chunks(_ENCODINGS[command.encoding], command.channels, ending)
            if command.input == _STANDARD_INPUT
            else microphone_chunks(stream.sample_rate, command.channels, command.microphone, ending)
        )
        sys.stderr.write(
            f"listening at {stream.sample_rate} Hz by {stream.description}; a sound is answered at most "
            f"{stream.delay_seconds:.2g} s after it; Ctrl-C ends\n"
        )
        count = 0
        for event in _events(command, stream, detector, task.name, chunks):
            count += 1
            for file, format_ in outputs:
                _tell(file, format_, event)
    sys.stderr.write(f"{count} event{'' if count == 1 else 's'}\n")
    return 0


def _check(command: ListenCommand) -> None:
    if command.input not in ("microphone", _STANDARD_INPUT):
        raise ConfigError(f"input must be microphone or -, got {command.input!r}; for files see `audiornn predict`")
    if command.encoding not in _ENCODINGS:
        raise ConfigError(f"encoding must be one of {', '.join(_ENCODINGS)}, got {command.encoding!r}")
    if command.format not in ("text", "jsonl"):
        raise ConfigError(f"format must be text or jsonl, got {command.format!r}")
    if command.channels < 1:
        raise ConfigError(f"channels must be at least 1, got {command.channels}")
    if not isinstance(command.microphone, str | int | None):
        raise ConfigError(f"microphone must be a name or a number, got {command.microphone!r}")
    if command.output is not None and Path(command.output).suffix != ".jsonl":
        raise ConfigError(f"output must end in .jsonl, got {command.output!r}")
    if command.input != _STANDARD_INPUT:
        import_sounddevice()
    elif sys.stdin.isatty():
        raise ConfigError(
            "expected raw samples on standard input, got a terminal; "
            "arecord -t raw -f S16_LE -r 16000 | audiornn listen input=-"
        )


def _task_with_events(tasks: Iterable[TaskSpec]) -> TaskSpec:
    for task in tasks:
        if task.kind in (MULTICLASS, BINARY, MULTILABEL, FRAMES):
            return task
    raise ConfigError("expected a model with labels to listen for, got one of numbers; see `audiornn predict`")


def _detector(command: ListenCommand, task: TaskSpec) -> EventDetector:
    from audiornn.streaming import EventDetector

    thresholds = dict.fromkeys(task.labels, _USUAL_THRESHOLD)
    if command.threshold is not None:
        thresholds = dict.fromkeys(task.labels, command.threshold)
    elif task.thresholds:
        thresholds |= dict(zip(task.labels[-len(task.thresholds) :], task.thresholds, strict=True))
    ignored = command.ignore
    if ignored is None:
        nothing = task.labels[:1] if task.kind in (BINARY, FRAMES) else []
        ignored = [label for label in task.labels if label in (UNKNOWN, SILENCE, *nothing)]
    return EventDetector(
        task.labels,
        thresholds=thresholds,
        smoothing_seconds=command.smoothing_seconds,
        refractory_seconds=command.refractory_seconds,
        ignored=ignored,
    )


def _events(
    command: ListenCommand, stream: Stream, detector: EventDetector, task: str, chunks: Iterable[Any]
) -> Iterator[Event]:
    heard = 0.0
    for chunk in chunks:
        try:
            update = stream.push(chunk)
        except AudioError as error:
            raise AudioError(f"{error}; is it encoding={command.encoding} channels={command.channels}?") from None
        heard = update.seconds
        if task in update.moments:
            yield from detector.feed(update.moments[task])
    if not heard:
        raise AudioError(f"expected audio from {command.input!r}, got none")
    last = stream.finish().moments
    if task in last:
        yield from detector.feed(last[task])


def _opened(path: Path) -> IO[str]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("a", encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"expected to write '{path}', got: {error.strerror or error}") from error


def _tell(file: IO[str], format_: str, event: Event) -> None:
    row = {name: round(value, 4) if isinstance(value, float) else value for name, value in asdict(event).items()}
    line = json.dumps(row, ensure_ascii=False)
    if format_ == "text":
        line = f"{event.seconds:10.2f} s  {event.label}  {event.probability:.2f}"
    try:
        file.write(line + "\n")
        file.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise ConfigError(f"expected to write an event, got: {error.strerror or error}") from error
