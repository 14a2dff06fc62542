from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from audiornn.cli.help import conf_dir
from audiornn.corpora import CORPORA, Corpus
from audiornn.corpora.folder import FolderCorpus
from audiornn.corpora.fsdd import Fsdd
from audiornn.corpora.manifest_file import ManifestCorpus
from audiornn.errors import ConfigError, CorpusError
from audiornn.manifest import Utterance


def touch(folder: Path, names: Iterable[str]) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def counts(rows: list[Utterance]) -> dict[str, int]:
    return dict(Counter(row.split for row in rows))


def test_registry_names_are_the_classes_own() -> None:
    assert list(CORPORA) == [path.stem for path in sorted((conf_dir() / "data").glob("*.yaml")) if path.stem in CORPORA]
    for name in CORPORA:
        corpus = CORPORA[name]
        assert issubclass(corpus, Corpus)
        fields = {field.name: field.default for field in corpus.__dataclass_fields__.values()}
        assert fields["name"] == name


def test_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="missing"):
        FolderCorpus(path=str(tmp_path / "missing")).utterances(tmp_path)
    with pytest.raises(CorpusError, match="audiornn download data=fsdd"):
        Fsdd().utterances(tmp_path)


def test_manifest_corpus_falls_back_from_column_to_speaker_to_stratified(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    lines = [f"{label}{index}.wav,{label},{{}},s{index % 5}" for label in "ab" for index in range(20)]
    corpus = ManifestCorpus(path=str(path))

    def rows(header: str, split: str) -> list[Utterance]:
        path.write_text(header + "\n" + "\n".join(line.format(split) for line in lines) + "\n")
        found = corpus.utterances(tmp_path)
        return found

    assert counts(rows("path,label,split,speaker", "test")) == {"test": 40}
    assert corpus.split_rule(tmp_path) == "column 'split' of the manifest"
    assert counts(rows("path,label,split,speaker", "")) == {"train": 24, "validation": 8, "test": 8}
    assert corpus.split_rule(tmp_path).startswith("speakers kept apart")
    assert counts(rows("path,label,split,other", "")) == {"train": 32, "validation": 4, "test": 4}
    assert corpus.split_rule(tmp_path).startswith("stratified")
    path.write_text("path,label,speaker\n" + "".join(f"{n}.wav,{'ab'[n % 2]},{'s' * (n > 1)}\n" for n in range(9)))
    with pytest.raises(CorpusError, match=r"for every utterance or for none, got 2 of 9 without, such as '0\.wav'"):
        corpus.utterances(tmp_path)
    assert counts(replace(corpus, split="stratified").utterances(tmp_path)) == {"train": 5, "validation": 2, "test": 2}
    path.write_text("path,label,split\na.wav,a,train\nb.wav,b,\n")
    with pytest.raises(CorpusError, match=r"none for 'b\.wav'"):
        corpus.utterances(tmp_path)
    with pytest.raises(ConfigError):
        ManifestCorpus(path=str(path), split="folders")
