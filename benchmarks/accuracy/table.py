"""Writes ``docs/accuracy.md`` out of the committed results: ``python benchmarks/accuracy/table.py``.

Nothing is trained, composed or measured here; lines of a step that says something else today are left out.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from ladder import HERE, LADDER, RESULTS, Ladder, Step
from measured import Line, Results, unpacked

from audiornn.evaluation.intervals import wilson_interval

PAGE = HERE.parents[1] / "docs" / "accuracy.md"
NOTHING = "–"
FEW = 10
"""Training clips from which on a word is none of the rare ones."""

Lines = Mapping[int, Line]


@dataclass(frozen=True)
class Figure:
    """Of several seeds."""

    values: tuple[float, ...]

    def text(self, digits: int = 2, *, sign: bool = False) -> str:
        """Mean, and the deviation where there are several.

        >>> Figure((1.0, 2.0)).text(1, sign=True), Figure((3.0,)).text(1), Figure(()).text()
        ('+1.5 ± 0.7', '3.0', '–')
        """
        if not self.values:
            return NOTHING
        mean = f"{statistics.mean(self.values):{'+' if sign else ''}.{digits}f}".replace("-", "−")
        return f"{mean} ± {statistics.stdev(self.values):.{digits}f}" if len(self.values) > 1 else mean


def current(ladder: Ladder, results: Results) -> dict[str, Lines]:
    """Lines by step and seed, of the steps as they are today."""
    found = {}
    for step in ladder.steps.values():
        overrides = ladder.overrides(step.name)
        found[step.name] = {
            seed: line for seed, line in results.of(step.name).items() if line["overrides"] == overrides
        }
    return found


def share(line: Line, name: str, split: str = "validation") -> float | None:
    """In per cent; None where there is no clip."""
    found = line[split][name]
    return 100 * found[0] / found[1] if found and found[1] else None


def shares(lines: Lines, name: str, split: str = "validation") -> Figure:
    """Of all seeds that have it."""
    values = (share(line, name, split) for line in lines.values() if split in line)
    return Figure(tuple(value for value in values if value is not None))


def common(new: Lines, old: Lines) -> list[tuple[Line, Line]]:
    """Runs of the same seeds."""
    return [(new[seed], old[seed]) for seed in sorted(new.keys() & old.keys())]


def gain(pairs: Sequence[tuple[Line, Line]], name: str) -> Figure:
    """Percentage points; nothing where the clips are not the same."""
    values = []
    for new, old in pairs:
        after, before = share(new, name), share(old, name)
        if after is not None and before is not None and new["validation"]["clips"] == old["validation"]["clips"]:
            values.append(after - before)
    return Figure(tuple(values))


def paired_interval(pairs: Sequence[tuple[Line, Line]]) -> tuple[float, float] | None:
    """Of the gain in accuracy, 95 %, in percentage points: how far it may be chance of which clips there are.

    By the normal approximation from what each clip gains, on average over the seeds. None without common clips.
    """
    gains = []
    for new, old in pairs:
        if new["validation"]["clips"] != old["validation"]["clips"]:
            return None
        count = new["validation"]["accuracy"][1]
        after, before = (np.array(unpacked(line["validation"]["right"], count), dtype=float) for line in (new, old))
        gains.append(after - before)
    if not gains:
        return None
    per_clip = np.mean(gains, axis=0)
    half = 1.96 * float(per_clip.std(ddof=1)) / np.sqrt(len(per_clip))
    mean = float(per_clip.mean())
    return 100 * (mean - half), 100 * (mean + half)


def change_text(step: Step) -> str:
    """What a step changes, in few words."""
    words = [word.removeprefix("model.").replace("encoder.", "") for word in step.change]
    if step.held_out:
        words.append("some words held out")
    return " ".join(f"`{word}`" if "=" in word else word for word in words)


def step_row(step: Step, lines: Mapping[str, Lines]) -> list[str]:
    """Cells of one step."""
    own = lines[step.name]
    pairs = common(own, lines[step.after]) if step.after else []
    interval = paired_interval(pairs)
    said = "; ".join(text for text in (change_text(step) if step.after else "", step.note) if text)
    cost = Figure(tuple(new["cpu_seconds"] / old["cpu_seconds"] for new, old in pairs))
    loss = Figure(tuple(old["validation"]["loss"] - new["validation"]["loss"] for new, old in pairs))
    any_line = next(iter(own.values()))
    return [
        f"**{step.name}**" if step.keep else step.name,
        step.after or NOTHING,
        said,
        str(len(own)),
        shares(own, "accuracy").text(1),
        gain(pairs, "accuracy").text(1, sign=True),
        NOTHING if interval is None else f"{interval[0]:+.1f} to {interval[1]:+.1f}".replace("-", "−"),
        shares(own, "words").text(1),
        shares(own, "unknown").text(1),
        loss.text(3, sign=True) if gain(pairs, "accuracy").values else NOTHING,
        shifts_text(own),
        f"{statistics.mean(cost.values):.2f}" if cost.values else NOTHING,
        f"{any_line['parameters']:,}",
        f"{network_macs(any_line) / 1e6:.1f}",
        *(
            text(own, pairs, band)
            for band in HEARD
            if any_line["validation"].get(band)
            for text in (recall_text, auroc_text)
        ),
    ]


def shifts_text(own: Lines) -> str:
    """What an average over shifts gains, in percentage points."""
    lines = [line for line in own.values() if "shifted" in line]
    gains = tuple((share(line, "accuracy", "shifted") or 0) - (share(line, "accuracy") or 0) for line in lines)
    return Figure(gains).text(1, sign=True) if gains else NOTHING


HEARD = ("never_heard", "seldom_heard")
"""Words that were kept out of training, all their clips or most of them."""


def recall_text(own: Lines, pairs: Sequence[tuple[Line, Line]], band: str) -> str:
    """Recall of words that were held out, and what it gains where the step before has them held out too."""
    gained = gain(pairs, band)
    text = shares(own, band).text(1)
    return f"{text} ({gained.text(1, sign=True)})" if gained.values else text


def auroc_text(own: Lines, pairs: Sequence[tuple[Line, Line]], band: str) -> str:
    """Area under the ROC curve between such words and the words, in per cent, and its gain."""
    name = f"{band}_auroc"
    found = Figure(tuple(100 * line["validation"][name] for line in own.values()))
    both = [each for each in pairs if each[1]["validation"].get(name) is not None]
    gained = Figure(tuple(100 * (new["validation"][name] - old["validation"][name]) for new, old in both))
    return f"{found.text(1)} ({gained.text(1, sign=True)})" if gained.values else found.text(1)


def network_macs(line: Line) -> int:
    """Multiply-accumulates per second of audio, without the front end."""
    return sum(count for part, count in line["macs_per_second"].items() if part != "front end")


STEP_HEAD = (
    *("step", "after", "change", "seeds", "validation %", "gain, points", "95 % interval", "8 words %", "unknown %"),
    *("loss gain", "shifts", "CPU time", "parameters", "M MACs/s"),
)
NUMBERS_FROM = 3


def group_table(steps: Sequence[Step], lines: Mapping[str, Lines]) -> list[str]:
    """Steps of a group that have been measured."""
    rows = [step_row(step, lines) for step in steps if lines[step.name]]
    left = [step.name for step in steps if not lines[step.name]]
    width = max((len(row) for row in rows), default=0)
    head = [*STEP_HEAD, "never heard %", "AUROC %", "seldom heard %", "AUROC %"][:width]
    table = markdown(head, [[*row, *[NOTHING] * (width - len(row))] for row in rows], numbers_from=NUMBERS_FROM)
    return [*table, *([""] if table and left else []), *([f"Not measured yet: {', '.join(left)}."] if left else [])]


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]], *, numbers_from: int) -> list[str]:
    """Lines of a table; nothing without rows."""
    body = [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows]
    if not body:
        return []
    rule = "|".join("---" if place < numbers_from else "---:" for place in range(len(head)))
    return [f"| {' | '.join(head)} |", f"|{rule}|", *body]


BANDS = ("with many training clips", "with few", "with none")


def recall_by_clips(lines: Lines, split: str) -> dict[str, tuple[float, int, tuple[int, int]]]:
    """Of ``unknown`` by how many training clips its words have: per cent, clips, and the least and the most of them."""
    found: dict[str, list[tuple[float, int, int]]] = {}
    for line in lines.values():
        for training, right, clips in line.get(split, {}).get("unknown_by_word", {}).values():
            band = BANDS[0 if training >= FEW else 1 if training else 2]
            found.setdefault(band, []).append((right, clips, training))
    num = max(1, sum(split in line for line in lines.values()))
    return {
        band: (
            100 * sum(right for right, _, _ in words) / sum(clips for _, clips, _ in words),
            sum(clips for _, clips, _ in words) // num,
            (min(training for *_, training in words), max(training for *_, training in words)),
        )
        for band, words in found.items()
    }


def with_interval(lines: Lines, name: str) -> str:
    """A test figure: mean and deviation over seeds, and Wilson's interval of the mean for one seed's clips."""
    tested = [line["test"][name] for line in lines.values() if "test" in line]
    clips = tested[0][1]
    low, high = wilson_interval(statistics.mean(right for right, _ in tested), clips)
    return f"{shares(lines, name, 'test').text(1)} ({100 * float(low):.1f} to {100 * float(high):.1f})"


def published(ladder: Ladder, lines: Mapping[str, Lines]) -> list[str]:
    """Rows whose test figures were read."""
    rows, ranges = [], {}
    for step in ladder.steps.values():
        own = {seed: line for seed, line in lines[step.name].items() if "test" in line}
        if not own:
            continue
        any_line = next(iter(own.values()))
        by_clips = recall_by_clips(own, "test")
        ranges |= {band: (span, clips) for band, (_, clips, span) in by_clips.items()}
        rows.append(
            [
                step.name,
                str(len(own)),
                with_interval(own, "accuracy"),
                with_interval(own, "words"),
                shares(own, "unknown", "test").text(1),
                *(f"{by_clips[band][0]:.1f}" if band in by_clips else NOTHING for band in BANDS),
                shares(own, "accuracy").text(1),
                f"{any_line['parameters']:,}",
                f"{network_macs(any_line) / 1e6:.1f} + {any_line['macs_per_second']['front end'] / 1e6:.1f}",
                samples_text(any_line),
                f"{statistics.mean(map(all_cpu_seconds, own.values())) / 60:.0f}",
            ]
        )
    if not rows:
        return ["No row has been read on the test split yet."]
    head = [
        *("step", "seeds", "test, 9 classes %", "test, 8 words %", "unknown %"),
        *(f"{band} %" for band in BANDS),
        *("validation %", "parameters", "M MACs/s, network + front end", "samples seen", "CPU minutes"),
    ]
    said = ", ".join(
        f"{band} {clips} test clips of words {of_span(*ranges[band][0])}"
        for band in BANDS
        if band in ranges
        for clips in [ranges[band][1]]
    )
    return [*markdown(head, rows, numbers_from=1), "", f"`unknown`, {said}."]


def samples_text(line: Line) -> str:
    """Samples that were seen, by teachers too."""
    further = sum(teacher["samples"] for teacher in line.get("teachers", []))
    return f"{line['samples']:,}{f' + {further:,} by teachers' if further else ''}"


def all_cpu_seconds(line: Line) -> float:
    """Of a training and its teachers'."""
    return float(line["cpu_seconds"] + sum(teacher["cpu_seconds"] for teacher in line.get("teachers", [])))


def of_span(least: int, most: int) -> str:
    """``with 5 to 9 training clips``."""
    return "without a training clip" if most == 0 else f"with {least} to {most} training clips"


def render(ladder: Ladder, results: Results) -> str:
    """The page."""
    lines = current(ladder, results)
    every = [line for own in lines.values() for line in own.values()]
    groups: dict[str, list[Step]] = {}
    for step in ladder.steps.values():
        groups.setdefault(step.group, []).append(step)
    page = [*HEAD, *where(every), "", "## Published rows", "", *published(ladder, lines), ""]
    for group, steps in groups.items():
        page += [f"## {group[0].upper()}{group[1:]}", "", *group_table(steps, lines), ""]
    return "\n".join(page).rstrip("\n") + "\n"


HEAD = """# Accuracy

Written by `python benchmarks/accuracy/table.py` out of `benchmarks/accuracy/results`; not to be edited. The steps are
in `benchmarks/accuracy/ladder.yaml`, `python benchmarks/accuracy/run.py --data DIR` trains what is missing.

Data: SC-8u, a part of Google Speech Commands v0.02: the words yes, no, up, down, left, right, stop and go, and 27
others as `unknown`, by the official split. 7,079 training clips, 903 for validation (798 of the eight words), 1,558
for test (1,200). More was not at hand: these are no figures of the full corpus.

Each step is one change on the step that it comes after; those in bold stay, and later ones build on them. The
validation figures are those of the last epoch. "Validation" is accuracy over nine classes, mean ± deviation over seeds;
the gain is that over the step before with the same seeds; the interval is how far chance of the clips alone may make
it, as both heard the same ones; the loss gain is of the validation loss in nats, positive where it falls; "shifts" is
what an average of the answers over shifts of -20, 0 and 20 ms gains, in points, at three times the cost of an answer;
CPU time is a ratio. Choices are made by these figures; the test split is read once for each published row. "Never
heard" is the recall, as `unknown`, of all clips of six words that were kept out of training (house, marvin, happy,
sheila, tree, wow: 57 clips), "seldom heard" of four of which seven training clips each were left (one, two, five, nine:
286 clips); both count in no other column. AUROC is how well the probability of `unknown` tells them from clips of the
eight words, wherever the line is drawn: recall alone can be bought with words that are refused. MACs are
multiply-accumulates for a second of audio, of the network; intervals of test figures are Wilson's for the number of
clips.""".splitlines()


def where(every: Sequence[Line]) -> list[str]:
    """What the results were made with."""
    if not every:
        return ["", "Nothing has been measured yet."]
    machines = sorted({f"{line['machine']}, {line['threads']} thread" + "s" * (line["threads"] > 1) for line in every})
    dates = sorted({line["date"] for line in every})
    torch = sorted({line["versions"]["torch"] for line in every})
    hours = sum(line["cpu_seconds"] for line in every) / 3600
    span = dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"
    return [
        "",
        f"{len(every)} training{'s' * (len(every) != 1)}, {hours:.1f} CPU hours, {span}, "
        f"torch {', '.join(torch)}, on {'; '.join(machines)}.",
    ]


def main() -> None:
    """Entry point."""
    text = render(Ladder.read(LADDER), Results(RESULTS))
    PAGE.write_text(text, "utf-8")
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
