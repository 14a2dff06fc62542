"""The recipe in docs/adding_a_corpus.md does what it says, followed to the letter."""

from __future__ import annotations

import re
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import miniatures
import pytest

from audiornn.errors import CorpusError
from audiornn.manifest import check_utterances
from audiornn.store import prepare

RECIPE = Path(__file__).parent.parent / "docs" / "adding_a_corpus.md"


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> tuple[Any, Any]:
    """The module and the writer of the miniature, as the recipe has them."""
    module, writer = re.findall(r"```python\n(.*?)```", RECIPE.read_text("utf-8"), re.DOTALL)
    corpus = ModuleType("bird_calls")
    monkeypatch.setitem(sys.modules, "bird_calls", corpus)
    exec(compile(module, "bird_calls.py", "exec"), corpus.__dict__)
    names = dict(vars(miniatures))
    exec(compile(writer, "miniatures.py", "exec"), names)
    return corpus.BirdCalls, names["write_bird_calls"]


def test_the_template_lists_its_miniature(written: tuple[Any, Any], tmp_path: Path) -> None:
    corpus_class, write = written
    with pytest.raises(CorpusError, match="audiornn download data=bird_calls"):
        corpus_class().utterances(tmp_path)
    write(tmp_path)
    rows = corpus_class().utterances(tmp_path)
    check_utterances(rows, "recipe")
    counts = Counter(row.split for row in rows)
    assert counts == {"train": 12, "validation": 3, "test": 3}
    published = corpus_class().published_counts()
    assert {split: 60 * counts[split] for split in counts} == published
    assert len(prepare(corpus_class(), data_dir=tmp_path, sample_rate=16_000, num_workers=0)) == 18
    next((tmp_path / "bird_calls").glob("audio/wren/*")).unlink()
    with pytest.raises(CorpusError, match=r"meta/clips\.csv lists, got 1 missing"):
        corpus_class().utterances(tmp_path)
