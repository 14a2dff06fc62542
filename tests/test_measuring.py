from __future__ import annotations

import numpy as np
from toy import TINY_FEATURES, TINY_MODEL

from audiornn.checkpoint import build_model, save_model
from audiornn.corpora.folder import FolderCorpus
from audiornn.evaluation import measuring
from audiornn.inference import load
from audiornn.spec import ModelSpec
from audiornn.store import prepare
from audiornn.tasks import multiclass_task


def test_answers_do_not_depend_on_how_many_clips_are_held_at_once(data_dir, tmp_path, monkeypatch):
    store = prepare(FolderCorpus(path=str(data_dir / "clips")), data_dir=data_dir, sample_rate=16_000)
    spec = ModelSpec(features=TINY_FEATURES, model=TINY_MODEL, tasks=[multiclass_task(store.labels)])
    save_model(tmp_path / "model", build_model(spec), spec)
    classifier, rows, held = load(tmp_path / "model"), store.indices("train"), []
    run = type(classifier).run

    def spy(self, window, **options):
        held.append([len(each.waveform) for each in window])
        return run(self, window, **options)

    monkeypatch.setattr(type(classifier), "run", spy)
    (together,) = measuring.answer(classifier, store, rows, batch_size=4).values()
    assert len(held) == 1 and len(together) == len(rows)
    three = 3 * int(store.num_samples[rows].max())
    for most, clips in ((three, len(rows)), (1, 1)):
        monkeypatch.setattr(measuring, "_WINDOW_SAMPLES", most)
        held.clear()
        seen: list[tuple[int, int]] = []
        found = measuring.answer(
            classifier, store, rows, batch_size=4, progress=lambda *counts, seen=seen: seen.append(counts)
        )
        assert len(held) > 1 and max(map(len, held)) <= clips
        assert all(sum(each) <= most or len(each) == 1 for each in held)
        assert [length for each in held for length in each] == store.num_samples[rows].tolist() and seen[-1] == (
            len(rows),
            len(rows),
        )
        (apart,) = found.values()
        np.testing.assert_allclose(apart, together, atol=1e-6)
