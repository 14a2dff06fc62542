from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import subprocess
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from PIL import Image

from audiornn.evaluation import Evaluation, evaluate_predictions, report
from audiornn.evaluation.pictures import draw_confusion_matrix, draw_training_curves, shorten
from audiornn.evaluation.report import render_report

HOSTILE = [
    "<img src=x onerror=alert(1)>",
    "</script><script>alert(2)</script>",
    "\" onmouseover=\"alert(3)",
    "' onfocus='alert(4)",
    "{{ 7 * 7 }}{% raw %}",
    "<!-- --><style>*{display:none}</style>",
    "javascript:alert(5)",
    "emoji 🎉\udcff\u2028new\nline",
]  # fmt: skip


class Page(HTMLParser):
    """What a browser would make of the page: elements with their attributes, and the texts of scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.scripts: dict[str, str] = {}
        self._script: str | None = None
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag == "script":
            self._script = dict(attrs).get("id") or "code"

    def handle_endtag(self, tag):
        self._script = None

    def handle_data(self, data):
        if self._script is not None:
            self.scripts[self._script] = self.scripts.get(self._script, "") + data
        else:
            self.texts.append(data)


def make_evaluation(labels: list[str], clips: int, *, prefix: str = "") -> Evaluation:
    rng = np.random.default_rng(7)
    targets = rng.integers(len(labels), size=clips)
    scores = rng.standard_normal((clips, len(labels)))
    scores[np.arange(clips), targets] += 3
    probabilities = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    return evaluate_predictions(
        labels=labels,
        utterance_ids=[f"{prefix}{labels[target]}/{index:08x}_nohash_0.wav" for index, target in enumerate(targets)],
        targets=targets,
        probabilities=probabilities,
        durations=np.full(clips, 0.75),
        speakers=[f"{labels[0]}{index % 15}" for index in range(clips)],
        provenance={"corpus": "toy", "split": "test", "hostile": labels[0]},
    )


@pytest.fixture(scope="module")
def hostile() -> tuple[Evaluation, str]:
    evaluation = make_evaluation(HOSTILE, 200)
    settings = {"model": {HOSTILE[1]: HOSTILE[0], "hidden_size": 64}, "list": [1, HOSTILE[3]]}
    history = [{"epoch": epoch, "train_loss": 1 / epoch, HOSTILE[1]: 1.0} for epoch in (1, 2, 3)]
    return evaluation, render_report(evaluation, title=HOSTILE[1], history=history, settings=settings)


def test_names_from_strangers_stay_text(hostile):
    _, text = hostile
    page = Page(text)
    tags = [tag for tag, _ in page.elements]
    assert tags.count("script") == 3
    assert tags.count("style") == 1
    assert "img" not in tags
    attributes = {name for _, attributes in page.elements for name in attributes}
    assert not [name for name in attributes if name.startswith("on")]
    assert "49" not in re.findall(r"\d+", " ".join(page.texts[:6]))
    for label in HOSTILE[:5]:
        assert any(label in piece for piece in page.texts)
    text.encode("utf-8")


def test_only_the_page_s_own_script_may_run_and_nothing_is_fetched(hostile):
    _, text = hostile
    page = Page(text)
    metas = [attributes for tag, attributes in page.elements if tag == "meta"]
    policy = next(meta["content"] for meta in metas if meta.get("http-equiv") == "Content-Security-Policy")
    digest = base64.b64encode(hashlib.sha256(page.scripts["code"].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert "innerHTML" not in page.scripts["code"]
    for tag, attributes in page.elements:
        assert tag not in ("link", "iframe", "object", "embed", "base", "form")
        assert "src" not in attributes
        assert (attributes.get("href") or attributes.get("xlink:href") or "#").startswith("#")
    assert "url(" not in re.sub(r"url\(#\w+\)", "", text.replace(page.scripts["data"], ""))


def test_the_lists_behind_the_cells_hold_every_clip(hostile):
    evaluation, text = hostile
    data = json.loads(Page(text).scripts["data"])
    assert len(data["clips"]) == len(evaluation)
    assert data["labels"][:7] == HOSTILE[:7]
    assert data["labels"][7] == "emoji 🎉\\udcff\u2028new\nline"
    counts = np.zeros_like(evaluation.confusion)
    for identifier, target, prediction, probability, of_target, seconds in data["clips"]:
        counts[target, prediction] += 1
        assert identifier.startswith(data["labels"][target])
        assert 0 <= of_target <= probability <= 1
        assert seconds == 0.75
    assert np.array_equal(counts, evaluation.confusion)


def test_the_matrix_shows_the_counts(hostile):
    evaluation, text = hostile
    shown = np.zeros_like(evaluation.confusion)
    matrix = text[text.index('<table class="matrix') : text.index("</table>", text.index('<table class="matrix'))]
    for tag, attributes in Page(matrix).elements:
        if tag == "button":
            cell = int(attributes["data-target"]), int(attributes["data-prediction"])
            shown[cell] = int(attributes["data-count"])
    assert np.array_equal(shown, evaluation.confusion)


def test_figures_and_settings_are_on_the_page(hostile):
    evaluation, text = hostile
    page = " ".join(Page(text).texts)
    assert f"{100 * evaluation.accuracy.value:.1f} %" in page
    assert evaluation.accuracy.interval_text() in page
    assert evaluation.provenance["utterance_ids_sha256"] in page
    assert "model.hidden size" in page
    assert "bootstrap over speakers" in page


def test_ten_thousand_clips_stay_under_five_megabytes():
    labels = [f"class_{index:02}" for index in range(35)]
    text = render_report(make_evaluation(labels, 10_000, prefix="a/rather/long/path/below/the/corpus/folder/" * 3))
    assert len(text.encode()) < 5_000_000
    assert len(json.loads(Page(text).scripts["data"])["clips"]) == 10_000


def test_very_many_clips_keep_the_mistakes(monkeypatch):
    monkeypatch.setattr(report, "MAX_LISTED_CLIPS", 60)
    evaluation = make_evaluation([f"class {index}" for index in range(12)], 400)
    clips = json.loads(Page(render_report(evaluation)).scripts["data"])["clips"]
    mistakes = len(evaluation.mistakes())
    assert 20 < mistakes < 60
    assert len(clips) == 60
    assert all(target != prediction for _, target, prediction, *_ in clips[:mistakes])


def test_very_many_classes_are_listed_as_pairs():
    text = render_report(make_evaluation([f"class {index}" for index in range(100)], 500))
    assert '<table class="matrix' not in text
    assert "too many for a table" in text
    assert "Most frequent confusions" in text


def test_the_same_evaluation_gives_the_same_page():
    evaluation = make_evaluation(["a", "b"], 50)
    history = [{"epoch": 1, "train_loss": 1.0}, {"epoch": 2, "train_loss": 0.5}]
    assert render_report(evaluation, history=history) == render_report(evaluation, history=history)


def test_a_page_without_mistakes_history_or_speakers_says_so():
    evaluation = evaluate_predictions(labels=["a", "b"], utterance_ids=["x"], targets=[0], probabilities=[[1, 0]])
    text = render_report(evaluation)
    assert "every clip was answered right" in text
    assert "<h2>Training</h2>" not in text
    assert "<h2>Most frequent confusions</h2>" not in text
    assert "<th>speaker</th>" not in text


def test_curves_are_grouped_by_figure_and_take_the_page_s_colours():
    history = [
        {
            "epoch": 1,
            "step": 10,
            "train_loss": 2.0,
            "validation_loss": 1.5,
            "val/accuracy": "0.5",
            "learning_rate": None,
        },
        {
            "epoch": 2,
            "step": 20,
            "train_loss": 1.0,
            "validation_loss": float("nan"),
            "learning_rate": 1e-3,
            "seconds": 3,
        },
    ]
    curves = dict(draw_training_curves(history))
    assert list(curves) == ["loss", "accuracy", "learning rate"]
    assert "train" in curves["loss"]
    assert "validation" in curves["loss"]
    for svg in curves.values():
        root = ET.fromstring(svg)
        assert root.tag.endswith("svg")
        assert "width" not in root.attrib
        assert "currentColor" in svg
        assert "font-family" not in svg
    identifiers = [set(re.findall(r'id="(\w+)"', svg)) for svg in curves.values()]
    assert not identifiers[0] & identifiers[1]
    assert draw_training_curves([]) == []


@pytest.mark.parametrize("size", [1, 9, 45])
def test_the_picture_is_drawn_for_any_number_of_classes(tmp_path, size):
    picture = tmp_path / "confusion_matrix.png"
    confusion = np.diag(np.arange(size)) + 1
    picture.write_bytes(draw_confusion_matrix([f"class {index}" for index in range(size)], confusion))
    with Image.open(picture) as image:
        assert image.size[0] < 2_600
        pixels = np.asarray(image.convert("RGB"), dtype=int).reshape(-1, 3)
    blue, orange = (np.abs(pixels - colour).sum(axis=1).min() for colour in ((31, 95, 168), (200, 72, 28)))
    assert blue < 250
    assert orange < 500


def test_the_picture_takes_any_label_and_leaves_global_settings_alone():
    before = dict(matplotlib.rcParams)
    first = draw_confusion_matrix(["$\\frac{x$", *HOSTILE], np.eye(9, dtype=int))
    assert first == draw_confusion_matrix(["$\\frac{x$", *HOSTILE], np.eye(9, dtype=int))
    assert dict(matplotlib.rcParams) == before
    assert shorten("a\n b" + "c" * 50) == "a b" + "c" * 16 + "…"


@pytest.mark.slow
def test_the_script_runs_in_a_browser(tmp_path, hostile):
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no Chromium")
    page = tmp_path / "report.html"
    page.write_text(hostile[1], encoding="utf-8")
    options = ["--no-sandbox", "--headless", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom"]
    dom = subprocess.run([browser, *options, Path(page).as_uri()], capture_output=True, text=True, check=True).stdout
    table = dom[dom.index('id="classes"') :]
    assert table[: table.index("</thead>")].count("<button>") == 5
