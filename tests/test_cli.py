"""The command line as a user meets it: exit codes, standard error, files."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
from commandline import assert_refused, run, succeed
from signals import noise, silence, tone, write_wav
from toy import TINY_OVERRIDES, write_clip, write_corpus

import audiornn
from audiornn.cli.main import main
from audiornn.spec import read_spec


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `clips/` and one finished training run."""
    folder = tmp_path_factory.mktemp("workplace")
    write_corpus(folder / "clips", clips=15)
    succeed("train", "data=folder", "data.path=clips", *TINY_OVERRIDES, cwd=folder, preloaded=False)
    return folder


# What works


@pytest.mark.parametrize("verb", ["train", "predict"])
def test_help_of_a_verb_is_quick_and_shows_an_example(tmp_path, verb):
    started = time.perf_counter()
    text = succeed(verb, "--help", cwd=tmp_path, preloaded=False)
    assert time.perf_counter() - started < 2, "0.1 s on a quiet machine; an import of torch would cost over 1 s"
    assert f"audiornn {verb} " in text


def test_help_of_the_command_is_quick_and_names_every_verb(tmp_path):
    started = time.perf_counter()
    text = succeed("--help", cwd=tmp_path, preloaded=False)
    assert time.perf_counter() - started < 2, "0.1 s on a quiet machine; an import of torch would cost over 1 s"
    assert all(f"  {verb} " in text for verb in ("prepare", "train", "evaluate", "predict", "embed"))


def test_version(tmp_path):
    assert succeed("--version", cwd=tmp_path) == f"audiornn {audiornn.__version__}\n"


def test_training_leaves_one_folder_with_everything(workplace):
    (run_folder,) = (workplace / "runs" / "folder").iterdir()
    names = {path.name for path in run_folder.iterdir()}
    expected = {"checkpoints", "config.yaml", "environment.json", "metrics.csv", "model", "overrides.json"}
    assert names - {".lock"} == expected | {"report", "status.json", "tensorboard", "train.log"}
    assert json.loads((run_folder / "status.json").read_text())["state"] == "finished"
    rows = list(csv.DictReader((run_folder / "metrics.csv").read_text().splitlines()))
    assert [float(row["epoch"]) for row in rows] == [1, 2]
    assert "epoch 2 of 2" in (run_folder / "train.log").read_text()
    assert any((run_folder / "tensorboard").iterdir())
    assert "hidden_size: 8" in (run_folder / "config.yaml").read_text()
    assert json.loads((run_folder / "environment.json").read_text())["audiornn"] == audiornn.__version__
    assert sorted(path.name for path in workplace.iterdir()) == ["clips", "data", "runs"], "nothing else is written"


def test_evaluate_uses_the_corpus_of_the_training_and_writes_its_files(workplace, tmp_path):
    text = succeed("evaluate", f"output={tmp_path / 'out'}", cwd=workplace)
    assert "accuracy" in text and "95 % interval" in text and "report.html" in text
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names >= {"metrics.json", "per_class.csv", "confusion_matrix.csv", "confusion_matrix.png", "predictions.csv"}
    assert names >= {"worst_mistakes.csv", "report.html"}
    document = json.loads((tmp_path / "out" / "metrics.json").read_text())
    provenance = document["provenance"]
    assert provenance["split"] == "test" and document["accuracy"]["count"] > 0
    assert f"audio {provenance['audio_sha256'][:12]}, corpus {provenance['corpus_fingerprint'][:12]}, model " in text
    assert f", torch {provenance['versions']['torch']}, " in text


def test_evaluate_states_what_streaming_costs(workplace, tmp_path):
    text = succeed("evaluate", "streaming=true", "hop_seconds=0.2", f"output={tmp_path / 'out'}", cwd=workplace)
    (model,) = workplace.glob("runs/folder/*/model")
    seconds = read_spec(model).training["clip_seconds"]
    assert f"as a stream, in windows of {seconds:g} s every 0.2 s" in text and "; offline " in text
    assert f"a sound is answered at most {(seconds + 0.2) / 2:.3g} s after it" in text
    assert (tmp_path / "out" / "streaming" / "metrics.json").is_file()
    assert_refused("evaluate", "window_seconds=1", cwd=workplace, says="expected streaming=true beside window_seconds")


def test_evaluate_predict_and_python_agree_to_a_millionth(workplace, tmp_path):
    succeed("evaluate", f"output={tmp_path}", cwd=workplace, preloaded=False)
    words = ["input=clips", "probabilities=true", "batch_size=3", f"output={tmp_path / 'p.csv'}"]
    succeed("predict", *words, cwd=workplace, preloaded=False)
    (model,) = workplace.glob("runs/folder/*/model")
    classifier = audiornn.load(model, device="cpu")
    columns = [f"probability of {label}" for label in classifier.labels]
    predicted = {
        str(Path(row["path"]).relative_to("clips")): [float(row[column]) for column in columns]
        for row in csv.DictReader((tmp_path / "p.csv").read_text().splitlines())
    }
    rows = list(csv.DictReader((tmp_path / "predictions.csv").read_text().splitlines()))
    assert rows
    for row in rows:
        evaluated = [float(row[column]) for column in columns]
        alone = classifier.predict(workplace / "clips" / row["utterance_id"]).probabilities
        np.testing.assert_allclose(predicted[row["utterance_id"]], evaluated, atol=1e-6)
        np.testing.assert_allclose(list(alone.values()), evaluated, atol=1e-6)


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_predict_gives_every_input_a_row_and_tells_of_the_broken_ones(workplace, tmp_path, suffix):
    write_clip(tmp_path / "in" / "a.wav", "high", 1)
    write_wav(tmp_path / "in" / "deep" / "b.flac", tone(300, 0.3))
    (tmp_path / "in" / "c.wav").write_bytes(b"RIFF")
    write_wav(tmp_path / "in" / "d.ogg", tone(300, 0.3), subtype="VORBIS")
    done = run(
        "predict", "input=" + str(tmp_path / "in"), "top_k=2", f"output={tmp_path / f'o.{suffix}'}", cwd=workplace
    )
    assert done.returncode == 1 and "1 of 4 inputs could not be used" in done.stderr
    path = tmp_path / f"o.{suffix}"
    if suffix == "csv":
        rows = list(csv.DictReader(path.read_text().splitlines()))
    elif suffix == "jsonl":
        rows = [json.loads(line) for line in path.read_text().splitlines()]
    else:
        rows = pyarrow.parquet.read_table(path).to_pylist()
    assert [Path(row["path"]).name for row in rows] == ["a.wav", "c.wav", "d.ogg", "b.flac"]
    assert [row["status"] for row in rows] == ["ok", "error", "ok", "ok"]
    assert "c.wav" in rows[1]["reason"] and rows[0]["label"] and rows[0]["label_2"]


def test_predict_without_output_prints_a_table(workplace):
    text = succeed("predict", "input=[clips/high/00.wav,'clips/low/*1.wav']", cwd=workplace)
    assert "clips/high/00.wav" in text and "clips/low/01.wav" in text and "clips/low/11.wav" in text


def test_files_that_a_manifest_lists_are_predicted_and_what_was_predicted_is_such_a_list(workplace, tmp_path):
    """Named from where it lies; a file that is gone is a row with its reason."""
    manifest = workplace / "listed.csv"
    elsewhere = write_clip(tmp_path / "b.wav", "high", 1)
    manifest.write_text(f"path,label\nclips/high/00.wav,high\n{elsewhere},high\nclips/gone.wav,low\n")
    for listed, output in (("listed.csv", "rows.csv"), ("rows.csv", "again.jsonl")):
        done = run("predict", f"input={listed}", f"output={output}", cwd=workplace)
        assert done.returncode == 1 and "1 of 3 inputs could not be used" in done.stderr
    rows = [json.loads(line) for line in (workplace / "again.jsonl").read_text().splitlines()]
    assert [row["path"] for row in rows] == ["clips/high/00.wav", str(elsewhere), "clips/gone.wav"]
    assert [row["status"] for row in rows] == ["ok", "ok", "error"]
    manifest.write_text("path,start,end\nclips/high/00.wav,0.1,0.2\n")
    assert_refused(
        "predict",
        "input=listed.csv",
        cwd=workplace,
        says="expected whole files in 'listed.csv', got a part of one on line 2",
    )


@pytest.mark.parametrize("suffix", ["npz", "parquet"])
def test_embed_writes_one_matrix_with_ids(workplace, tmp_path, suffix):
    from audiornn.files.embeddings import read_embeddings

    succeed("embed", "input=clips/high", f"output={tmp_path / f'e.{suffix}'}", cwd=workplace)
    embeddings = read_embeddings(tmp_path / f"e.{suffix}")
    assert embeddings.matrix.shape == (15, 16) and embeddings.ids[0] == "clips/high/00.wav"


def test_prepare_prints_what_is_there_and_returns_at_once_the_second_time(workplace):
    text = succeed("prepare", "data=folder", "data.path=clips", cwd=workplace)
    stores = [path.name for path in (workplace / "data" / ".audiornn").iterdir() if path.is_dir()]
    assert "train" in text and "rise" in text and len(stores) == 1


@pytest.mark.slow
def test_multirun_trains_every_combination_in_a_folder_of_its_own(workplace):
    """And tells Hydra the validation figure of each, which is what its sweepers search by."""
    words = [*TINY_OVERRIDES, "trainer.max_epochs=1", "name=sweep", "+hydra.callbacks.told._target_=sweeping.Told"]
    text = succeed("train", "-m", "seed=0,1", "data=folder", "data.path=clips", *words, cwd=workplace)
    models = list(workplace.glob("runs/sweep/multirun_*/*/model/config.json"))
    assert sorted(json.loads(path.read_text())["training"]["seed"] for path in models) == [0, 1]
    told = [float(line) for line in (workplace / "told.txt").read_text().splitlines()]
    assert [f"validation: accuracy {100 * value:.1f} %" in text for value in told] == [True, True]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("predict", "-m", "input=clips", "top_k=1,2"), "expected -m with `audiornn train` only"),
        (("train", "--multirun", "seed=0,1", "run_dir=here"), "expected no run_dir= beside --multirun"),
        (("train", "-m", "seed=0,1", "resume=true"), "expected no resume= beside -m"),
    ],
)
def test_multirun_is_refused_where_it_means_nothing(tmp_path, words, says):
    assert_refused(*words, cwd=tmp_path, says=says)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("train", "model=[lstm,gru]"), "one option for model=, got [lstm,gru]; `audiornn train -m model=lstm,gru` "),
        (("prepare", "data=[fsdd,folder]"), "expected one option for data=, got [fsdd,folder]"),
        (("train", "model=lstm,gru"), "-m"),
    ],
)
def test_several_options_of_one_kind_are_refused(tmp_path, words, says):
    assert_refused(*words, cwd=tmp_path, says=says)


def test_run_folder_is_loaded_as_the_model_in_it(workplace, monkeypatch):
    (run_folder,) = workplace.glob("runs/folder/*")
    monkeypatch.chdir(workplace)
    for name in (run_folder, "last"):
        assert Path(audiornn.load(name, device="cpu").source).resolve() == run_folder / "model"


def test_letters_beyond_ascii_need_no_quotes(workplace):
    for name in ("Übung 1", "données"):
        (workplace / name).mkdir()
    shutil.copy(next((workplace / "clips").rglob("*.wav")), workplace / "Übung 1" / "ä.wav")
    (run_folder,) = workplace.glob("runs/folder/*")
    shutil.copytree(run_folder / "model", workplace / "données" / "modèle")
    words = ("model=données/modèle", "input=[Übung 1,Übung 1/ä.wav]", "output=données/é.jsonl")
    succeed("predict", *words, cwd=workplace)
    assert len((workplace / "données" / "é.jsonl").read_text("utf-8").splitlines()) == 2
    assert_refused("predict", "model=données/nö", "input=clips", cwd=workplace, says="'données/nö'")


@pytest.mark.slow
def test_multirun_runs_beside_each_other_with_joblib(workplace):
    words = [*TINY_OVERRIDES, "trainer.max_epochs=1", "name=beside", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
    # joblib's own processes do not start from a forked one.
    succeed("train", "-m", "seed=3,4", "data=folder", "data.path=clips", *words, cwd=workplace, preloaded=False)
    assert len(list(workplace.glob("runs/beside/multirun_*/*/model/config.json"))) == 2


@pytest.mark.slow
@pytest.mark.parametrize("option", ["one_batch", "overfit", "profile", "steps"])
def test_debug_option_runs(workplace, option):
    words = [word for word in TINY_OVERRIDES if not word.startswith("trainer.max_epochs")]
    text = succeed(
        "train", f"debug={option}", "data=folder", "data.path=clips", f"name=debug_{option}", *words, cwd=workplace
    )
    (run_folder,) = (workplace / "runs" / f"debug_{option}").iterdir()
    assert "validation:" in text and (run_folder / "model").is_dir()
    if option == "overfit":
        rows = list(csv.DictReader((run_folder / "metrics.csv").read_text().splitlines()))
        assert float(rows[-1]["train_loss"]) < 0.5 * float(rows[0]["train_loss"])
    if option == "profile":
        assert "run_training_batch" in (run_folder / "fit-profile.txt").read_text()


def test_configuration_is_printed_not_run(workplace):
    text = succeed("train", "--cfg", "job", "data=folder", "data.path=nowhere", cwd=workplace)
    assert "hidden_size: 128" in text and "path: nowhere" in text


@pytest.mark.parametrize(("verb", "setting"), [("compare", "runs"), ("report", "runs"), ("robustness", "models")])
def test_configuration_of_verbs_that_list_words_is_printed_too(workplace, verb, setting):
    assert f"{setting}: ???" in succeed(verb, "--cfg", "job", cwd=workplace)
    text = succeed(verb, "a", "--cfg", "job", "b", cwd=workplace)
    assert f"{setting}:\n- a\n- b\n" in text


@pytest.mark.parametrize(
    ("own", "expected"),
    [({}, "2000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "PASSIVE"}, None)],
)
def test_threads_spin_before_they_sleep_unless_the_user_says_otherwise(monkeypatch, own, expected):
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.setenv(name, "")  # so that it is put back afterwards
        monkeypatch.delenv(name)
    for name, value in own.items():
        monkeypatch.setenv(name, value)
    assert main(["store", "list", "data_dir=nowhere"]) in (0, 2)
    assert os.environ.get("GOMP_SPINCOUNT") == expected


def test_data_folder_comes_from_the_environment(tmp_path):
    write_corpus(tmp_path / "clips", clips=10)
    succeed(
        "prepare", "data=folder", "data.path=clips", cwd=tmp_path, env={"AUDIORNN_DATA": str(tmp_path / "elsewhere")}
    )
    assert (tmp_path / "elsewhere" / ".audiornn").is_dir() and not (tmp_path / "data").exists()


def test_tilde_that_a_shell_leaves_is_the_home_folder(tmp_path):
    env = {"HOME": str(tmp_path / "home"), "USERPROFILE": str(tmp_path / "home")}
    for number in range(12):
        write_wav(tmp_path / "home" / "clips" / "ab"[number % 2] / f"{number}.wav", tone(3000, 300.0 + number))
    words = ["data=folder", "data.path=[~/clips/a, ~/clips/b]", "data.label_pattern='^([^/]+)/'"]
    succeed("prepare", *words, "data_dir=~/store", cwd=tmp_path, env=env)
    assert "1 prepared corpus" in succeed("store", "list", "data_dir=~/store", cwd=tmp_path, env=env)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home"]


def test_stereo_other_widths_and_other_rates_work(tmp_path):
    for index in range(10):
        write_clip(tmp_path / "c" / "a" / f"{index}.wav", "high", index)
        write_clip(tmp_path / "c" / "b" / f"{index}.wav", "low", index)
    mono = tone(2000, 0.4, sample_rate=44_100)
    write_wav(tmp_path / "c" / "a" / "stereo.wav", np.stack([mono, mono]).T, 44_100)
    write_wav(tmp_path / "c" / "a" / "deep.wav", tone(2000, 0.4, sample_rate=48_000), 48_000, subtype="PCM_24")
    write_wav(tmp_path / "c" / "a" / "narrow.wav", tone(2000, 0.4, sample_rate=8000), 8000, subtype="PCM_U8")
    write_wav(tmp_path / "c" / "a" / "float.wav", tone(2000, 0.4), subtype="FLOAT")
    text = succeed("prepare", "data=folder", "data.path=c", "strict=true", cwd=tmp_path)
    assert "left out" not in text


# What is refused


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders with one thing wrong each."""
    folder = tmp_path_factory.mktemp("broken")
    (folder / "no_audio" / "a").mkdir(parents=True)
    write_corpus(folder / "one_class", labels=("high",))
    write_corpus(folder / "single")
    write_clip(folder / "single" / "lonely" / "0.wav", "high", 0)
    write_corpus(folder / "no_validation" / "train", clips=4)
    write_corpus(folder / "no_validation" / "validation", clips=0)
    for name, content in (("text", b"hello, this is no audio at all"), ("empty", b"")):
        write_corpus(folder / name)
        (folder / name / "high" / "bad.wav").write_bytes(content)
    for name, waveform in (("silent", silence(4000)), ("nan", np.full(4000, np.nan, np.float32)), ("zero", silence(0))):
        write_corpus(folder / name)
        write_wav(folder / name / "high" / "bad.wav", waveform, subtype="FLOAT")
    write_corpus(folder / "truncated")
    whole = write_clip(folder / "truncated" / "high" / "bad.wav", "high", 99)
    whole.write_bytes(whole.read_bytes()[:2000])
    return folder


@pytest.mark.parametrize(
    ("folder", "says"),
    [
        ("missing", "missing"),
        ("no_audio", "audio"),
        ("one_class", ["2", "high"]),
        ("single", "lonely"),
    ],
)
def test_folder_that_makes_no_corpus_is_refused(broken, tmp_path, folder, says):
    assert_refused("prepare", "data=folder", f"data.path={broken / folder}", cwd=tmp_path, says=says)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("folder", ["text", "empty", "silent", "nan", "zero", "truncated"])
def test_file_that_cannot_be_used_is_listed_or_with_strict_refused(broken, tmp_path, folder):
    words = ["prepare", "data=folder", f"data.path={broken / folder}"]
    assert_refused(*words, "strict=true", cwd=tmp_path, says="bad.wav")
    assert list(tmp_path.rglob("*.arrow")) == [], "nothing half done"
    for _ in range(2):  # decoded, and found again
        done = run(*words, cwd=tmp_path)
        assert done.returncode == 1 and "1 left out of " in done.stdout, done
    (listing,) = tmp_path.rglob("rejected.csv")
    (row,) = csv.DictReader(listing.read_text().splitlines())
    assert row["path"].endswith("bad.wav") and row["reason"]


def test_clip_of_one_sample_holds_no_signal_and_is_left_out(tmp_path):
    write_corpus(tmp_path / "c")
    write_wav(tmp_path / "c" / "high" / "short.wav", np.array([0.5], np.float32))
    done = run("prepare", "data=folder", "data.path=c", cwd=tmp_path)
    assert done.returncode == 1 and "1 left out" in done.stdout and "short.wav" in done.stdout


def test_listed_files_that_are_not_there_are_counted_and_the_rest_is_used(workplace, tmp_path):
    listed = [("high", 0), ("low", 1), ("high", 2), ("high", 99)]
    rows = [f"{workplace / 'clips' / label / f'{number:02d}.wav'},{label},test" for label, number in listed]
    (tmp_path / "list.csv").write_text("\n".join(["path,label,split", *rows]) + "\n")
    words = ["data=manifest", f"data.path={tmp_path / 'list.csv'}"]
    done = run("prepare", *words, cwd=tmp_path)
    assert done.returncode == 1 and done.stderr == ""
    assert "1 left out of 4 clips" in done.stdout and "expected an audio file, got no file" in done.stdout
    text = succeed("evaluate", *words, f"output={tmp_path / 'out'}", cwd=workplace)
    assert "1 left out of 4 clips, listed in" in text
    assert_refused("prepare", *words, "strict=true", cwd=tmp_path, says=["99.wav", "no file"])


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["fly"], ["expected a verb", "'fly'"]),
        (["trian"], "did you mean 'train'?"),
        (["prepare", "data=foldr"], "foldr"),
        (["prepare", "sampel_rate=8000"], "sampel_rate"),
        (["prepare", "data=folder", "data.pth=x"], "pth"),
        (["prepare", "sample_rate=fast"], "fast"),
        (["prepare", "data=folder", "data.path=x", "data.validation=1.5"], "validation"),
        (["predict"], "input"),
        (["predict", "input=x.wav", "output=x.txt"], ".parquet"),
        (["predict", "input=x.wav"], "model=last"),
        (["predict", "input=x.wav", "model=nowhere"], "nowhere"),
        (["predict", "input=nothing/*.wav"], "nothing/*.wav"),
        (["predict", "input="], "input must be a file, a folder, a glob, a manifest, or a list of them, got ''"),
        (["predict", "--input", "x.wav"], "expected settings as NAME=VALUE, got '--input'"),
        (["predict", "input=take (1).wav"], "quotes"),
        (["embed", "input=x.wav", "output=x.csv"], ".npz"),
        (["evaluate", "split=test", "model=nowhere"], "nowhere"),
        *(([verb, "batch_size=0"], "batch_size must be at least 1") for verb in ("evaluate", "calibrate", "tune")),
        (["robustness", "nowhere", "batch_size=0"], "batch_size must be at least 1"),
        (["robustness", "model=last"], "got 'model'; did you mean 'models'?"),
        (["compare", "model=last"], "got 'model'; see"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else None,
)
def test_bad_command_is_refused_in_a_line(tmp_path, words, says):
    assert_refused(*words, cwd=tmp_path, says=says)
    assert list(tmp_path.iterdir()) == []


LONG = "a" * 300


@pytest.mark.parametrize(
    "words",
    [
        ("predict", f"model={LONG}", "input=a.wav"),
        ("detect", f"model={LONG}.onnx", "input=a.wav"),
        ("explain", "model=last", f"input={LONG}.wav"),
        ("doctor", "data=folder", f"data.path={LONG}"),
        ("doctor", "data=manifest", f"data.path={LONG}.csv"),
        ("doctor", "data=esc50", f"data.path={LONG}"),
        ("split", "data=demo", f"output={LONG}.csv"),
        ("store", "verify", f"data_dir={LONG}"),
        ("store", "verify", f"store={LONG}"),
        ("train", "data=demo", f"run_dir={LONG}"),
        ("report", LONG),
        ("compare", LONG, LONG),
    ],
    ids=lambda words: "_".join(word.partition("=")[0].replace(LONG, "LONG") for word in words),
)
def test_name_that_the_system_does_not_look_up_is_refused_in_a_line(tmp_path, words):
    assert_refused(*words, cwd=tmp_path, says="aaa")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["model.hiden_size=3"], "got 'model.hiden_size'; did you mean 'model.encoder.hidden_size'?"),
        (["features.num_bands=3"], "got 'features.num_bands'; see"),
        (["trainer.learning_rate=1"], "did you mean 'optimizer.learning_rate'?"),
        (["optimizer.learning_rate=nan"], "learning_rate must be above 0, got nan"),
        (["trainer.max_epochs=0"], "max_epochs must be at least 1, got 0"),
        (["features.n_mfcc=90"], "n_mfcc must be at most n_mels"),
        (["features.f_max=9000"], "f_max must be at most half the sample rate"),
        (["model.encoder.cell=cnn"], "got 'cnn'"),
        (["audio.steps=trim"], "expected a list for audio.steps, got trim; write audio.steps=[trim]"),
        (["trainer.max_epochs=2.5"], "expected a whole number for trainer.max_epochs, got 2.5"),
        (["optimizer.learning_rate=abc"], "expected a number for optimizer.learning_rate, got abc"),
        (["model.encoder.bidirectional=maybe"], "expected true or false for model.encoder.bidirectional, got maybe"),
        (["objective.targets=[a]"], "got 'objective.targets', which another objective= has; see"),
        (["seed=-1"], "seed must be at least 0"),
        (["seed=9223372036854775808"], "seed must be at least 0 and below 2 ** 63"),
        (["resume=true"], "unfinished"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else None,
)
def test_bad_training_setting_is_refused_before_any_audio_is_read(tmp_path, words, says):
    assert_refused("train", "data=folder", "data.path=nowhere", *words, cwd=tmp_path, says=says)
    assert list(tmp_path.iterdir()) == []


def test_empty_split_is_refused(workplace, broken, tmp_path):
    words = ["data=folder", f"data.path={broken / 'no_validation'}", f"data_dir={tmp_path}"]
    assert_refused("evaluate", "model=last", "split=test", *words, cwd=workplace, says="test")


def test_evaluation_of_a_model_outside_a_run_is_not_written_beside_it(workplace, tmp_path):
    """Where several lie, one would take the place of another's."""
    import shutil

    (model,) = workplace.glob("runs/folder/*/model")
    shutil.copytree(model, tmp_path / "models" / "a")
    words = ["evaluate", "model=models/a", "data=folder", f"data.path={workplace / 'clips'}", f"data_dir={tmp_path}"]
    assert_refused(*words, cwd=tmp_path, says="expected output=FOLDER beside model=models/a")
    assert [path.name for path in (tmp_path / "models").iterdir()] == ["a"]
    assert "accuracy" in succeed(*words, "output=here", cwd=tmp_path)


@pytest.mark.parametrize("damage", ["config.json", "model.safetensors"])
def test_model_folder_with_a_missing_or_truncated_file_is_refused(workplace, tmp_path, damage):
    import shutil

    (model,) = workplace.glob("runs/folder/*/model")
    shutil.copytree(model, tmp_path / "m")
    path = tmp_path / "m" / damage
    path.write_bytes(path.read_bytes()[:100])
    assert_refused("predict", "model=m", f"input={workplace / 'clips'}", cwd=tmp_path, says=damage)
    path.unlink()
    assert_refused("predict", "model=m", f"input={workplace / 'clips'}", cwd=tmp_path, says=damage)


@pytest.mark.parametrize(
    ("words", "content"),
    [
        (["predict", "input=clips/high/00.wav"], '{"model_type": "wav2vec2"}'),
        (["embed", "input=clips/high/00.wav", "output=e.npz"], "[]"),
        (["evaluate"], "no JSON"),
    ],
    ids=lambda value: value[0],
)
def test_foreign_model_folder_is_refused(workplace, tmp_path, words, content):
    (tmp_path / "config.json").write_text(content)
    assert_refused(*words, f"model={tmp_path}", cwd=workplace, says="config.json")
    assert not (workplace / "e.npz").exists()


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_output_that_cannot_be_written_is_refused(workplace, tmp_path):
    (tmp_path / "file").write_text("")
    target = tmp_path / "file" / "out.csv"
    assert_refused("predict", "input=clips/high", f"output={target}", cwd=workplace, says="out.csv")
    assert_refused("evaluate", f"output={tmp_path / 'file' / 'results'}", cwd=workplace, says="results")
    assert_refused(
        "train",
        "data=folder",
        "data.path=clips",
        f"run_dir={tmp_path / 'file' / 'run'}",
        *TINY_OVERRIDES,
        cwd=workplace,
        says="run",
    )


def test_noise_only_corpus_is_no_error_of_ours(tmp_path):
    """Random noise as two classes trains without complaint: quality is not a matter of exit codes."""
    for label in ("a", "b"):
        for index in range(10):
            write_wav(tmp_path / "c" / label / f"{index}.wav", noise(3000, seed=index + 100 * (label == "b")))
    succeed("prepare", "data=folder", "data.path=c", cwd=tmp_path)


def test_setting_added_with_a_plus_is_refused_in_one_line(tmp_path):
    write_corpus(tmp_path / "clips", clips=4)
    says = "expected a known setting, got 'foo' with a plus before it"
    assert_refused("prepare", "data=folder", "data.path=clips", "+foo=1", cwd=tmp_path, says=says)


def test_patterns_with_brackets_are_printed_as_they_are(tmp_path):
    write_corpus(tmp_path / "clips", clips=12)
    for path in sorted((tmp_path / "clips").rglob("*.wav")):
        path.rename(path.with_name(f"{'abcdefghijkl'[int(path.stem)]}_{path.name}"))
    pattern = "[/]([a-z]+)_"
    told = succeed("prepare", "data=folder", "data.path=clips", f"data.speaker_pattern='{pattern}'", cwd=tmp_path)
    assert pattern in "".join(told.split("\n"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
@pytest.mark.parametrize("words", [("--help",), ("prepare", "--help"), ("store", "list")])
def test_full_disk_behind_standard_output_is_one_line(tmp_path, words):
    (tmp_path / "data").mkdir()
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "audiornn", *words], cwd=tmp_path, stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode == 2
    assert done.stderr == "audiornn: ConfigError: expected to write to standard output, got: No space left on device\n"


def test_closed_standard_output_is_nobodys_error(tmp_path):
    command = f"'{sys.executable}' -m audiornn --help >&-"
    done = subprocess.run(command, shell=True, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_missing_package_is_named(tmp_path):
    code = "import sys; sys.modules['hydra'] = None; from audiornn.cli.main import main; sys.exit(main(['prepare']))"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("audiornn: ConfigError: expected the package 'hydra', found an installation without")
