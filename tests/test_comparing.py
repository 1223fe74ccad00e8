"""Sources that may not be trusted, and plans that fit a time."""

import numpy as np
import pytest

from kt_transfer import UserError, finetune
from kt_transfer.comparing import planned, sources_of
from kt_transfer.config import CompareConfig
from kt_transfer.data import load_data
from kt_transfer.runs import Run


@pytest.fixture(scope="module")
def digits():
    return load_data("digits")


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """Other examples of the same shape, as a data spec."""
    path = tmp_path_factory.mktemp("other") / "other.npz"
    rng = np.random.default_rng(0)
    x = rng.integers(0, 17, (120, 8, 8)).astype(np.uint8)
    np.savez(path, x=x, y=np.arange(120) % 10)
    return f"npz:{path}"


def settings(**given):
    return CompareConfig(quiet=True, hidden_units=(16,), latent_dim=6, **given)


def test_by_default_the_target_is_its_own_source(digits):
    (source,) = sources_of(settings(), digits)
    assert source.name == "digits"
    assert source.x is None
    assert source.pretraining is not None
    assert source.encoder.output_shape == (None, 6)


def test_other_data_are_a_source_of_their_own(digits, other):
    (source,) = sources_of(settings(source_data=other), digits)
    assert source.name == other
    np.testing.assert_array_equal(source.x, load_data(other).x)
    # The other way round: the very same examples by another name are the target's own.
    (own,) = sources_of(settings(source_data="digits"), digits)
    assert own.x is None


def test_a_run_on_the_target_is_trained_anew(chain, digits):
    (source,) = sources_of(settings(source=(str(chain.source),)), digits)
    assert source.name == str(chain.source)
    assert source.x is None
    recipe = Run(chain.source).settings
    assert source.pretraining._fits.schedule == (
        recipe["epochs"],
        recipe["batch_size"],
        recipe["learning_rate"],
    )
    # The penalty of its pretraining is in what is trained, not in what is transferred.
    assert "sparsity_penalty" in [
        layer.name for layer in source.pretraining.autoencoder.get_layer("encoder").layers
    ]
    assert "sparsity_penalty" not in [layer.name for layer in source.encoder.layers]


def test_a_run_on_other_data_is_taken_as_it_is(chain, other):
    data = load_data(other)
    (source,) = sources_of(settings(data=other, source=(str(chain.source),)), data)
    assert source.pretraining is None
    for own, given in zip(
        source.encoder.get_weights(),
        Run(chain.source).load_model().get_layer("encoder").get_weights(),
        strict=True,
    ):
        np.testing.assert_array_equal(own, given)


def test_several_sources_stand_side_by_side(chain, digits, other):
    given = settings(source=(str(chain.source),), source_data=other)
    assert [source.name for source in sources_of(given, digits)] == [str(chain.source), other]


def test_a_run_that_has_learned_the_labels_is_refused(chain, digits):
    with pytest.raises(UserError, match=f"{chain.teacher} .*learned from their labels"):
        sources_of(settings(source=(str(chain.teacher),)), digits)


def test_a_run_that_descends_from_one_on_the_target_is_refused(chain, digits, other, tmp_path):
    child = finetune.run(
        source=str(chain.source),
        data=other,
        epochs=1,
        compare_scratch="no",
        quiet=True,
        out=tmp_path / "child",
    )
    with pytest.raises(UserError, match=f"{child.path} .*descends from {chain.source}"):
        sources_of(settings(source=(str(child.path),)), digits)


def test_data_that_cannot_be_made_to_fit_are_refused(digits, tmp_path):
    np.savez(tmp_path / "t.npz", x=np.random.default_rng(0).normal(size=(40, 5)))
    with pytest.raises(UserError, match="--source-data npz:.*t.npz .*cannot become"):
        sources_of(settings(source_data=f"npz:{tmp_path / 't.npz'}"), digits)


def plan(budget, elapsed, fold_seconds, **given):
    return planned(CompareConfig(time_budget=budget, **given), elapsed, fold_seconds)


def test_what_fits_is_left_as_it_is():
    found = plan("10m", elapsed=20, fold_seconds=5)
    assert (found["repeats"], found["epochs"], found["pretrain_epochs"]) == (3, 100, 50)


@pytest.mark.parametrize("fold_seconds", [5.0, 8.0, 12.0])
def test_repeats_are_cut_first(fold_seconds):
    found = plan("3m", elapsed=20, fold_seconds=fold_seconds)
    assert found["epochs"] == 100
    assert 1 <= found["repeats"] < 4
    taken = 20 + fold_seconds * (5 * found["repeats"] - 2)
    assert taken <= 180
    if found["repeats"] < 3:  # one more would not have fitted
        assert taken + 5 * fold_seconds * 1.2 > 180 * 0.9
    assert f"{found['repeats']} of 3 repeats" in found["told"]


def test_then_epochs():
    found = plan("1m", elapsed=14, fold_seconds=20)
    # 40 of the 54 seconds that are not for the winner, for five folds of 24 seconds.
    assert (found["repeats"], found["epochs"], found["pretrain_epochs"]) == (1, 33, 16)
    assert "33 of 100 epochs" in found["told"]
    assert "more than was given" not in found["told"]


def test_what_cannot_fit_is_said():
    found = plan("10s", elapsed=30, fold_seconds=60)
    assert (found["repeats"], found["epochs"]) == (1, 1)
    assert "more than was given: fewer --labels" in found["told"]
