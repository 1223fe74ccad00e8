"""Sources, and those that may not be trusted."""

from pathlib import Path

import numpy as np
import pytest

from kt_transfer import UserError, finetune, pretrain
from kt_transfer.comparison.transfer_sources import sources_of
from kt_transfer.data import load_data
from kt_transfer.methods.steps import Steps
from kt_transfer.runs.folder import Run
from kt_transfer.settings import CompareConfig


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
    names = ("epochs", "batch_size", "learning_rate")
    assert source.pretraining.settings == Steps(**{name: recipe[name] for name in names})
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
    with pytest.raises(UserError, match="source_data=npz:.*t.npz .*cannot become"):
        sources_of(settings(source_data=f"npz:{tmp_path / 't.npz'}"), digits)


@pytest.fixture
def half_shared(digits, tmp_path):
    """Other data, of which 40 of 100 examples are the target's, 30 of them in its test split."""
    rng = np.random.default_rng(1)
    own = [digits.x[:10], digits.x_test[:30], rng.integers(0, 17, (60, 8, 8))]
    x = rng.permutation(np.concatenate(own).astype(np.float64))
    np.savez(tmp_path / "half.npz", x=x, y=np.arange(100) % 10, x_test=x[:5], y_test=np.arange(5))
    return f"npz:{tmp_path / 'half.npz'}"


def test_examples_of_the_target_are_left_out_of_other_data(digits, half_shared, capsys):
    config = CompareConfig(source_data=half_shared, hidden_units=(16,))
    (source,) = sources_of(config, digits)
    assert len(source.x) == 60
    target = {row.tobytes() for row in np.concatenate([digits.x, digits.x_test]).astype(float)}
    assert not target & {row.tobytes() for row in source.x}
    assert "40 of its 100 examples are among those of digits" in capsys.readouterr().out


def test_other_data_that_are_all_the_targets_are_refused(digits, tmp_path):
    np.savez(tmp_path / "t.npz", x=digits.x[::-1], x_test=digits.x_test)
    with pytest.raises(UserError, match="source_data=.*1,438 of its 1,438 examples.*leave"):
        sources_of(settings(source_data=f"npz:{tmp_path / 't.npz'}"), digits)


def test_a_run_on_data_that_share_examples_with_the_target_is_refused(
    digits, half_shared, tmp_path
):
    run = pretrain.run(
        data=half_shared, hidden_units=(8,), epochs=1, quiet=True, out=tmp_path / "run"
    )
    with pytest.raises(UserError, match=f"{run.path} .*40 of the 100 examples of {half_shared}"):
        sources_of(settings(source=(str(run.path),)), digits)


def test_a_run_whose_data_are_gone_is_taken_and_said_so(digits, other, tmp_path, capsys):
    moved = tmp_path / "moved.npz"
    moved.write_bytes(Path(other.removeprefix("npz:")).read_bytes())
    run = pretrain.run(
        data=f"npz:{moved}", hidden_units=(8,), epochs=1, quiet=True, out=tmp_path / "run"
    )
    moved.unlink()
    config = CompareConfig(source=(str(run.path),), hidden_units=(16,))
    (source,) = sources_of(config, digits)
    assert source.name == str(run.path)
    assert f"npz:{moved}, which it learned from, is not there any more" in capsys.readouterr().out
