"""The page of an evaluation, operated in headless Chromium (Debian's packages chromium and chromium-driver)."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait
from signals import noise, tone

from audiornn.evaluation import evaluate_predictions
from audiornn.evaluation.comparing import Compared, compare
from audiornn.evaluation.comparison_page import render_comparison
from audiornn.evaluation.media import ClipMedia, drawn_clip, encoded_audio
from audiornn.evaluation.report import render_report

pytestmark = pytest.mark.slow
LABELS = ["yes", "no", "<b>up</b>", "unknown"]
CLIPS = 10_000


def page_text() -> str:
    """Of 10,000 clips, of which the worst can be heard."""
    rng = np.random.default_rng(3)
    targets = rng.integers(len(LABELS), size=CLIPS)
    scores = rng.standard_normal((CLIPS, len(LABELS)))
    scores[np.arange(CLIPS), targets] += 2.5
    probabilities = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    evaluation = evaluate_predictions(
        labels=LABELS,
        utterance_ids=[f"{LABELS[target]}/{index:08x}_nohash_0.wav" for index, target in enumerate(targets)],
        targets=targets,
        probabilities=probabilities,
        durations=np.ones(CLIPS),
        speakers=[f"speaker {index % 90}" for index in range(CLIPS)],
        by={"speaker": [f"speaker {index % 90}" for index in range(CLIPS)]},
        provenance={"corpus": "toy", "split": "test"},
    )
    clip = (tone(500, 1.0, amplitude=0.2) + noise(16_000, seed=1, amplitude=0.01)).astype(np.float32)
    times = np.linspace(0, 1, 25)
    media = ClipMedia(encoded_audio(clip, 16_000), drawn_clip(clip, 16_000, (times, np.hanning(25).astype(np.float32))))
    names = [row["utterance_id"] for row in evaluation.worst_mistakes(24)]
    history = [{"epoch": epoch, "train_loss": 1 / epoch, "validation_accuracy": 1 - 1 / epoch} for epoch in (1, 2, 3)]
    return render_report(evaluation, history=history, media=dict.fromkeys(names, media))


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("page") / "report.html"
    text = page_text()
    path.write_text(text, encoding="utf-8")
    assert path.stat().st_size < 5_000_000
    return path.as_uri()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory, address: str) -> Iterator[webdriver.Chrome]:
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("no chromium, or no chromedriver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    profile: Path = tmp_path_factory.mktemp("profile")
    for word in ("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", f"--user-data-dir={profile}"):
        options.add_argument(word)
    for word in ("--disable-background-networking", "--disable-component-update", "--disable-sync", "--mute-audio"):
        options.add_argument(word)
    options.add_argument("--autoplay-policy=no-user-gesture-required")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    opened = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    try:
        opened.get(address)
        yield opened
    finally:
        opened.quit()


def test_a_cell_lists_its_clips(browser):
    cell = browser.find_element(By.CSS_SELECTOR, '.matrix button[data-target="0"][data-prediction="2"]')
    count = int(cell.text)
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", cell)
    cell.click()
    panel = browser.find_element(By.ID, "clips")
    assert panel.is_displayed() and "<b>up</b>" in panel.find_element(By.TAG_NAME, "h3").text
    rows = panel.find_elements(By.CSS_SELECTOR, "tbody tr")
    assert len(rows) == min(count, 200) > 1
    shares = [float(row.find_elements(By.TAG_NAME, "td")[1].text) for row in rows]
    assert shares == sorted(shares, reverse=True)
    more = panel.find_element(By.CSS_SELECTOR, ".more")
    if count > 200:
        more.click()
        assert len(panel.find_elements(By.CSS_SELECTOR, "tbody tr")) == min(count, 400)


def test_a_column_is_sorted(browser):
    heading = browser.find_element(By.CSS_SELECTOR, "#classes th:nth-child(3) button")

    def recalls() -> list[float]:
        cells = browser.find_elements(By.CSS_SELECTOR, "#classes tbody td:nth-child(3)")
        return [float(cell.get_attribute("data-value")) for cell in cells]

    browser.execute_script("arguments[0].click()", heading)
    assert recalls() == sorted(recalls())
    browser.execute_script("arguments[0].click()", heading)
    assert recalls() == sorted(recalls(), reverse=True) and len(recalls()) == len(LABELS)
    groups = browser.find_elements(By.CSS_SELECTOR, ".groups tbody tr")
    assert len(groups) == 90


def test_a_clip_is_seen_and_played(browser):
    players = browser.find_elements(By.CSS_SELECTOR, "td[data-clip] audio")
    assert len(players) == 24
    play = "const done = arguments[1]; arguments[0].play().then(() => done(''), (error) => done(String(error)))"
    assert browser.execute_async_script(play, players[0]) == ""
    WebDriverWait(browser, 20).until(lambda _: players[0].get_property("currentTime") > 0.1)
    assert abs(players[0].get_property("duration") - 1) < 0.1
    picture = browser.find_element(By.CSS_SELECTOR, "td[data-clip] img")
    assert picture.get_property("naturalWidth") > 200


def test_it_is_readable_on_a_phone_in_light_and_dark(browser):
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}
    )
    assert browser.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")
    colours = []
    for scheme in ("light", "dark"):
        browser.execute_cdp_cmd(
            "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        )
        style = "const style = getComputedStyle(document.body); return [style.backgroundColor, style.color]"
        found = browser.execute_script(style)
        colours.append([sum(map(int, text[4:-1].split(","))) for text in found])
    assert colours[0][0] > 3 * 200 > colours[0][1] and colours[1][0] < 3 * 80 < colours[1][1]
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_nothing_was_fetched_or_complained_of(browser):
    assert (
        browser.execute_script(
            "return performance.getEntriesByType('resource').filter((e) => !e.name.startsWith('data:')).length"
        )
        == 0
    )
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []


def test_a_comparison_is_sorted_and_readable_on_a_phone(browser, tmp_path):
    rng = np.random.default_rng(5)
    targets = rng.integers(len(LABELS), size=500)
    models = []
    for seed in range(6):
        answers = np.where(rng.random(500) < 0.8, targets, rng.integers(len(LABELS), size=500))
        probabilities = np.eye(len(LABELS))[answers]
        ids = [f"{LABELS[target]}/{index:08x}.wav" for index, target in enumerate(targets)]
        evaluation = evaluate_predictions(
            labels=LABELS, utterance_ids=ids, targets=targets, probabilities=probabilities
        )
        models.append(Compared(f"runs/{seed}<br>", [evaluation]))
    path = tmp_path / "comparison.html"
    path.write_text(render_comparison(compare(models)), encoding="utf-8")
    browser.get_log("browser")
    browser.get(path.as_uri())
    gains = "#pairs tbody td:nth-child(3)"
    for reverse in (False, True):
        browser.find_element(By.CSS_SELECTOR, "#pairs th:nth-child(3) button").click()
        shown = [float(cell.text) for cell in browser.find_elements(By.CSS_SELECTOR, gains)]
        assert shown == sorted(shown, reverse=reverse) and len(shown) == 15
    assert len(browser.find_elements(By.CSS_SELECTOR, "#classes tbody tr")) == len(LABELS)
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}
    )
    assert browser.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []
