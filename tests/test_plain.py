"""Commands composed without Hydra: the same settings as with it, or none."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import OmegaConf

from audiornn.cli.help import VERBS, conf_dir
from audiornn.cli.overrides import plain_value
from audiornn.cli.plain import plain_command
from audiornn.cli.schemas import register

NEEDED = {
    "predict": ["input=clips"],
    "embed": ["input=clips", "output=a.npz"],
    "detect": ["input=clips"],
    "listen": [],
    "push": ["repository=ann/words"],
}
"""Verbs without groups, and what they can't do without."""


@pytest.fixture(autouse=True)
def hydra_forgets() -> Iterator[None]:
    yield
    GlobalHydra.instance().clear()


def composed_by_hydra(verb: str, words: list[str]) -> Any:
    register(verb)
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return OmegaConf.to_object(compose(verb, overrides=words))


@pytest.mark.parametrize(
    ("verb", "words"),
    [
        *((verb, []) for verb in NEEDED),
        (
            "predict",
            ["input=a/take_2.wav", "model_path=runs/demo/2026-11-21_10-00-00", "top_k=3", "probabilities=True"],
        ),
        ("predict", ["input='2024'", 'output="my table.csv"', "engine=null", "num_workers=0", "resume=FALSE"]),
        ("predict", ["input=x", "input=./take 2.wav", "model_path=ann/words@v1.0", "runs_dir=../runs"]),
        ("detect", ["threshold=1", "window_seconds=0.5", "input=*.wav", "voice_only=true"]),
        ("listen", ["input=-", "microphone=3", "sample_rate=8000", "merge_seconds=2"]),
        ("push", ["private=true", "message=''"]),
    ],
)
def test_plain_words_make_the_same_command_as_with_hydra(verb, words):
    words = [*NEEDED[verb], *words]
    assert repr(plain_command(verb, words)) == repr(composed_by_hydra(verb, words))  # 1 is not 1.0 there


@pytest.mark.parametrize(
    "word",
    [
        "top_k=many",
        "top_k=1.0",
        "top_k=null",
        "top_k=true",
        "model_path=2024",
        "probabilities=1",
        "probabilities=yes",
        "input=[a.wav,b.wav]",
        "input=a.wav,b.wav",
        "input=take (1).wav",
        "input=a b.wav ",
        "input=",
        "input=${model_path}",
        "input='${model_path}'",
        "input=a=b",
        "input=???",
        "input=ü.wav",
        r"input=a\,b",
        "inputs=x",
        "input",
        "+input=x",
        "~output",
        "hydra.run.dir=here",
        "hydra/job_logging=default",
        "-m",
        "--cfg",
        "--info=all",
    ],
)
def test_whatever_else_is_said_is_left_to_hydra(word):
    assert plain_command("predict", ["input=clips", word]) is None


@pytest.mark.parametrize("verb", sorted(VERBS.keys() - NEEDED.keys()))
def test_verbs_with_groups_are_left_to_hydra(verb):
    assert plain_command(verb, []) is None


def test_missing_settings_are_left_to_hydra():
    assert plain_command("predict", ["top_k=1"]) is None


def test_values_are_read_as_hydra_reads_them_or_not_at_all():
    rng = random.Random(0)
    pieces = [*"aeE_0127.+-/*@% '\"\\$:~,=[(", "inf", "nan", "true", "null", "1e5", "é", "take"]
    texts = {"".join(rng.choices(pieces, k=rng.randint(1, 5))) for _ in range(3000)}
    parser = OverridesParser.create()
    read = 0
    for text in sorted(texts):
        try:
            value = plain_value(text)
        except ValueError:
            continue
        try:
            expected = parser.parse_override(f"name={text}").value()
        except HydraException:
            pytest.fail(f"Hydra refuses {text!r}")
        assert (type(value), value) == (type(expected), getattr(expected, "text", expected)), text
        read += 1
    assert read > 200, "too few to tell"
