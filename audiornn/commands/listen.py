"""``audiornn listen``: events on the terminal as they happen."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from audiornn.commands.event_options import EventOptions
from audiornn.commands.running import EngineOptions
from audiornn.commands.sounds import Ending, import_sounddevice, microphone_chunks, pcm_chunks
from audiornn.errors import AudioError, ConfigError
from audiornn.hub import find_model

if TYPE_CHECKING:
    from audiornn.detection import Event
    from audiornn.inference import Classifier
    from audiornn.streaming import EventStream

_STANDARD_INPUT = "-"
_ENCODINGS = {"s16le": "<i2", "f32le": "<f4"}
_START, _END = "start", "end"


@dataclass(frozen=True, kw_only=True)
class ListenCommand(EventOptions, EngineOptions):
    """Settings of ``audiornn listen``."""

    input: str
    model_path: str
    runs_dir: str
    sample_rate: int | None = None
    channels: int = 1
    encoding: str = "s16le"
    microphone: Any = None
    enrolled: str | None = None
    tell: str = _START
    format: str = "text"
    output: str | None = None
    device: str | None = "cpu"


def run(command: ListenCommand) -> int:
    """Listen until the input ends or Ctrl-C; both are an ordinary end."""
    _check(command)
    model = find_model(command.model_path, Path(command.runs_dir))
    from audiornn.inference import load  # torch: after everything that can be refused without it

    classifier = load(model, device=command.device, engine=command.engine)
    if command.enrolled is not None:
        classifier = classifier.with_enrolled(command.enrolled)
    events = _event_stream(command, classifier)
    with ExitStack() as stack:
        outputs: list[tuple[IO[str], str]] = [(sys.stdout, command.format)]
        if command.output is not None:
            outputs.append((stack.enter_context(_opened(Path(command.output))), "jsonl"))
        ending = stack.enter_context(Ending())
        chunks = (
            pcm_chunks(_ENCODINGS[command.encoding], command.channels, ending)
            if command.input == _STANDARD_INPUT
            else microphone_chunks(events.stream.sample_rate, command.channels, command.microphone, ending)
        )
        sys.stderr.write(
            f"listening at {events.stream.sample_rate} Hz by {events.stream.description}; an event is certain at most "
            f"{events.delay_seconds:.2g} s after its sound; Ctrl-C ends\n"
        )
        count = 0
        for event in _events(command, events, chunks):
            count += 1
            for file, format_ in outputs:
                _tell(file, format_, event, is_over=command.tell == _END)
    sys.stderr.write(f"{count} event{'' if count == 1 else 's'}\n")
    return 0


def _check(command: ListenCommand) -> None:
    if command.input not in ("microphone", _STANDARD_INPUT):
        raise ConfigError(f"input must be microphone or -, got {command.input!r}; for files see `audiornn detect`")
    if command.encoding not in _ENCODINGS:
        raise ConfigError(f"encoding must be one of {', '.join(_ENCODINGS)}, got {command.encoding!r}")
    if command.format not in ("text", "jsonl"):
        raise ConfigError(f"format must be text or jsonl, got {command.format!r}")
    if command.tell not in (_START, _END):
        raise ConfigError(f"tell must be {_START} or {_END}, got {command.tell!r}")
    if command.channels < 1:
        raise ConfigError(f"channels must be at least 1, got {command.channels}")
    if not isinstance(command.microphone, str | int | None):
        raise ConfigError(f"microphone must be a name or a number, got {command.microphone!r}")
    if command.output is not None and Path(command.output).suffix != ".jsonl":
        raise ConfigError(f"output must end in .jsonl, got {command.output!r}")
    if command.input != _STANDARD_INPUT:
        import_sounddevice()
    elif sys.stdin is None or sys.stdin.isatty():  # None: closed by the shell
        raise ConfigError(
            f"expected raw samples on standard input, got {'a closed one' if sys.stdin is None else 'a terminal'}; "
            "arecord -t raw -f S16_LE -r 16000 | audiornn listen input=-"
        )


def _event_stream(command: ListenCommand, classifier: Classifier) -> EventStream:
    from audiornn.streaming import EventStream

    from_states = None if command.window_seconds is None else command.window_seconds == 0
    if from_states:
        command = dataclasses.replace(command, window_seconds=None)
    settings = command.settings(classifier.spec.detection)
    return EventStream(classifier, settings, sample_rate=command.sample_rate, from_states=from_states)


def _events(command: ListenCommand, events: EventStream, chunks: Iterable[Any]) -> Iterator[Event]:
    heard = False
    for chunk in chunks:
        heard = heard or chunk.size > 0
        try:
            over = events.push(chunk)
        except AudioError as error:
            raise AudioError(f"{error}; is it encoding={command.encoding} channels={command.channels}?") from None
        yield from over if command.tell == _END else events.begun()
    if not heard:
        raise AudioError(f"expected audio from {command.input!r}, got none")
    over = events.finish()
    yield from over if command.tell == _END else events.begun()


def _opened(path: Path) -> IO[str]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("a", encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"expected to write '{path}', got: {error.strerror or error}") from error


def _tell(file: IO[str], format_: str, event: Event, *, is_over: bool) -> None:
    row = {name: round(value, 4) if isinstance(value, float) else value for name, value in vars(event).items()}
    line = json.dumps(row if is_over else row | {"end_seconds": None}, ensure_ascii=False)
    if format_ == "text":
        end = f" to {event.end_seconds:.2f}" if is_over else ""
        line = f"{event.start_seconds:10.2f}{end} s  {event.label}  {event.probability:.2f}"
    try:
        file.write(line + "\n")
        file.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise ConfigError(f"expected to write an event, got: {error.strerror or error}") from error
