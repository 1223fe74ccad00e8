"""The main job, as a user runs it."""

import json

import pytest
from write_readme import printed_by, shown_in_readme, without_numbers


def test_the_whole_chain_ends_in_a_served_model(command, tmp_path):
    done = command("quickstart", "--out", "chain", "--epochs", 30)
    assert (tmp_path / "saved_models" / "quickstart" / "1" / "saved_model.pb").is_file()
    metrics = json.loads((tmp_path / "chain" / "metrics.json").read_text())
    assert metrics["test"]["accuracy"] > 0.7
    assert "next: python -m kt_transfer.predict --model saved_models/quickstart/1" in done.stdout
    assert done.stderr == ""


@pytest.mark.slow
def test_the_readme_shows_what_the_main_job_prints():
    assert without_numbers(shown_in_readme("quickstart")) == without_numbers(
        printed_by("quickstart")
    )
