"""Folds of few labels: what they may see, and that their scores are those of the methods."""

import numpy as np
import pytest

from kt_transfer import UserError, finetune, load_data, pretrain
from kt_transfer.comparison.folds import derived_seed, draw_folds
from kt_transfer.data.dataset import UNLABELLED
from kt_transfer.methods import Features, Parameters, Propagated, Scratch
from kt_transfer.methods.learning import Examples
from kt_transfer.settings import FinetuneConfig

QUICK = {"hidden_units": (16,), "strategy": "one_device", "quiet": True}


@pytest.fixture(scope="module")
def digits():
    return load_data("digits")


def folds_of(data, num_folds=3, **settings):
    config = FinetuneConfig(source="scratch", data="digits", labels=60, **QUICK, **settings)
    return config, finetune.folds_of(config, data, num_folds)


def test_scores_are_those_of_the_method_on_the_folds_of_the_draw(digits):
    config, folds = folds_of(digits)
    method = Scratch(epochs=3)
    draw = draw_folds(digits.y, 60, 3, 0, copies=digits.copies)
    backbone = finetune.backbone_of(config, None, digits)
    expected = []
    for fold in range(3):
        train, held_out = draw.split(fold)
        learner = method.prepare(finetune.problem_of(config, method, digits, 40, backbone))
        examples = Examples(digits.x[train], digits.y[train])
        learned = learner.learn(examples, seed=derived_seed(0, fold, 1))
        answers = learned.logits(digits.x[held_out]).argmax(axis=1)
        expected.append(np.mean(answers == digits.y[held_out]))
    assert list(folds.scores(method)) == expected


def test_folds_are_the_same_for_all_settings_and_judge_every_label_once(digits, monkeypatch):
    _, folds = folds_of(digits)
    seen = []
    monkeypatch.setattr(
        folds,
        "_examples",
        lambda method, train, judging, own=folds._examples: (
            seen.append((train, judging)) or own(method, train, judging)
        ),
    )
    list(folds.scores(Scratch(epochs=1)))
    list(folds.scores(Scratch(epochs=1, learning_rate=0.1, dropout=0.5)))
    assert all(map(np.array_equal, sum(seen[:3], ()), sum(seen[3:], ())))
    judged = np.concatenate([judging for _, judging in seen[:3]])
    assert len(judged) == len(set(judged)) == 60
    for train, judging in seen:
        assert not set(train) & set(judging)


@pytest.mark.parametrize(
    "method",
    [Scratch(epochs=1), Scratch(epochs=4, patience=2), Propagated(epochs=1, max_steps=5)],
)
def test_no_label_of_what_judges_is_seen_and_no_example_twice(digits, method):
    _, folds = folds_of(digits)
    for fold in range(3):
        train, judging = folds._draw.split(fold)
        examples = folds._examples(method, train, judging)
        assert (examples.y != UNLABELLED).sum() <= len(train)
        rows = {bytes(row.tobytes()) for row in np.asarray(examples.x)}
        assert not rows & {bytes(digits.x[row].tobytes()) for row in judging}
        if examples.validation is not None:
            inner = {bytes(row.tobytes()) for row in np.asarray(examples.validation[0])}
            assert not rows & inner
            # What says when to stop is a part of what the fold learns from.
            assert inner <= {bytes(digits.x[row].tobytes()) for row in train}
        assert (examples.validation is not None) == (method.patience is not None)


def test_a_source_that_knows_the_labels_is_refused(digits, tmp_path):
    told = {"epochs": 1, "quiet": True, "hidden_units": (16,), "latent_dim": 8}
    knows = pretrain.run(labels=100, objective="classification", out=tmp_path / "knows", **told)
    config = FinetuneConfig(source=str(knows.path), data="digits", labels=60, quiet=True)
    with pytest.raises(UserError, match="has learned from their labels"):
        finetune.folds_of(config, digits, 3)


def test_what_starts_from_the_same_shares_its_regression(digits, tmp_path, monkeypatch):
    source = pretrain.run(
        epochs=1, quiet=True, hidden_units=(16,), latent_dim=8, out=tmp_path / "s"
    )
    config = FinetuneConfig(source=str(source.path), data="digits", labels=60, quiet=True)
    folds = finetune.folds_of(config, digits, 2)
    from kt_transfer.methods import learning

    fits = []
    fit = learning.fit_logistic_regression
    monkeypatch.setattr(
        learning, "fit_logistic_regression", lambda *a, **k: fits.append(1) or fit(*a, **k)
    )
    for method in (Features(), Parameters(epochs=1), Parameters(epochs=1, learning_rate=1e-2)):
        list(folds.scores(method))
    assert len(fits) == 2
