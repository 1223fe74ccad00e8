import hashlib
import json
import re

import numpy as np
import pytest
from scipy import stats

from kt_transfer.files.portable import without_folders


def card(version):
    return (version / "README.md").read_text()


def test_every_file_is_listed_with_its_hash(chain):
    rows = re.findall(r"^\| `([^`]+)` \| (\d+) \| `([0-9a-f]{64})` \|$", card(chain.exported), re.M)
    files = {
        str(path.relative_to(chain.exported)): (path.stat().st_size, path.read_bytes())
        for path in chain.exported.rglob("*")
        if path.is_file() and path.name != "README.md"
    }
    assert {name for name, *_ in rows} == set(files)
    for name, size, digest in rows:
        assert int(size) == files[name][0]
        assert digest == hashlib.sha256(files[name][1]).hexdigest()


def test_it_says_how_good_it_is_and_where_it_comes_from(chain):
    text, metrics = card(chain.exported), json.loads((chain.student / "metrics.json").read_text())
    accuracy, count = metrics["test"]["accuracy"], metrics["test"]["num_examples"]
    low, high = stats.binomtest(round(accuracy * count), count).proportion_ci(method="wilson")
    assert f"{accuracy:.4f} (95 % interval {low:.4f} to {high:.4f})" in text
    assert "# digits, version 1" in text
    assert "CC BY 4.0" in text
    assert "`digits`, fingerprint `" in text
    assert "| `student_units` | [16] |" in text
    assert f"| teacher | {metrics['comparison']['teacher']['accuracy']:.4f} |" in text
    assert "| `reconstruct` | gives | `unusual` | bool | (n) |" in text
    assert "| `serving_default` | takes | `image` | uint8 | (n, 8, 8) |" in text


def test_it_says_what_every_signature_takes(of_photographs):
    text = card(of_photographs.version)
    assert "| `serving_image_bytes` | takes | `image_bytes` | string | (n) |" in text
    assert "| `serving_default` | takes | `image` | uint8 | (n, 24, 24, 3) |" in text


def test_that_of_a_comparison_has_its_verdicts(compared):
    found = json.loads((compared.folder / "comparison.json").read_text())
    text = card(compared.folder.parent / "saved_models/compare/1")
    for entry in found["verdicts"]:
        low, high = entry["interval"]
        row = f"| {entry['difference']:+.4f} | {low:+.4f} to {high:+.4f} | {entry['verdict']} |"
        assert row in text
    assert f"{found['winner']['expected']:.4f}" in text


@pytest.mark.parametrize(
    "kind", ["of_photographs", pytest.param("of_table", marks=pytest.mark.slow)]
)
def test_no_folder_of_this_machine_is_in_a_version(kind, request):
    exported = request.getfixturevalue(kind)
    for path in exported.version.rglob("*"):
        if path.is_file():
            assert str(exported.data.parent).encode() not in path.read_bytes(), path
    metadata = json.loads((exported.version / "metadata.json").read_text())
    assert metadata["run"] == "run"
    assert metadata["data"] in ("csv:wines.csv", "images:pieces")


def test_metadata_say_what_goes_in(of_photographs, of_table, chain):
    metadata = json.loads((of_photographs.version / "metadata.json").read_text())
    height, width, _ = metadata["input"]["shape"]
    assert max(height, width) == 24
    assert metadata["input"]["dtype"] == "uint8"
    assert f"to {height} x {width}" in metadata["input"]["resize"]
    of_digits = json.loads((chain.exported / "metadata.json").read_text())["input"]
    assert of_digits == {"shape": [8, 8], "dtype": "uint8"}
    columns = json.loads((of_table.version / "metadata.json").read_text())["input"]["columns"]
    assert columns == {
        **dict.fromkeys(["alcohol", "hue", "proline"], "float64"),
        **dict.fromkeys(["colour_intensity", "filled"], "string"),
    }


def test_names_without_folders():
    assert without_folders("images:/data/my pets") == "images:my pets"
    assert without_folders("~/runs/a") == "a"
    assert without_folders(["tfds:mnist:3.0.1", "digits", 3, None, np.e]) == [
        *("tfds:mnist:3.0.1", "digits"),
        *(3, None, np.e),
    ]
