import hashlib
import json
import re
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf

from kt_transfer import export
from kt_transfer.serving.versions import publish_version


def test_a_version_has_what_was_written_and_the_difference(tmp_path):
    def write(unfinished):
        (unfinished / "model").write_text("content")
        return 2e-7

    for number in ("1", "2"):
        version = publish_version(tmp_path / "a" / "b", write, {"labels": ["x"]})
        assert version == tmp_path / "a" / "b" / number
        assert (version / "model").read_text() == "content"
        metadata = json.loads((version / "metadata.json").read_text())
        assert metadata == {"labels": ["x"], "largest_difference": 2e-7}


def test_nothing_is_left_of_a_version_that_fails_but_what_was_there(tmp_path):
    there = tmp_path / "there"
    there.mkdir()

    def write(unfinished):
        (unfinished / "model").write_text("half")
        raise RuntimeError("it differs")

    with pytest.raises(RuntimeError, match="it differs"):
        publish_version(there / "made" / "deeper", write, {})
    assert list(tmp_path.rglob("*")) == [there]


def test_a_number_that_another_takes_meanwhile_is_left_alone(tmp_path):
    def write(unfinished):
        other = publish_version(tmp_path / "m", lambda _: 1.0, {})
        assert other.name == "1"
        return 0.0

    assert publish_version(tmp_path / "m", write, {}).name == "2"
    differences = [
        json.loads((tmp_path / "m" / number / "metadata.json").read_text())["largest_difference"]
        for number in ("1", "2")
    ]
    assert differences == [1.0, 0.0]


def test_older_versions_are_removed_but_never_the_new_one(tmp_path):
    folder = tmp_path / "m"
    for _ in range(4):
        publish_version(folder, lambda _: 0.0, {})
    (folder / "2" / "metadata.json").unlink()  # what was not exported is nobody's to remove
    (folder / "note").mkdir()
    kept = tmp_path / "elsewhere"
    (folder / "3").rename(kept)
    (folder / "3").symlink_to(kept)
    version = publish_version(folder, lambda _: 0.0, {}, keep=1)
    assert version.name == "5"
    assert {path.name for path in folder.iterdir()} == {"2", "3", "5", "note"}
    assert (kept / "metadata.json").is_file()


def test_so_many_are_kept(tmp_path):
    for _ in range(5):
        publish_version(tmp_path, lambda _: 0.0, {}, keep=3)
    assert {path.name for path in tmp_path.iterdir()} == {"3", "4", "5"}


def test_what_a_version_is_called_is_known_when_it_is_described(tmp_path):
    def describe(unfinished, version):
        if version.name == "1":  # another export is faster
            publish_version(tmp_path, lambda _: 0.0, {})
        (unfinished / "README.md").write_text(version.name)
        assert (unfinished / "metadata.json").is_file()

    version = publish_version(tmp_path, lambda _: 0.0, {}, describe=describe)
    assert version.name == (version / "README.md").read_text() == "2"


def test_what_a_killed_export_left_is_removed_and_a_running_one_is_not_touched(tmp_path):
    (tmp_path / ".unfinished-dead").mkdir()
    (tmp_path / ".unfinished-dead" / "half").write_text("half")
    (tmp_path / ".other").mkdir()

    def write(unfinished):
        (unfinished / "half").write_text("half")
        assert publish_version(tmp_path, lambda _: 0.0, {}).name == "1"
        there = {path.name for path in tmp_path.iterdir()}
        assert there == {"1", unfinished.name, ".other"}
        return 0.0

    assert publish_version(tmp_path, write, {}).name == "2"
    assert {path.name for path in tmp_path.iterdir()} == {"1", "2", ".other"}


EXPORT = """
import sys
from kt_transfer import export
print("begins", flush=True)
while True:
    export.run(run=sys.argv[1], name="m", export_dir=sys.argv[2], keep=3, quiet=True)
"""


@pytest.mark.slow
def test_twenty_kills_leave_whole_versions_alone(chain, tmp_path):
    rng, seen, left = np.random.default_rng(0), set(), 0
    command = [sys.executable, "-c", EXPORT, chain.student, tmp_path / "served"]
    took = None
    for _ in range(20):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout.readline() == "begins\n"
        if took is None:  # how long one takes, by the first
            began = time.monotonic()
            while not (tmp_path / "served" / "m" / "2").exists():
                assert process.poll() is None
                time.sleep(0.01)
            took = (time.monotonic() - began) / 2
        time.sleep(rng.uniform(0, 2 * took))
        process.kill()
        process.communicate()
        for version in (tmp_path / "served" / "m").glob("[0-9]*"):
            require_whole(version)
            seen.add(version.name)
        left += any((tmp_path / "served" / "m").glob(".unfinished-*"))
    assert len(seen) >= 10
    assert left >= 5  # killed half way
    export.run(run=chain.student, name="m", export_dir=tmp_path / "served", keep=3, quiet=True)
    assert not list((tmp_path / "served" / "m").glob(".unfinished-*"))
    versions = [path for path in (tmp_path / "served" / "m").iterdir() if path.name.isdigit()]
    assert len(versions) == 3


def require_whole(version):
    """Every file that the model card lists is there as it was written, and the model answers."""
    rows = re.findall(r"^\| `([^`]+)` \| \d+ \| `(\w{64})` \|$", card_of(version), re.M)
    assert len(rows) >= 7
    for name, digest in rows:
        assert hashlib.sha256((version / name).read_bytes()).hexdigest() == digest
    model = tf.saved_model.load(str(version))
    answers = model.signatures["serving_default"](image=tf.zeros((1, 8, 8), tf.uint8))
    assert answers["probabilities"].shape == (1, 10)


def card_of(version):
    return (version / "README.md").read_text()


def test_two_exports_at_once_get_two_numbers(tmp_path):
    program = (
        "import sys, time; from pathlib import Path\n"
        "from kt_transfer.serving.versions import publish_version\n"
        "def write(unfinished):\n"
        "    (unfinished / 'model').write_text(sys.argv[1]); return 0.0\n"
        "for _ in range(20): publish_version(Path('m'), write, {})\n"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", program, name], cwd=tmp_path) for name in "ab"
    ]
    assert [process.wait() for process in processes] == [0, 0]
    numbers = {path.name for path in (tmp_path / "m").iterdir()}
    assert numbers == {str(number) for number in range(1, 41)}
    written = [(tmp_path / "m" / number / "model").read_text() for number in numbers]
    assert sorted(written) == ["a"] * 20 + ["b"] * 20
