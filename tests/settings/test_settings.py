import ast
import itertools
import json
import re
from pathlib import Path

import pytest

from kt_transfer import UserError
from kt_transfer import settings as config
from kt_transfer.settings import (
    CompareConfig,
    DistillConfig,
    EvaluateConfig,
    ExportConfig,
    FinetuneConfig,
    PredictConfig,
    PretrainConfig,
    QuickstartConfig,
    TuneDistillConfig,
    TuneFinetuneConfig,
    TunePretrainConfig,
    from_settings,
    to_settings,
)

CONFIGS = [
    PretrainConfig(),
    PretrainConfig(hidden_units=(), sparsity_weight=0.5, patience=3, out=Path("a b"), noise=0.3),
    PretrainConfig(model="conv", filters=(4,)),
    FinetuneConfig(source="runs/source", freeze="all", labels=100, head="dense"),
    FinetuneConfig(source="scratch", freeze=2, latent_dim=8, lr_decay="cosine"),
    FinetuneConfig(source="m.keras", source_range=(0.0, 255.0)),
    FinetuneConfig(source="run", method="features", features_from="all"),
    DistillConfig(teacher=(Path("one"), Path("two")), student_units=(8, 4)),
    CompareConfig(),
    CompareConfig(labels=(50, "all"), source=("runs/a",), time_budget="1.5h", prefer="smallest"),
    DistillConfig(
        teacher=(Path("one"), Path("m.keras")),
        teacher_weights=(2.0, 1.0),
        teacher_range=(0.0, 1.0),
        class_map=Path("map.json"),
        student=Path("s.keras"),
        hint="hidden_1",
        hint_epochs=3,
        augment="shift:2",
    ),
    DistillConfig(teacher_predictions=Path("said.csv"), id="name"),
    EvaluateConfig(run=Path("run"), split="all"),
    PredictConfig(run=Path("run")),
    PredictConfig(model=Path("saved_models/x/1")),
    ExportConfig(run=Path("run"), export_dir=Path("elsewhere")),
    QuickstartConfig(labels=None),
    TunePretrainConfig(search="hyperband", max_trials=3),
    TuneFinetuneConfig(source="runs/source"),
    TuneDistillConfig(teacher=(Path("one"),)),
]
FINETUNE = {"source": "runs/source"}
DISTILL = {"teacher": (Path("one"),)}


@pytest.mark.parametrize("original", CONFIGS, ids=lambda c: type(c).__name__)
def test_settings_survive_json(original):
    settings = json.loads(json.dumps(to_settings(original)))
    assert from_settings(type(original), settings) == original
    # A resumed run compares its settings as they come out of JSON.
    assert to_settings(original) == settings


def test_every_field_says_what_it_is():
    modules = Path(config.__file__).parent.glob("*.py")
    nodes = [node for module in modules for node in ast.parse(module.read_text()).body]
    classes = [node for node in nodes if isinstance(node, ast.ClassDef) and node.name != "Bound"]
    assert {klass.name for klass in classes} > {type(config).__name__ for config in CONFIGS}
    for klass in classes:
        for field, following in itertools.pairwise([*klass.body, None]):
            if isinstance(field, ast.AnnAssign):
                name = f"{klass.name}.{field.target.id}"
                assert isinstance(following, ast.Expr), f"{name} has no help text"


def test_an_unknown_key_is_refused():
    settings = to_settings(PretrainConfig()) | {"temprature": 3}
    with pytest.raises(UserError, match="unknown settings temprature.*PretrainConfig"):
        from_settings(PretrainConfig, settings)


@pytest.mark.parametrize(
    ("key", "value"), [("epochs", "many"), ("hidden_units", 3), ("model", "convolutional")]
)
def test_a_value_of_another_type_is_refused(key, value):
    settings = to_settings(PretrainConfig()) | {key: value}
    with pytest.raises(UserError, match="settings of another kind"):
        from_settings(PretrainConfig, settings)


def test_a_value_out_of_range_is_refused_in_json_too():
    settings = to_settings(PretrainConfig()) | {"latent_dim": 0}
    with pytest.raises(UserError, match="latent_dim=0"):
        from_settings(PretrainConfig, settings)


@pytest.mark.parametrize(
    ("config_class", "settings", "message"),
    [
        (PretrainConfig, {"seed": -1}, "seed=-1"),
        (PretrainConfig, {"epochs": 0}, "epochs=0"),
        (PretrainConfig, {"batch_size": 0}, "batch_size=0"),
        (PretrainConfig, {"learning_rate": 0.0}, "learning_rate=0.0"),
        (PretrainConfig, {"learning_rate": float("nan")}, "learning_rate=nan"),
        (PretrainConfig, {"learning_rate": float("inf")}, "learning_rate=inf"),
        (PretrainConfig, {"num_devices": 0}, "num_devices=0"),
        (PretrainConfig, {"hidden_units": (8, 0)}, r"hidden_units=\(8, 0\)"),
        (PretrainConfig, {"latent_dim": 0}, "latent_dim=0"),
        (PretrainConfig, {"filters": (8, 0)}, r"filters=\(8, 0\)"),
        (PretrainConfig, {"filters": ()}, r"filters=\(\)"),
        (PretrainConfig, {"noise": 1.0}, "noise=1.0"),
        (PretrainConfig, {"sparsity_weight": -1.0}, "sparsity_weight=-1.0"),
        (PretrainConfig, {"patience": 0}, "patience=0"),
        (FinetuneConfig, FINETUNE | {"freeze": -1}, "freeze=-1"),
        (FinetuneConfig, FINETUNE | {"labels": 0}, "labels=0"),
        (FinetuneConfig, FINETUNE | {"validation_split": 1.0}, "validation_split=1.0"),
        (FinetuneConfig, FINETUNE | {"epochs": 5, "warmup_epochs": 5}, "warmup_epochs=5.* 5 ep"),
        (FinetuneConfig, FINETUNE | {"patience": -2}, "patience=-2"),
        (FinetuneConfig, {"source": "scratch", "latent_dim": 0}, "latent_dim=0"),
        (
            FinetuneConfig,
            {"source": "scratch", "method": "features"},
            "method=features .*scratch",
        ),
        (
            FinetuneConfig,
            {"source": "m.keras", "source_range": (1.0, 1.0)},
            r"source_range=\(1.0, 1.0\) .*smaller and a larger",
        ),
        (
            FinetuneConfig,
            {"source": "m.keras", "source_range": (0.0, float("inf"))},
            r"source_range=\(0.0, inf\)",
        ),
        (
            FinetuneConfig,
            FINETUNE | {"source_range": (0.0, 1.0)},
            r"source_range=\(0.0, 1.0\) .*source=runs/source",
        ),
        (FinetuneConfig, FINETUNE | {"features_from": "all"}, "features_from=all"),
        (FinetuneConfig, FINETUNE | {"head": "logistic_regression"}, "head=logistic_regression"),
        (FinetuneConfig, FINETUNE | {"augment": "turn:90"}, "augment=turn:90"),
        (
            FinetuneConfig,
            FINETUNE | {"method": "features", "augment": "affine"},
            "augment=affine .*logistic regression",
        ),
        (CompareConfig, {"augment": "shift:1.5"}, "augment=shift:1.5"),
        (DistillConfig, DISTILL | {"temperature": 0.0}, "temperature=0.0"),
        (DistillConfig, DISTILL | {"alpha": 1.1}, "alpha=1.1"),
        (DistillConfig, DISTILL | {"student_units": (-3,)}, r"student_units=\(-3,\)"),
        (DistillConfig, DISTILL | {"labels": -5}, "labels=-5"),
        (DistillConfig, {"teacher": ()}, "neither teacher nor teacher_predictions"),
        (CompareConfig, {"labels": ()}, r"labels=\(\)"),
        (CompareConfig, {"labels": (50, 0)}, "labels=0"),
        (CompareConfig, {"folds": 1}, "folds=1"),
        (CompareConfig, {"repeats": 0}, "repeats=0"),
        (CompareConfig, {"pretrain_epochs": 0}, "pretrain_epochs=0"),
        (CompareConfig, {"student_units": (0,)}, r"student_units=\(0,\)"),
        (CompareConfig, {"time_budget": "10"}, "time_budget=10 .*90s, 10m or 2h"),
        (CompareConfig, {"time_budget": "0m"}, "time_budget=0m"),
        (DistillConfig, DISTILL | {"beta": -1.0}, "beta=-1.0"),
        (DistillConfig, DISTILL | {"hint": "a", "hint_weight": -1.0}, "hint_weight=-1.0"),
        (DistillConfig, DISTILL | {"hint": "a", "hint_epochs": 40}, "hint_epochs=40 .* 40 epoc"),
        (DistillConfig, DISTILL | {"hint_epochs": 4}, "hint_epochs .* without hint"),
        (DistillConfig, DISTILL | {"loss": "none"}, "loss=none .* without hint"),
        (
            DistillConfig,
            {"teacher": (Path("a"), Path("b")), "loss": "none", "hint": "c"},
            "loss=none was given with 2 teachers",
        ),
        (
            DistillConfig,
            DISTILL | {"teacher_weights": (1.0, 2.0)},
            r"teacher_weights=\(1.0, 2.0\) .* the 1",
        ),
        (DistillConfig, DISTILL | {"teacher_weights": (0.0,)}, r"teacher_weights=\(0.0,\) "),
        (DistillConfig, DISTILL | {"teacher_range": (1.0, 0.0)}, r"teacher_range=\(1.0, 0.0\)"),
        (
            DistillConfig,
            DISTILL | {"student_range": (0.0, 1.0)},
            r"student_range=\(0.0, 1.0\) .*student",
        ),
        (DistillConfig, DISTILL | {"augment": "turn:90"}, "augment=turn:90"),
        (DistillConfig, DISTILL | {"augment": "shift:1.5"}, "augment=shift:1.5 .*whole number"),
        (DistillConfig, DISTILL | {"augment": "shift"}, "augment=shift "),
        (DistillConfig, DISTILL | {"augment": "noise:-1"}, "augment=noise:-1"),
        (PredictConfig, {}, "none of run, model and url was given"),
        (PredictConfig, {"run": Path("a"), "model": Path("b")}, "both run and model"),
        (TunePretrainConfig, {"max_trials": 0}, "max_trials=0"),
        (QuickstartConfig, {"labels": 0}, "labels=0"),
    ],
)
def test_numbers_out_of_range_are_refused(config_class, settings, message):
    with pytest.raises(UserError, match=message):
        config_class(**settings)


@pytest.mark.parametrize(
    ("config_class", "settings", "message"),
    [
        (PretrainConfig, {"batch_size": 0}, "--batch-size 0 was given, expected at least 1: "),
        (PretrainConfig, {"hidden_units": (8, 0)}, "--hidden-units 8 0 was given, expected widths"),
        (PretrainConfig, {"num_active": 900}, "--num-active 900 .*1 to the 500 units of --latent-"),
        (DistillConfig, DISTILL | {"teacher_range": (1.0, 0.5)}, "--teacher-range 1 0.5 was given"),
        (DistillConfig, DISTILL | {"loss": "none"}, "--loss none .*without --hint, .*--hint LAYER"),
        (PredictConfig, {}, "none of --run, --model and --url was given, .*--run RUN for"),
    ],
)
def test_the_shell_says_it_with_flags(config_class, settings, message):
    with pytest.raises(UserError) as refused:
        config_class(**settings)
    assert re.match(message, refused.value.as_flags())


@pytest.mark.parametrize(
    ("given", "seconds"), [(None, None), ("90s", 90), ("10m", 600), ("1.5h", 5400)]
)
def test_a_time_budget_is_seconds(given, seconds):
    assert CompareConfig(time_budget=given).time_budget_seconds == seconds


def test_narrowing_keeps_the_shared_fields():
    search = TunePretrainConfig(latent_dim=3, max_trials=2, search="hyperband", seed=5)
    assert config.narrow(search, PretrainConfig) == PretrainConfig(latent_dim=3, seed=5)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, ((500,), 500, 0.7)),
        ({"noise": 0.2}, ((500,), 500, 0.2)),
        ({"hidden_units": (64,)}, ((64,), 8, 0.0)),
        ({"latent_dim": 16}, ((128, 64, 32, 16), 16, 0.0)),
        ({"latent_dim": 16, "noise": 0.3}, ((128, 64, 32, 16), 16, 0.3)),
        ({"model": "sparse"}, ((128, 64, 32, 16), 8, 0.0)),
    ],
)
def test_wide_denoising_layers_are_the_default_and_the_reference_what_the_rest_follows(
    given, expected
):
    resolved = PretrainConfig(**given)
    assert (resolved.hidden_units, resolved.latent_dim, resolved.noise) == expected
    assert (resolved.learning_rate, resolved.batch_size) == (1e-3, 64)
    settings = to_settings(resolved)
    assert from_settings(PretrainConfig, settings) == resolved


@pytest.mark.parametrize(("model", "width"), [("dense", 500), ("sparse", 8), ("conv", 256)])
def test_the_width_of_the_code_follows_the_model(model, width):
    assert PretrainConfig(model=model).latent_dim == width
    assert to_settings(PretrainConfig(model=model))["latent_dim"] == width
    assert PretrainConfig(model=model, latent_dim=5).latent_dim == 5


@pytest.mark.parametrize(
    ("method", "head"), [("parameters", "dense"), ("features", "logistic_regression")]
)
def test_the_head_follows_the_method(method, head):
    assert FinetuneConfig(source="run", method=method).chosen_head == head
    assert FinetuneConfig(source="run", method=method, head="dense").chosen_head == "dense"
