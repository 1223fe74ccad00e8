import json

import pytest

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
