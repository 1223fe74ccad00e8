"""What the commands refuse: in one sentence, with everything left as it was."""

import json
import re
import shutil
import warnings

import keras
import numpy as np
import pytest
from run_folders import QUICK, listing, write_npz


def write_lambda(path):
    double = keras.layers.Lambda(lambda x: 2 * x)
    stack = [keras.Input((8, 8)), double, keras.layers.Flatten(), keras.layers.Dense(3)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Keras says that this is unsafe
        keras.Sequential(stack).save(path)


def write_table_classifier(path):
    dense = [keras.layers.Dense(4, "relu"), keras.layers.Dense(3)]
    keras.Sequential([keras.Input((5,)), *dense]).save(path)


def damage(path, content=None):
    path.write_bytes(path.read_bytes()[:1000] if content is None else content)


MISTAKES = {
    "unknown data": ("pretrain --data nonsense", "--data nonsense"),
    "data that is not there": ("pretrain --data npz:absent.npz", "npz:absent.npz"),
    "no source": ("finetune --source absent", "--source absent"),
    "no source file": ("finetune --source absent.keras", "--source absent.keras"),
    "a source that runs code": (
        "finetune --source lambda.keras --data npz:three.npz",
        "Python lambda",
    ),
    "an unknown application": (
        "finetune --source keras_applications:Mobile --data npz:three.npz",
        "MobileNet",
    ),
    "too small an image for an application": (
        "finetune --source keras_applications:MobileNet",
        "8x8",
    ),
    "a range for a run": (
        "finetune --source {source} --source-range 0 1",
        "--source-range 0 1",
    ),
    "features of a layer that is not there": (
        "finetune --source {source} --method features --features-from conv9 --labels 50",
        "--features-from conv9",
    ),
    "features for parameters": (
        "finetune --source {source} --features-from all",
        "--features-from all",
    ),
    "no teacher": ("distill --teacher absent", "--teacher absent"),
    "no teacher file": ("distill --teacher absent.keras", "--teacher absent.keras"),
    "a teacher that runs code": (
        "distill --teacher lambda.keras --data npz:three.npz",
        "--teacher lambda.keras",
    ),
    "a student that runs code": (
        "distill --teacher {teacher} --student lambda.keras",
        "--student lambda.keras",
    ),
    "no student file": ("distill --teacher {teacher} --student absent.keras", "absent.keras"),
    "no class map": ("distill --teacher {teacher} --class-map absent.json", "absent.json"),
    "a class map that is none": (
        "distill --teacher {teacher} --class-map three.npz",
        "--class-map three.npz",
    ),
    "a hint of a layer that is not there": (
        "distill --teacher {teacher} --hint conv9",
        "--hint conv9",
    ),
    "a hint to a layer that is not there": (
        "distill --teacher {teacher} --hint hidden_1 --hint-student conv9",
        "conv9",
    ),
    "a hint of what has no layers": ("distill --teacher {exported} --hint dense", "--hint dense"),
    "shifts of a table": (
        "distill --teacher table.keras --data npz:table.npz --augment shift:1",
        "--augment shift:1",
    ),
    "no run to evaluate": ("evaluate --run absent", "--run absent"),
    "no run to predict": ("predict --run absent", "--run absent"),
    "no export to predict": ("predict --model absent", "--model absent"),
    "no run to export": ("export --run absent", "--run absent"),
    "no run to take settings from": ("pretrain --from-run absent", "--from-run absent"),
    "no run to resume": ("pretrain --resume --out absent", "--out absent"),
    "truncated model, finetune": ("finetune --source truncated", "truncated"),
    "truncated model, evaluate": ("evaluate --run truncated --out e", "truncated"),
    "truncated model, predict": ("predict --run truncated_student", "truncated_student"),
    "truncated model, export": ("export --run truncated_student", "truncated_student"),
    "truncated model, distill": ("distill --teacher truncated_student", "truncated_student"),
    "broken config.json": ("finetune --source broken_config", "broken_config"),
    "broken run.json": ("distill --teacher broken_run", "broken_run"),
    "broken labels.json": ("distill --teacher broken_labels", "broken_labels"),
    "broken settings to start from": ("pretrain --from-run broken_config", "broken_config"),
    "more labels than there are": ("finetune --source {source} --labels 5000", "--labels 5000"),
    "fewer labels than classes": ("finetune --source {source} --labels 9", "--labels 9"),
    "more labels for a student": ("distill --teacher {teacher} --labels 5000", "--labels 5000"),
    "freeze beyond the depth": ("finetune --source {source} --labels 50 --freeze 4", "--freeze 4"),
    "other classes": ("distill --teacher {teacher} --data npz:three.npz", "npz:three.npz"),
    "evaluate on other classes": (
        "evaluate --run {student} --data npz:twelve.npz --out e",
        "npz:twelve.npz",
    ),
    "other shape for a source": (
        "finetune --source {source} --data npz:table.npz",
        "npz:table.npz",
    ),
    "other shape to predict": ("predict --run {student} --data npz:small.npz", "npz:small.npz"),
    "other shape to serve": ("predict --model {exported} --data npz:small.npz", "npz:small.npz"),
    "no labels to learn": ("finetune --source scratch --data npz:none.npz", "npz:none.npz"),
    "an autoencoder as teacher": ("distill --teacher {source}", "{source}"),
    "an autoencoder predicts nothing": ("predict --run {source}", "{source}"),
    "out exists": ("pretrain --out existing", "--out existing"),
    "out exists, finetune": ("finetune --source {source} --out existing", "--out existing"),
    "out exists, distill": ("distill --teacher {teacher} --out existing", "--out existing"),
    "out exists, predict": ("predict --run {student} --out existing/a.csv", "existing/a.csv"),
    "overwrite what is no run": ("pretrain --overwrite --out existing", "existing"),
    "an autoencoder to explain": ("evaluate --run {source} --explain --out e", "--explain"),
    "evaluation exists": (
        "evaluate --run {student} --out evaluated --split train",
        "--split train",
    ),
    "no epochs": ("pretrain --epochs 0", "--epochs 0"),
    "temperature": ("distill --teacher {teacher} --temperature 0", "--temperature 0"),
    "alpha": ("distill --teacher {teacher} --alpha 2", "--alpha 2"),
    "features from scratch": ("finetune --source scratch --method features", "--method features"),
    "nothing that predicts": ("predict", "none of --run, --model and --url"),
    "devices": ("pretrain --num-devices 7", "--num-devices 7"),
    "resume without out": ("pretrain --resume", "--resume"),
    "labels of a quickstart": ("quickstart --labels 5000 --epochs 2", "--labels 5000"),
    "unknown command to tune": ("tune export", "'export'"),
}


@pytest.fixture(scope="module")
def wrong(chain, tmp_path_factory):
    """A folder with what users get wrong; no mistake changes it, so that all can share it."""
    folder = tmp_path_factory.mktemp("wrong")

    def copied(name, to):
        run = getattr(chain, name)
        return shutil.copytree(run, folder / to, ignore=lambda *_: ["plots", "logs"])

    write_npz(folder / "three.npz")
    write_npz(folder / "twelve.npz", classes=12)
    write_npz(folder / "small.npz", classes=10, shape=(4, 4))
    write_npz(folder / "table.npz", shape=(5,))
    write_lambda(folder / "lambda.keras")
    write_table_classifier(folder / "table.keras")
    np.savez(folder / "none.npz", x=np.zeros((20, 8, 8), np.uint8))
    (folder / "existing").mkdir()
    (folder / "existing" / "a.csv").write_text("mine")
    evaluation = {"run": str(chain.student), "data": "digits", "split": "test"}
    (copied("student", "evaluated") / "evaluation.json").write_text(json.dumps(evaluation))
    damage(copied("source", "truncated") / "model.keras")
    damage(copied("student", "truncated_student") / "model.keras")
    damage(copied("source", "broken_config") / "config.json", b'{"data": "dig')
    damage(copied("teacher", "broken_run") / "run.json", b"{")
    damage(copied("teacher", "broken_labels") / "labels.json", b"")
    return folder


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_sentence_and_changes_nothing(wrong, invoke, chain, monkeypatch, name):
    monkeypatch.chdir(wrong)
    runs = {name: getattr(chain, name) for name in ("source", "teacher", "student", "exported")}
    words, given = (text.format(**runs) for text in MISTAKES[name])
    before = listing(wrong, chain.folder)
    done = invoke(*words.split())
    assert done.code == 2, done.err
    assert done.err.startswith("error: ")
    assert done.err.count("\n") == 1
    assert given in done.err
    assert "Traceback" not in done.err
    assert done.out == ""
    assert listing(wrong, chain.folder) == before


def test_a_mistake_in_a_process_of_its_own(copied, command, tmp_path):
    damage(copied("source", "truncated") / "model.keras")
    before = listing(tmp_path)
    done = command("finetune", "--source", "truncated", "--out", "t", check=False)
    assert done.returncode == 2
    assert re.fullmatch(r"error: .*truncated was given.*model\.keras.*\n", done.stderr)
    assert listing(tmp_path) == before


def test_debug_shows_where(invoke):
    done = invoke("pretrain", "--data", "nonsense", "--debug")
    assert done.code == 2
    assert "Traceback" in done.err


def test_overwrite_replaces_a_run(copied, invoke, tmp_path):
    student = copied("student")
    (student / "mine.txt").write_text("")
    words = ("--source", "scratch", "--hidden-units", 4, "--labels", 50, "--out", "student")
    assert invoke("finetune", *words, "--overwrite", *QUICK).code == 0
    assert json.loads((student / "run.json").read_text())["command"] == "finetune"
    assert not (student / "mine.txt").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["student"]
