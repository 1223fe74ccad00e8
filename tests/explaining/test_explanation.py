"""Explanations of networks that learned what was planted."""

import keras
import numpy as np
import pandas as pd
import pytest

from kt_transfer.comparison.scoring import scores
from kt_transfer.data import TableOptions, load_data
from kt_transfer.explaining.explanation import MOST_EXAMPLES, explain
from kt_transfer.models.preprocessing import preprocessing_model

RNG = np.random.default_rng(0)


def learned(data, epochs=30):
    """A small network that has learned the training part, and its preprocessing."""
    preprocessing = preprocessing_model(
        data.input_shape, data.scaling_range, data.x.dtype, layout=data.layout
    )
    network = keras.Sequential([keras.Input(preprocessing.output_shape[1:])])
    network.add(keras.layers.Dense(16, "relu"))
    network.add(keras.layers.Dense(data.num_classes))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    network.compile(keras.optimizers.Adam(0.01), loss)
    known = data.y >= 0
    network.fit(preprocessing(data.x[known]), data.y[known], epochs=epochs, verbose=0)
    return network, preprocessing


def explained(data, metric="accuracy", part=None):
    keras.utils.set_random_seed(0)
    (part,) = [part] if part is not None else data.parts("test")
    return explain(
        *learned(data), data, part, metric=metric, score=lambda y, z: scores(y, z)[metric]
    )


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Ten columns of every kind with gaps; a number and a word carry the class."""
    rows = 1500
    frame = pd.DataFrame({f"noise {n}": RNG.normal(size=rows) for n in range(6)})
    frame["word"] = RNG.choice(["x", "y", "z"], rows)
    frame["member"] = RNG.choice(["yes", "no"], rows)
    frame["amount"] = RNG.normal(size=rows)
    frame["pet"] = RNG.choice(["cat", "dog", "cow"], rows)
    carried = frame["amount"] + 2 * (frame["pet"] == "cow") - 2 * (frame["pet"] == "cat")
    frame["result"] = np.where(carried > 0, "good", "bad")
    for name in ("noise 0", "word", "amount", "pet"):
        frame.loc[RNG.random(rows) < 0.05, name] = None
    path = tmp_path_factory.mktemp("table") / "table.csv"
    frame.to_csv(path, index=False)
    return load_data(f"csv:{path}", table=TableOptions(label_column="result"))


@pytest.fixture(scope="module")
def of_table(table):
    return explained(table)


def test_the_columns_that_carry_the_class_come_out_on_top(of_table):
    names = [of_table.names[place] for place in of_table.order]
    assert set(names[:2]) == {"amount", "pet"}
    assert (of_table.importance[of_table.order[:2]] > 0.1).all()


def test_columns_of_noise_are_worth_nothing_within_their_deviation(of_table):
    rest = of_table.order[2:]
    assert (np.abs(of_table.importance[rest]) <= 3 * of_table.deviations[rest] + 0.01).all()


def test_what_stands_in_the_examples_is_told_in_words(of_table, table):
    rows = list(table.rows_test)
    for one, texts in zip(of_table.examples, of_table.texts, strict=True):
        place = rows.index(one.row)
        (expected,) = table.schema.texts_of(table.x_test[place : place + 1])
        assert texts == expected
        assert one.true == table.class_names[table.y_test[place]]
    assert any(text in ("cat", "dog", "cow") for texts in of_table.texts for text in texts)


def test_the_columns_of_single_answers_are_those_that_carry_the_class(of_table):
    certain = [row for row, one in enumerate(of_table.examples) if one.group == "right"]
    assert len(certain) == 2
    for row in certain:
        assert of_table.strongest(row, 1)[0]["column"] in ("amount", "pet")
        assert of_table.strongest(row, 1)[0]["change"] > 0


def test_groups_are_what_they_say(of_table):
    for one in of_table.examples:
        assert one.group != "right" or one.true == one.predicted
        assert one.group != "wrong" or one.true != one.predicted
        assert 0.5 <= one.probability <= 1  # of two classes
    by_group = {group: [] for group in ("right", "wrong", "unsure")}
    for one in of_table.examples:
        by_group[one.group].append(one.probability)
    assert min(by_group["right"]) > max(by_group["unsure"])


@pytest.mark.slow
def test_less_log_loss_is_better(table):
    found = explained(table, "log_loss")
    assert {found.names[place] for place in found.order[:2]} == {"amount", "pet"}
    assert found.importance[found.order[0]] > 0
    assert found.score > 0


@pytest.mark.slow
def test_examples_without_a_label_are_left_out(table):
    (part,) = table.parts("test")
    y = np.where(np.arange(len(part.y)) < 40, part.y, -1)
    found = explained(table, part=part._replace(y=y))
    assert found.num_examples == 40
    assert {one.row for one in found.examples} <= set(part.rows[:40].tolist())


@pytest.mark.slow
def test_plain_vectors_have_numbered_values(tmp_path):
    x = RNG.normal(size=(6000, 5))
    np.savez(tmp_path / "x.npz", x=x, y=(x[:, 3] > 0).astype(int))
    found = explained(load_data(f"npz:{tmp_path / 'x.npz'}"))
    assert found.names[found.order[0]] == "value 4"
    assert found.num_examples == MOST_EXAMPLES


@pytest.mark.slow
def test_examples_that_are_neither_pictures_nor_rows_are_explained_by_their_values(tmp_path):
    x = RNG.normal(size=(400, 2, 2, 3, 2))
    np.savez(tmp_path / "x.npz", x=x, y=(x[:, 1, 0, 2, 1] > 0).astype(int))
    found = explained(load_data(f"npz:{tmp_path / 'x.npz'}"))
    assert len(found.names) == 24
    assert found.order[0] == np.ravel_multi_index((1, 0, 2, 1), (2, 2, 3, 2))
    assert found.changes.shape == (len(found.examples), 24)


@pytest.mark.parametrize("shape", [(8, 8), pytest.param((8, 8, 3), marks=pytest.mark.slow)])
def test_pictures_whose_class_is_in_one_quarter(tmp_path, shape):
    labels = np.arange(800) % 2
    x = RNG.integers(0, 120, (800, *shape))
    x[labels == 1, :4, :4] += 100
    np.savez(tmp_path / "x.npz", x=x.astype(np.uint8), y=labels)
    data = load_data(f"npz:{tmp_path / 'x.npz'}")
    found = explained(data)
    assert found.attributions.shape == (len(found.examples), 8, 8)
    assert found.pictures.shape == (len(found.examples), *shape)
    certain = [n for n, one in enumerate(found.examples) if one.group == "right"]
    assert len(certain) == 2
    inside = np.abs(found.attributions[certain, :4, :4]).sum()
    assert inside > 0.6 * np.abs(found.attributions[certain]).sum()
    sums = found.attributions.sum(axis=(1, 2))
    assert sums == pytest.approx(found.differences, rel=1e-3, abs=1e-4)
