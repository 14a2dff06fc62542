"""What a model costs, as `evaluate` measures it."""

from __future__ import annotations

import json

import numpy as np
import pytest
from test_training import run, settings

from audiornn import machine
from audiornn.evaluation import costs, evaluate, load_evaluation, save_evaluation
from audiornn.evaluation.costs import ModelCost, measure_cost
from audiornn.evaluation.saving import COST
from audiornn.models.operations import count_operations


@pytest.fixture(scope="module")
def trained(data_dir, tmp_path_factory):
    config = settings(data_dir, trainer={"max_epochs": 1})
    result = run(config, data_dir, tmp_path_factory.mktemp("cost") / "run")
    return result.classifier, config.prepare(data_dir)


def test_cost_is_that_of_the_network_and_of_its_answers(trained, monkeypatch):
    classifier, store = trained
    rows, asked = store.indices("train"), []
    original = type(classifier).run

    def spy(self, signals, **options):
        asked.append([each.seconds for each in signals])
        return original(self, signals, **options)

    monkeypatch.setattr(type(classifier), "run", spy)
    cost = measure_cost(classifier, store, rows, batch_size=8)
    network = classifier.engine.network
    assert cost.parameters == sum(parameter.numel() for parameter in network.parameters())
    assert cost.operations_per_second == count_operations(network)
    assert {len(signals) for signals in asked} == {1, 8}
    seconds = store.num_samples[rows] / store.sample_rate
    assert cost.clip_seconds == pytest.approx(np.sort(seconds)[len(rows) // 2])
    assert 0 < cost.latency_ms <= cost.latency_ms_slowest and 1 <= cost.tries <= 30
    assert cost.batch_size == 8 and cost.audio_per_second > cost.clip_seconds / (cost.latency_ms_slowest / 1000) / 10
    assert cost.peak_bytes is None or 30e6 < cost.peak_bytes < 1e11
    assert cost.engine.startswith("torch ") and f"{costs.available_cores()} cores" in cost.machine


def test_long_recordings_are_not_all_taken_at_once(trained, monkeypatch):
    classifier, store = trained
    monkeypatch.setattr(costs, "_MOST_AUDIO", 2.5 * store.signals(0).seconds)
    assert measure_cost(classifier, store, store.indices("train"), batch_size=8).batch_size == 2


def test_layers_that_cannot_be_counted_leave_their_figure_out(trained, monkeypatch):
    classifier, store = trained

    def refused(*_, **__):
        raise costs.ModelError("another kind of layer")

    monkeypatch.setattr("audiornn.models.operations.count_operations", refused)
    cost = measure_cost(classifier, store, store.indices("train")[:2])
    assert cost.operations_per_second is None and not any("multiply" in line for line in cost.lines())
    assert cost.parameters is not None


def test_cost_has_a_file_and_a_part_of_the_page_and_goes_when_it_is_not_measured(trained, tmp_path):
    classifier, store = trained
    evaluation = evaluate(classifier, store, "validation")
    cost = measure_cost(classifier, store, store.indices("validation"))
    written = save_evaluation(evaluation, tmp_path / "here", cost=cost)
    document = json.loads(written[COST].read_text("utf-8"))
    assert ModelCost(**document) == cost
    page = (tmp_path / "here" / "report.html").read_text("utf-8")
    for _, figure, _ in cost.rows():
        assert figure in page
    assert load_evaluation(tmp_path / "here").headline == evaluation.headline
    save_evaluation(evaluation, tmp_path / "here")
    assert not (tmp_path / "here" / COST).exists()
    assert "Speed and size" not in (tmp_path / "here" / "report.html").read_text("utf-8")


def test_peak_memory_is_known_without_proc_and_unknown_without_both(monkeypatch, tmp_path):
    by_proc = machine.peak_memory()
    monkeypatch.setattr(machine, "_STATUS", tmp_path / "none")
    by_usage = machine.peak_memory()
    assert by_usage is not None and (by_proc is None or 0.2 < by_usage / by_proc < 20)
    monkeypatch.setitem(machine.sys.modules, "resource", None)
    assert machine.peak_memory() is None


def test_processor_has_a_name(monkeypatch, tmp_path):
    assert machine.processor()
    monkeypatch.setattr(machine, "_CPUINFO", tmp_path / "none")
    assert machine.processor()
