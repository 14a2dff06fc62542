"""Every option file is composed, built and run forward; every number in them passes the schema."""

from __future__ import annotations

import dataclasses
import re
import tomllib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf
from signals import noise

from audiornn.checkpoint import build_network
from audiornn.cli import schemas as schema
from audiornn.cli.help import VERBS, conf_dir, is_of_use, verb_help
from audiornn.corpora import CORPORA
from audiornn.corpora.same import SameCorpus
from audiornn.effects.noise import NoiseBank
from audiornn.errors import ConfigError
from audiornn.inputs import with_sizes
from audiornn.manifest import Utterance
from audiornn.padding import lengths_to_padding_mask, zero_padding
from audiornn.targets import UtteranceSource, read_targets
from audiornn.training.augment import Augmenter
from audiornn.training.engine import build_trainer
from audiornn.training.optimization import build_optimizer, build_schedule

GROUPS = sorted(path.name for path in conf_dir().iterdir() if path.is_dir())


def options(group: str) -> list[str]:
    return sorted(path.stem for path in (conf_dir() / group).glob("*.yaml"))


@pytest.fixture(autouse=True)
def hydra_forgets() -> Iterator[None]:
    yield
    GlobalHydra.instance().clear()


def composed(verb: str, *overrides: str) -> Any:
    schema.register(verb)
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return OmegaConf.to_object(compose(verb, overrides=[*overrides]))


def train_command(*overrides: str) -> Any:
    return composed("train", "run_dir=here", *overrides)


NEEDED = {
    "objective": {
        "binary": ["objective.positive=a"],
        "multilabel": ["objective.target=tags"],
        "regression": ["objective.targets=[pitch,level]"],
        "frames": ["model=frames"],
        "next_frame": ["model=predictor"],
        "multitask": [
            "+objective.tasks.a={kind: multiclass}",
            "+objective.tasks.b={kind: regression, targets: [pitch]}",
        ],
    },
    "features": {"none": ["streams=sequence"]},
    "data": {"folder": ["data.path=x"], "manifest": ["data.path=x"]},
}
"""What some options can't do without."""


def utterances() -> UtteranceSource:
    """Targets for every objective; one label is said in two ways."""
    columns = [{"tags": "x;y", "pitch": "1"}, {"tags": "y", "pitch": "2", "level": "0"}, {"tags": "", "level": "-3"}]
    more = [
        {"parity": "odd", "digit": "3", "speech_seconds": "1"},
        {"parity": "even", "digit": "4", "speech_seconds": "2"},
        {"parity": "odd", "digit": "5"},
    ]
    slots = [("activate", "lights", "none"), ("bring", "juice", "none"), ("activate", "lamp", "kitchen")]
    more = [
        {**each, "action": action, "object": thing, "location": place}
        for each, (action, thing, place) in zip(more, slots, strict=True)
    ]
    intervals = '[[0.1, 0.2, "x"]]'
    columns = [
        {**each, **further, "intervals": intervals, "speech": intervals, "word": word}
        for each, further, word in zip(columns, more, "xyz", strict=True)
    ]
    columns.append({**columns[-1], "word": "w"})
    return UtteranceSource(
        [
            Utterance(
                utterance_id=each["word"],
                path=each["word"],
                label=label,
                speaker=f"s{label}",
                split="train",
                columns=each,
            )
            for label, each in zip("abcc", columns, strict=True)
        ]
    )


def step(command: Any) -> float:
    """One training step of the composed settings on noise, shrunk in width; returns the loss."""
    torch.manual_seed(0)
    rate = command.features.sample_rate
    source = utterances()
    inputs = dataclasses.replace(command.inputs, streams=with_sizes(command.streams, {"sequence": 3}))
    objective = command.objective.build(source, num_features=sum(inputs.sizes.values()))
    objective.check_model(command.model, inputs)
    network = build_network(inputs, command.model, objective.specs)
    optimizer = build_optimizer(command.optimizer, network)
    schedule = build_schedule(command.schedule, optimizer, total_steps=10, steps_per_epoch=5)
    bank = NoiseBank([(noise(rate, seed=5) * 32767).astype(np.int16)])
    filtered_by = (network.features.of_gains, command.features.n_mels)
    augmenter = Augmenter(command.augment, seed=command.seed, sample_rate=rate, noise=bank, filtered_by=filtered_by)
    waveforms = torch.from_numpy(np.stack([noise(rate // 2, seed=index) for index in range(3)]))
    lengths = torch.tensor([rate // 2, rate // 3, rate // 4])
    draws = augmenter.draw(0, torch.arange(3))
    waveforms = zero_padding(waveforms, lengths_to_padding_mask(lengths, rate // 2))
    if command.augment.unknown_probability:  # as if all classes were there
        augmenter = Augmenter(command.augment, seed=0, sample_rate=rate, labels=["no", "yes", "unknown"])
        waveforms, _ = augmenter.with_unknown(waveforms, lengths, torch.arange(3), draws)
    sequences = {"sequence": (torch.randn(3, 40, 3), torch.tensor([40, 0, 30]))}
    origins = partial(augmenter.origins, draws=draws)
    frames = network.frames(*augmenter.waveforms(waveforms, lengths, draws), sequences, origins=origins)
    frames = augmenter.filtered(frames, draws)
    output = network.classify(frames._replace(values=augmenter.features(frames.values, frames.lengths, draws)))
    assert output.logits.shape == (3, sum(spec.num_outputs for spec in objective.specs))
    targets = {spec.name: read_targets(spec, source, np.arange(3), complete=False) for spec in objective.specs}
    for task in objective.each:
        further = task.further_targets(source, np.arange(3))
        targets |= {f"{task.spec.name}/{name}": values for name, values in further.items()}
    loss = objective(output, {name: torch.from_numpy(values) for name, values in targets.items()})
    loss.backward()
    before = [parameter.detach().clone() for parameter in network.parameters()]
    optimizer.step()
    schedule.step(*([1.0] if command.schedule.name == "plateau" else []))
    assert any(not torch.equal(old, new) for old, new in zip(before, network.parameters(), strict=True))
    return loss.item()


TRAIN_OPTIONS = [
    (group, option)
    for group in GROUPS
    if group not in ("data", "experiment", "debug", "trainer", "loader")
    for option in options(group)
]


@pytest.mark.parametrize(("group", "option"), TRAIN_OPTIONS, ids=lambda value: str(value))
def test_option_is_composed_built_and_trained_a_step(group, option):
    assert np.isfinite(step(train_command(f"{group}={option}", *NEEDED.get(group, {}).get(option, []))))


@pytest.mark.parametrize("option", options("experiment"))
def test_experiment_is_composed_built_and_trained_a_step(option):
    command = train_command(f"experiment={option}")
    assert command.name == option, "runs of an experiment lie under its name"
    assert np.isfinite(step(command))


@pytest.mark.parametrize("option", options("trainer"))
def test_trainer_option_builds_a_trainer(option, tmp_path):
    config = train_command(f"trainer={option}").trainer
    if config.accelerator == "gpu" and not torch.cuda.is_available():
        with pytest.raises(ConfigError, match=r"(?i)gpu|cuda"):
            build_trainer(config, tmp_path, monitor=("validation_loss", "min"), tensorboard=False)
        return
    assert (
        build_trainer(config, tmp_path, monitor=("validation_loss", "min"), tensorboard=False).max_epochs
        == config.max_epochs
    )


@pytest.mark.parametrize("option", [*options("loader"), *options("debug")])
def test_loader_and_debug_options_compose(option):
    group = "loader" if option in options("loader") else "debug"
    changed, plain = train_command(f"{group}={option}"), train_command()
    assert (changed == plain) == (option == "default")


@pytest.mark.parametrize("objective", options("objective"))
def test_every_objective_can_be_overfitted(objective):
    needed = NEEDED["objective"].get(objective, [])
    assert train_command(f"objective={objective}", *needed, "debug=overfit").loader.overfit_clips == 8


@pytest.mark.parametrize("option", options("data"))
def test_data_option_composes_to_its_corpus(option):
    corpus = composed("evaluate", f"data={option}", *NEEDED["data"].get(option, [])).data
    assert option.startswith(corpus.name)
    assert type(corpus) is {**CORPORA, "same": SameCorpus}[corpus.name]


@pytest.mark.parametrize("verb", VERBS)
def test_verbs_that_take_a_device_take_an_engine(verb):
    top = OmegaConf.load(conf_dir() / f"{verb}.yaml")
    assert ("device" in top) == ("engine" in top)


@pytest.mark.parametrize("verb", VERBS)
def test_help_tells_every_setting_of_a_verb(verb):
    text = verb_help(verb)
    top = OmegaConf.load(conf_dir() / f"{verb}.yaml")
    for name in top:
        if name not in ("defaults", "hydra"):
            assert f"  {name.replace('model_path', 'model')}=" in text, f"the setting {name} of {verb} has no comment"
    for group in GROUPS:
        if re.search(rf"^  - (optional )?{group}:", (conf_dir() / f"{verb}.yaml").read_text(), re.MULTILINE):
            shown = [option for option in options(group) if option != "same" and is_of_use(verb, group, option)]
            assert all(f"{option} " in text for option in shown), group


def test_every_option_file_says_what_it_is():
    for path in conf_dir().rglob("*.yaml"):
        first = next(line for line in path.read_text("utf-8").splitlines() if "@package" not in line)
        assert first.startswith("# ") and len(first) > 5, path


def test_defaults_are_written_once():
    """An option repeats no value that its dataclass has already."""
    for group in ("features", "augment", "model", "optimizer", "schedule", "loader", "trainer"):
        plain = schema._import(schema._TRAIN_GROUPS[group])()
        for option in options(group):
            for name, value in OmegaConf.to_container(OmegaConf.load(conf_dir() / group / f"{option}.yaml")).items():
                if name not in ("defaults", "name", "kind") and not isinstance(value, dict):
                    assert getattr(plain, name) != value, f"{group}/{option}: {name}={value} is the default"


def test_package_data_names_the_folder():
    text = (Path(__file__).parent.parent / "pyproject.toml").read_text()
    assert '"audiornn.conf" = "conf"' in text


def test_every_package_of_the_tree_is_in_the_wheel():
    root = Path(__file__).parent.parent
    listed = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    found = {".".join(path.parent.relative_to(root).parts) for path in (root / "audiornn").rglob("__init__.py")}
    assert set(listed) == found | {"audiornn.conf"}


REGRESSION = ("data=folder", "data.path=x", "objective=regression", *NEEDED["objective"]["regression"])


@pytest.mark.parametrize("words", [("data=speech_commands",), REGRESSION])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")], ids=str)
def test_setting_that_is_no_finite_number_is_refused(words, value):
    tried = 0
    for owner in dataclasses_in(train_command(*words)):
        hints = get_type_hints(type(owner))
        for name in (each.name for each in dataclasses.fields(owner) if hints[each.name] in (float, float | None)):
            with pytest.raises(ConfigError):
                dataclasses.replace(owner, **{name: value})
            tried += 1
    assert tried > 30


def dataclasses_in(config: Any) -> Iterator[Any]:
    """It and all settings in it."""
    yield config
    for each in dataclasses.fields(config):
        if dataclasses.is_dataclass(child := getattr(config, each.name)):
            yield from dataclasses_in(child)
