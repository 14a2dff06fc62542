"""The accuracy study: ``python benchmarks/accuracy/run.py --data DIR`` trains what is missing of `ladder.yaml`.

Every (step, seed) is one training in a process of its own, and leaves one line in ``results/STEP.jsonl``. What has a
line with the settings of today is not trained again. Stopped at any moment, it loses the trainings in progress; started
again, it goes on. Test figures are measured only with ``--test``, once for each line.

    python benchmarks/accuracy/run.py --data DIR --list
    python benchmarks/accuracy/run.py --data DIR --steps logmel stem --seeds 0 1 2 --jobs 2
    python benchmarks/accuracy/run.py --data DIR --until 06:30
    python benchmarks/accuracy/run.py --data DIR --steps default --test
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from ladder import DEFAULTS, HERE, LADDER, RESULTS, Composer, Ladder, Step, digest
from measured import Line, Results

SHORT = ("trainer.max_batches=2", "trainer.max_epochs=1")
"""Overrides of --smoke."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """One training to be done, or to be measured on the test split."""

    step: Step
    seed: int
    overrides: tuple[str, ...]
    """In full, but for the seed."""
    settings: Mapping[str, Any]
    epochs: int
    teachers: tuple[Run, ...] = ()

    @property
    def taught_by(self) -> dict[str, Any]:
        """What names its teachers, as settings do."""
        if not self.teachers:
            return {}
        return {"(taught by)": [[each.step.name, each.digest] for each in self.teachers]}

    @property
    def digest(self) -> str:
        return digest({**self.settings, **self.taught_by})

    @property
    def name(self) -> str:
        return f"{self.step.name}, seed {self.seed}"


def plan(
    ladder: Ladder, steps: Sequence[Step], seeds: Sequence[int], further: Sequence[str] = (), *, composer: Composer
) -> list[Run]:
    """All runs of some steps: of every step the first seed, then of every step the next one.

    Args:
        ladder: where the steps come from.
        steps: which.
        seeds: of steps that don't say their own.
        further: overrides of all.
        composer: what names their settings.
    """
    composed = []
    for step in steps:
        overrides = [*ladder.overrides(step.name), *further]
        try:
            command = composer.compose(overrides)
        except Exception as error:
            raise SystemExit(f"{step.name}: {type(error).__name__}: {error}") from error
        composed.append((step, tuple(overrides), composer.differences(command), command.trainer.max_epochs))
    if not further:
        composer.save_defaults()
    most = max((len(step.seeds or seeds) for step in steps), default=0)
    return [
        Run(
            step=step,
            seed=own[place],
            overrides=overrides,
            settings=settings,
            epochs=epochs,
            teachers=_teachers(ladder, step, own[place], further, composer),
        )
        for place in range(most)
        for step, overrides, settings, epochs in composed
        for own in [step.seeds or tuple(seeds)]
        if place < len(own)
    ]


def _teachers(ladder: Ladder, step: Step, seed: int, further: Sequence[str], composer: Composer) -> tuple[Run, ...]:
    steps = [dataclasses.replace(ladder.steps[name], seeds=tuple(step.teacher_seeds(seed))) for name in step.taught_by]
    return tuple(plan(ladder, steps, (), further, composer=composer))


def missing(runs: Sequence[Run], results: Results, *, test: bool) -> list[Run]:
    """Those without a line of these settings, or with ``test`` without its test figures."""
    lines = {run.step.name: results.of(run.step.name) for run in runs}

    def is_done(run: Run) -> bool:
        line = lines[run.step.name].get(run.seed)
        return line is not None and line["digest"] == run.digest and (not test or "test" in line)

    return [run for run in runs if not is_done(run)]


def with_teachers(runs: Sequence[Run], has_model: Callable[[Run], bool]) -> list[Run]:
    """Runs, and before each the teachers that it needs and whose models are not there."""
    found: dict[tuple[str, int], Run] = {}
    for run in runs:
        needed = () if has_model(run) else run.teachers
        lacking = [teacher for teacher in needed if not has_model(teacher)]
        for each in (*with_teachers(lacking, has_model), run):
            found.setdefault((each.step.name, each.seed), each)
    return list(found.values())


def expected_seconds(run: Run, known: Mapping[str, Mapping[int, Line]], ladder: Ladder) -> float | None:
    """What a run takes: by the pace of the same step's, else of the nearest one's that it builds on, else of all.

    By the slowest of them: a run that does not end in time is lost. None where nothing is known.
    """
    chain = [step.name for step in reversed(ladder.chain(run.step.name))]
    for lines in (*(known.get(name, {}) for name in chain), dict(enumerate(_all_lines(known)))):
        paces = [(line["wall_seconds"] + 5) / line["epochs"] for line in lines.values()]
        if paces:
            return max(paces) * run.epochs
    return None


def _all_lines(known: Mapping[str, Mapping[int, Line]]) -> Iterator[Line]:
    for lines in known.values():
        yield from lines.values()


def deadline(text: str) -> float:
    """Seconds since the epoch of the next HH:MM of the clock on the wall."""
    now = datetime.now().astimezone()
    hour, minute = (int(part) for part in text.split(":"))
    then = now.replace(hour=hour, minute=minute, second=0, microsecond=0)
    return (then if then > now else then + timedelta(days=1)).timestamp()


class Workers:
    """Trainings in progress.

    Args:
        scratch: folder for what is not kept.
        results: where lines go.
        data: folder of the corpora.
        threads: of each training.
        jobs: trainings side by side.
        defaults: file of the defaults that settings are named by.
    """

    def __init__(self, scratch: Path, results: Results, data: Path, *, threads: int, jobs: int, defaults: Path) -> None:
        self._scratch = scratch
        self._results = results
        self._data = data
        self._threads = threads
        self._jobs = jobs
        self._defaults = defaults
        self._running: dict[subprocess.Popen[bytes], tuple[Run, Path, FileLock, float]] = {}
        self.failed: list[str] = []

    @property
    def has_room(self) -> bool:
        return len(self._running) < self._jobs

    @property
    def is_busy(self) -> bool:
        return bool(self._running)

    def folder(self, run: Run) -> Path:
        """Of what a run leaves that is not kept."""
        return self._scratch / run.step.name / f"seed-{run.seed}-{run.digest}"

    def has_model(self, run: Run) -> bool:
        """Whether its model is there to teach."""
        return self.folder(run).with_suffix(".json").is_file() and (self.folder(run) / "model").is_dir()

    def start(self, run: Run, *, test: bool) -> None:
        """Begin a run, unless another process of this study is at it."""
        folder = self.folder(run)
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder.with_suffix(".lock"))
        try:
            lock.acquire(timeout=0)
        except Timeout:
            say(f"{run.name}: another process is at it")
            return
        answer = folder.with_suffix(".json")
        if not self.has_model(run):
            shutil.rmtree(folder, ignore_errors=True)
            answer.unlink(missing_ok=True)
        request = folder.with_suffix(".request.json")
        request.write_text(json.dumps(self._request(run, folder, answer, test=test)), "utf-8")
        threads = str(self._threads)
        environment = {**os.environ, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
        with folder.with_suffix(".log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, str(HERE / "worker.py"), str(request)],
                stdin=subprocess.PIPE,  # never written to: the worker ends when it is closed, however this process ends
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )
        self._running[process] = (run, folder, lock, time.time())
        say(f"{run.name}: started")

    def _request(self, run: Run, folder: Path, answer: Path, *, test: bool) -> dict[str, Any]:
        own = [f"seed={run.seed}", f"trainer.num_threads={self._threads}", "tensorboard=false"]
        if run.teachers:
            own.append(f"teacher=[{','.join(str((self.folder(each) / 'model').resolve()) for each in run.teachers)}]")
        return {
            "step": run.step.name,
            "seed": run.seed,
            "digest": run.digest,
            "overrides": list(run.overrides),
            "all_overrides": [*run.overrides, *own],
            "settings": run.settings,
            "taught_by": run.taught_by,
            "teachers": [[each.seed, str(self.folder(each).with_suffix(".json"))] for each in run.teachers],
            "defaults": str(self._defaults),
            "commit": commit(),
            "threads": self._threads,
            "beside": self._jobs - 1,
            "data": str(self._data),
            "folder": str(folder),
            "answer": str(answer),
            "test": test,
        }

    def collect(self) -> None:
        """Keep the lines of those that have ended."""
        for process, (run, folder, lock, started) in list(self._running.items()):
            code = process.poll()
            if code is None:
                continue
            del self._running[process]
            assert process.stdin is not None
            process.stdin.close()
            minutes = (time.time() - started) / 60
            if code:
                log = folder.with_suffix(".log")
                last = log.read_text("utf-8", "replace").strip().splitlines()[-1:] or ["nothing said"]
                self.failed.append(run.name)
                say(f"{run.name}: failed after {minutes:.1f} min: {last[0]}; see {log}")
            else:
                line = json.loads(folder.with_suffix(".json").read_text("utf-8"))
                self._results.keep(line, scratch=self._scratch)
                shutil.rmtree(folder / "checkpoints", ignore_errors=True)
                say(f"{run.name}: {in_words(line)}, {minutes:.1f} min")
            lock.release()

    def stop(self) -> None:
        """End what is in progress."""
        for process, (run, _, lock, _) in self._running.items():
            process.kill()
            process.wait()
            lock.release()
            say(f"{run.name}: stopped")


def in_words(line: Line) -> str:
    """The figures that one looks at first."""
    found = line["validation"]
    shares = [
        f"{title} {100 * found[name][0] / found[name][1]:.1f} %"
        for name, title in (("accuracy", "validation"), ("words", "words"), ("never_heard", "never heard"))
        if found[name] and found[name][1]
    ]
    return f"{', '.join(shares)}, loss {found['loss']:.4f}, {line['cpu_seconds']:.0f} CPU s"


def commit() -> str:
    """Of the package, short; with a plus where files differ from it."""
    words = ["git", "-C", str(HERE), "describe", "--always", "--dirty=+", "--abbrev=9", "--exclude=*"]
    return subprocess.run(words, capture_output=True, text=True, check=False).stdout.strip()


def say(line: str) -> None:
    """With the time."""
    print(f"{datetime.now():%H:%M:%S} {line}", flush=True)


def work(runs: Sequence[Run], workers: Workers, ladder: Ladder, results: Results, *, until: float, test: bool) -> None:
    """Do the runs and those of the teachers that they lack, as many side by side as there is room for.

    Args:
        runs: what is missing.
        workers: does them.
        ladder, results: what is known, to foretell how long they take.
        until: start nothing that would not end by then, in seconds since the epoch.
        test: measure them on the test split too; never teachers.
    """
    asked, waiting = list(runs), with_teachers(runs, workers.has_model)
    try:
        while waiting or workers.is_busy:
            while waiting and workers.has_room:
                ready = [run for run in waiting if workers.has_model(run) or all(map(workers.has_model, run.teachers))]
                if not ready:
                    break
                run = ready[0]
                waiting.remove(run)
                seconds = expected_seconds(run, results.all(), ladder)
                if time.time() + (seconds or 0) > until:
                    say(f"{run.name}: left for later, takes about {(seconds or 0) / 60:.0f} min")
                    continue
                workers.start(run, test=test and run in asked)
            if waiting and not workers.is_busy:
                say(f"left for later, without teachers: {', '.join(run.name for run in waiting)}")
                return
            time.sleep(0.5)
            workers.collect()
    finally:
        workers.stop()


def show(ladder: Ladder, runs: Sequence[Run], results: Results) -> None:
    """One line per step: what it is, and what there is of it."""
    for step in {run.step.name: run.step for run in runs}.values():
        own = [run for run in runs if run.step.name == step.name]
        done = results.of(step.name, own[0].digest)
        seconds = [expected_seconds(run, results.all(), ladder) for run in own if run.seed not in done]
        left = f", {sum(each or 0 for each in seconds) / 60:.0f} min to do" if seconds else ""
        found = "; ".join(f"{seed}: {in_words(line)}" for seed, line in sorted(done.items()))
        print(
            f"{step.group}: {step.name} after {step.after or '-'}: {' '.join(step.change)} [{found or 'nothing'}{left}]"
        )


def parse(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder that speech_commands_v0.02 lies in")
    parser.add_argument("--steps", nargs="+", default=[], help="names of steps or groups; without, all")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--threads", type=int, default=1, help="of each training")
    parser.add_argument("--jobs", type=int, default=2, help="trainings side by side")
    parser.add_argument("--until", help="HH:MM: start nothing that would not end by then")
    parser.add_argument("--list", action="store_true", help="say what there is and what is missing, train nothing")
    parser.add_argument("--test", action="store_true", help="also measure on the test split: for published rows, once")
    parser.add_argument("--smoke", action="store_true", help="two batches each, nothing kept: does it run?")
    parser.add_argument("--scratch", type=Path, default=Path("runs/accuracy"), help="folder for runs")
    parser.add_argument("--ladder", type=Path, default=LADDER)
    parser.add_argument("--results", type=Path, default=RESULTS)
    return parser.parse_args(words)


def main(words: Sequence[str] | None = None) -> int:
    """Entry point."""
    arguments = parse(words)
    ladder, results = Ladder.read(arguments.ladder), Results(arguments.results)
    composer = Composer(arguments.results / DEFAULTS)
    runs = plan(
        ladder, ladder.choose(arguments.steps), arguments.seeds, SHORT if arguments.smoke else (), composer=composer
    )
    if arguments.list:
        show(ladder, runs, results)
        return 0
    scratch = arguments.scratch / "smoke" if arguments.smoke else arguments.scratch
    kept = Results(scratch / "results") if arguments.smoke else results
    threads, jobs, defaults = arguments.threads, arguments.jobs, arguments.results / DEFAULTS
    workers = Workers(scratch, kept, arguments.data, threads=threads, jobs=jobs, defaults=defaults)
    until = deadline(arguments.until) if arguments.until else float("inf")
    work(missing(runs, kept, test=arguments.test), workers, ladder, results, until=until, test=arguments.test)
    if workers.failed:
        say(f"failed: {'; '.join(workers.failed)}")
    return 1 if workers.failed else 0


if __name__ == "__main__":
    sys.exit(main())
