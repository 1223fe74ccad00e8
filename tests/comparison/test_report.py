"""The report as the command writes it."""

import json
import re
import shlex

import pandas as pd
import pytest
from browser import console, measure, needs_axe, needs_chromium

from kt_transfer.comparison.report import command_of
from kt_transfer.settings import CompareConfig
from kt_transfer.shell.main import parse


@pytest.fixture(scope="module")
def report(compared):
    return compared.folder / "report.html"


@pytest.fixture(scope="module")
def found(compared):
    return json.loads((compared.folder / "comparison.json").read_text())


def test_the_run_holds_the_report_and_its_pictures(compared, report):
    assert f"report {report.relative_to(compared.folder.parent)}" in compared.output.stdout
    pictures = {path.name for path in (compared.folder / "plots").glob("*.png")}
    assert pictures >= {"label_efficiency.png", "folds_30.png", "folds_60.png"}
    assert pictures >= {"reconstructions.png", "confusion_matrix.png"}


def test_it_tells_what_the_json_says(report, found):
    text = report.read_text()
    rows = re.findall(r"<tr.*?</tr>", text, re.S)
    for verdict in found["verdicts"]:
        mean = f">{100 * verdict['mean']:.1f} %<"
        assert any(
            mean in row and verdict["verdict"] in row and f">{verdict['method']}<" in row
            for row in rows
        )
    test = f"{100 * found['test']['accuracy']:.1f} %"
    assert test in text
    assert found["exported"] in text


def test_it_holds_what_is_needed_to_do_it_again(compared, report):
    text = report.read_text()
    for setting in json.loads((compared.folder / "config.json").read_text()):
        assert f">{setting}<" in text
    about = json.loads((compared.folder / "run.json").read_text())
    for version in filter(None, [*about["versions"].values(), about["data"]["fingerprint"]]):
        assert version in text
    command = re.search(r"<code>(python -m kt_transfer.compare .*?)</code>", text)[1]
    asked = parse("compare", CompareConfig, shlex.split(command)[3:])
    given = parse("compare", CompareConfig, compared.words[1:-2])
    assert asked == given


def test_the_guesses_stand_beside_what_was_found(report, found):
    assert [entry["labels"] for entry in found["transferability"]] == [30, 60]
    for entry in found["transferability"]:
        assert entry["source"] == "digits"
        assert f">{entry['logme']:.3f}<".replace("-", "−") in report.read_text()
        assert 0 < entry["cka"] < 1


def test_no_row_of_the_table_is_missing_from_the_pictures(compared, report):
    frame = pd.read_csv(compared.folder / "comparison.csv", keep_default_na=False)
    described = re.findall(r"<desc>(.*?)</desc>", report.read_text())
    for (labels, method), own in frame.groupby(["labels", "method"]):
        ends = [f"{100 * value:.1f} %" for value in (own["accuracy"].min(), own["accuracy"].max())]
        assert any(" to ".join(ends) in words and method in words for words in described), labels


def test_the_command_asks_for_the_same():
    assert command_of(CompareConfig()) == "python -m kt_transfer.compare"
    config = CompareConfig(
        data="npz:a file.npz", labels=(50, "all"), time_budget="10m", latent_dim=8, quiet=True
    )
    told = command_of(config)
    assert told == (
        "python -m kt_transfer.compare --data 'npz:a file.npz' --labels 50 all --latent-dim 8 "
        "--time-budget 10m"
    )


@needs_chromium
def test_it_opens_in_a_browser(report, tmp_path):
    assert console(report, tmp_path) == []
    for width in (360, 1200):
        seen = measure(report, tmp_path, width=width)
        assert seen["beyond"] == []
        assert seen["scrolls"] == width
        assert all(seen["images"])
        assert len(seen["images"]) > 12
        assert "What does it cost?" in seen["headings"]


@needs_chromium
@needs_axe
@pytest.mark.parametrize("dark", [False, True])
def test_nothing_stands_in_the_way_of_a_screen_reader(report, tmp_path, dark):
    assert measure(report, tmp_path, width=700, dark=dark, axe=True)["violations"] == []
