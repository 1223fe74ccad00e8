"""Files from elsewhere that would become far larger than they are, or say so."""

import json
import zipfile

import keras
import numpy as np
import pytest

from kt_transfer import UserError
from kt_transfer.files.reading import read_json, require_plausible_size
from kt_transfer.runs.folder import Run

LARGE_JSON = "would have 20,971,520 bytes"
LARGE = "bytes would unpack to"


@pytest.fixture(scope="module")
def model_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.keras"
    keras.Sequential([keras.Input((64,)), keras.layers.Dense(10)]).save(path)
    return path


def with_large(model_file, path, member, megabytes):
    """The same file, of which one member becomes so large: tiny where it lies."""
    with (
        zipfile.ZipFile(model_file) as given,
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as written,
    ):
        for name in given.namelist():
            if name != member:
                written.writestr(name, given.read(name))
        with written.open(member, "w") as file:
            for _ in range(megabytes):
                file.write(b" " * 2**20)
    return path


@pytest.fixture(scope="module", params=["config.json", "metadata.json", "model.weights.h5"])
def bomb(model_file, request):
    member, megabytes = request.param, 65 if request.param.endswith("h5") else 20
    path = with_large(model_file, model_file.with_name(f"{member}.keras"), member, megabytes)
    return path, LARGE if megabytes > 60 else f"{member} {LARGE_JSON}"


@pytest.mark.parametrize(
    "words",
    [
        "finetune --source",
        "distill --teacher",
        "distill --teacher-range -1 1 --teacher {good} --student",
        "compare --source",
    ],
)
def test_a_keras_file_is_judged_before_it_is_unpacked(invoke, model_file, bomb, words):
    path, message = bomb
    found = invoke(*words.format(good=model_file).split(), path, "--out", "run")
    assert found.code == 2
    assert message in " ".join(found.err.split())
    assert str(path) in found.err


def test_a_whole_keras_file_is_read_packed_or_not(model_file, tmp_path):
    from kt_transfer.sources.loading import load_file

    packed = with_large(model_file, tmp_path / "packed.keras", "more.txt", 1)
    for path in (model_file, packed):
        assert load_file(path).output_shape == (None, 10)


def test_a_run_is_judged_before_it_is_unpacked(model_file, tmp_path, peak_memory):
    run = Run(tmp_path)
    with_large(model_file, tmp_path / "model.keras", "config.json", 20)
    for name in ("config.json", "run.json", "labels.json"):
        with open(tmp_path / name, "wb") as file:
            file.truncate(20 * 2**20)
    rows = np.lib.format.header_data_from_array_1_0(np.zeros(65 * 2**17))
    with (
        zipfile.ZipFile(tmp_path / "splits.npz", "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("train.npy", "w") as file,
    ):
        np.lib.format.write_array_header_1_0(file, rows)
        for _ in range(65):
            file.write(bytes(2**20))
    with peak_memory(2**22):
        for read, message in (
            (lambda: run.settings, f"config.json cannot be read .it {LARGE_JSON}"),
            (lambda: run.command, f"run.json cannot be read .it {LARGE_JSON}"),
            (lambda: run.label_names, f"labels.json cannot be read .it {LARGE_JSON}"),
            (lambda: run.load_model(), f"model.keras cannot be read .config.json {LARGE_JSON}"),
            (lambda: run.read_arrays("splits.npz"), f"splits.npz cannot be read .its .* {LARGE}"),
        ):
            with pytest.raises(UserError, match=message):
                read()


def test_json_that_is_nested_without_end_is_refused(tmp_path):
    path = tmp_path / "run.json"
    path.write_text("[" * 200_000)
    with pytest.raises(ValueError, match="nested too deeply"):
        read_json(path)
    path.write_text(json.dumps({"a": [1]}))
    assert read_json(path) == {"a": [1]}


def test_what_is_plausible():
    for packed, unpacked in ((100, 2**26), (2**20, 250 * 2**20), (10**9, 10**9)):
        require_plausible_size(packed, unpacked)
    for packed, unpacked in ((100, 2**26 + 1), (2**20, 251 * 2**20), (10**15, 10**15)):
        with pytest.raises(ValueError, match="bytes"):
            require_plausible_size(packed, unpacked)
