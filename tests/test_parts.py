"""What a long job keeps beside its output, and how the next one goes on from it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from limits import small_files

from audiornn.errors import ConfigError
from audiornn.files.parts import Item, Part, part_of

SETTINGS = {"model": "m", "top_k": 1}
NAMES = ["a.wav", "line\nbreak.wav", "\udcff.wav", "🎤.wav", "=1+1.wav"]


@contextmanager
def opened(path: Path, states: Callable[[str], tuple[int, int] | None] = lambda _: (1, 1), **given) -> Iterator[Part]:
    with Part(path, given.pop("settings", SETTINGS), state_of=states, head=b"head\n", **given) as part:
        yield part


def add(part: Part, *names: str, content: bytes = b"row\n", ok: bool = True) -> None:
    part.append([Item(name, (1, 1), len(content), ok, ("imu",)) for name in names], content * len(names))


@pytest.fixture
def output(tmp_path) -> Path:
    return tmp_path / "rows.csv"


@pytest.fixture
def interrupted(output) -> Path:
    """The part of a job that has ended after two groups."""
    with opened(output) as part:
        add(part, *NAMES[:3])
        add(part, NAMES[3], ok=False)
    return part_of(output)


def test_the_next_run_goes_on_after_what_is_done(output, interrupted):
    with opened(output) as part:
        assert part.found == NAMES[:4] and part.num_failed == 1 and part.notes == {"imu": 4}
        assert part.missing(NAMES) == NAMES[4:]
        add(part, NAMES[4])
        part.become_output()
    assert output.read_bytes() == b"head\n" + 5 * b"row\n"
    assert [path.name for path in output.parent.iterdir()] == ["rows.csv"]


@pytest.mark.parametrize("num_bytes", [0, 1, 30])
def test_what_was_being_written_is_cut(output, interrupted, num_bytes):
    journal = interrupted.with_name("rows.csv.part.journal")
    whole = interrupted.read_bytes(), journal.read_bytes()
    with opened(output) as part:
        add(part, NAMES[4])
    journal.write_bytes(journal.read_bytes()[: len(whole[1]) + num_bytes])
    with opened(output) as part:
        assert part.found == NAMES[:4] and not part.was_changed
    assert (interrupted.read_bytes(), journal.read_bytes()) == whole


@pytest.mark.parametrize("damage", [b"", b"head\nrow\nrow\nr", b"head\nrow\nrow\nXXX\nrow\n"])
def test_content_that_is_not_what_was_noted_is_done_again(output, interrupted, damage):
    interrupted.write_bytes(damage)
    with opened(output) as part:
        assert part.found == [] and part.was_changed == bool(damage)
    assert interrupted.read_bytes() == b"head\n"
    with opened(output) as part:
        assert not part.was_changed


@pytest.mark.parametrize(
    ("given", "changed", "kept"),
    [
        (b'"\\ud83c\\udfa4.wav"', b'"other.wav"', NAMES[:3]),  # another file's row
        (b"true", b"false", []),
        (b'"bytes": 4', b'"bytes": -4', NAMES[:3]),
        (b'"top_k": 1', b'"top_k": 2', []),
    ],
)
def test_journal_that_was_changed_is_believed_up_to_the_change(output, interrupted, given, changed, kept):
    journal = interrupted.with_name("rows.csv.part.journal")
    assert given in journal.read_bytes()
    journal.write_bytes(journal.read_bytes().replace(given, changed))
    with opened(output) as part:
        assert part.found == kept and part.was_changed
        add(part, *NAMES[len(kept) :])
        part.become_output()
    assert output.read_bytes() == b"head\n" + 5 * b"row\n"


def test_run_that_was_killed_at_its_start_is_begun_anew(output, interrupted):
    journal = interrupted.with_name("rows.csv.part.journal")
    journal.write_bytes(journal.read_bytes().partition(b"\n")[0] + b"\n")
    interrupted.write_bytes(b"")
    with opened(output) as part:
        assert part.found == [] and not part.was_changed


def test_files_that_changed_are_done_again_and_nothing_else(output, interrupted):
    changed = {NAMES[1], NAMES[3]}
    for _ in range(2):  # said once, it holds for the runs after it
        with opened(output, lambda path: (1, 2) if path in changed else (1, 1)) as part:
            assert part.found == [NAMES[0], NAMES[2]] and part.num_failed == 0
            assert part.missing(NAMES) == [NAMES[1], NAMES[3], NAMES[4]]
    with opened(output) as part:
        part.append([Item(NAMES[1], (1, 2), 4)], b"new\n")
        assert [item.path for item in part.items()] == [NAMES[0], NAMES[2], NAMES[1]]
        part.become_output()
    assert output.read_bytes() == b"head\nrow\nrow\nnew\n"
    assert [path.name for path in output.parent.iterdir()] == ["rows.csv"]


def test_rows_of_files_that_are_gone_stay_and_files_that_came_are_missing(output, interrupted):
    with opened(output, lambda _: None) as part:
        assert part.found == NAMES[:4]
        assert part.missing(["0.wav", NAMES[0], NAMES[2], "b.wav", "b.wav"]) == ["0.wav", "b.wav", "b.wav"]


def test_content_is_arranged_as_paths_are_and_what_is_of_no_path_comes_last(output):
    with opened(output) as part:
        for name, content in [("b", b"b1\n"), ("gone", b""), ("a", b"long a\n"), ("b", b"b2\n"), ("z", b"z\n")]:
            add(part, name, content=content)
    with opened(output, lambda path: (2, 2) if path == "z" else (1, 1)) as part:
        add(part, "aa", content=b"aa\n")
        part.arrange(["a", "b", "aa", "b", "never"])
        assert [item.path for item in part.items()] == ["a", "b", "aa", "b", "gone"]
        part.become_output()
    assert output.read_bytes() == b"head\nlong a\nb1\naa\nb2\n"


def test_content_that_is_in_order_is_not_copied(output, interrupted):
    with opened(output) as part:
        part.arrange(NAMES[:4])
        assert part.content() == interrupted


def test_another_job_is_refused_until_told_to_begin_anew(output, interrupted):
    with (
        pytest.raises(ConfigError, match="got another top_k; resume=false begins anew"),
        opened(output, settings={**SETTINGS, "top_k": 2}),
    ):
        pass
    assert len(interrupted.read_bytes()) == 21
    with opened(output, settings={**SETTINGS, "top_k": 2}, resume=False) as part:
        assert part.found == [] and interrupted.read_bytes() == b"head\n"


def test_a_file_of_that_name_that_no_job_left_is_not_touched(output):
    part_of(output).write_text("mine")
    with pytest.raises(ConfigError, match="a file without its journal"), opened(output):
        pass
    assert part_of(output).read_text() == "mine" and len(list(output.parent.iterdir())) == 1


def test_two_runs_never_write_one_output(output):
    with opened(output) as part:
        add(part, "a.wav")
        with pytest.raises(ConfigError, match="got another run that writes it"), opened(output):
            pass
        add(part, "b.wav")
        part.become_output()
    assert output.read_bytes() == b"head\nrow\nrow\n"
    with opened(output) as part:
        assert part.found == []


def test_full_disk_is_one_line_and_loses_nothing(output):
    def fill(part: Part) -> None:
        for number in range(1000):
            add(part, f"{number}.wav")

    with opened(output) as part:
        add(part, "a.wav")
        with small_files(600), pytest.raises(ConfigError, match=r"expected to write .*; what is done is kept in"):
            fill(part)
        done = part.num_done
        assert 1 < done < 1000
    with opened(output) as part:
        assert part.found[1:done] == [f"{number}.wav" for number in range(done - 1)]
        num_done = part.num_done
        part.become_output()
    assert output.read_bytes() == b"head\n" + num_done * b"row\n"


def test_part_lies_beside_what_a_link_leads_to_under_a_name_that_is_not_too_long(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link.csv").symlink_to(tmp_path / "real" / "rows.csv")
    assert part_of(tmp_path / "link.csv") == tmp_path / "real" / "rows.csv.part"
    long = tmp_path / f"{'a' * 250}.csv"
    with opened(long) as part:
        add(part, "a.wav")
        part.become_output()
    assert long.read_bytes() == b"head\nrow\n"


def test_journal_says_what_the_content_is_of(output, interrupted):
    lines = [json.loads(line) for line in interrupted.with_name("rows.csv.part.journal").read_text().splitlines()]
    assert lines[0]["settings"] == SETTINGS
    assert [item[0] for line in lines[1:] for item in line["items"]] == NAMES[:4]
    assert sum(line["bytes"] for line in lines[1:]) == interrupted.stat().st_size
