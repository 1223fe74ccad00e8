"""From the matrix of a table to features, against values worked out by hand."""

import keras
import numpy as np
import pytest

from kt_transfer.data.schema import Column, Schema
from kt_transfer.data.table_features import Feature, Layout, category_sizes, features_of
from kt_transfer.models.preprocessing import preprocessing_model

AGE = Column(name="age", kind="number")
PET = Column(name="pet", kind="category", vocabulary=("cat", "dog"))
PAID = Column(name="paid", kind="boolean")
SCHEMA = Schema(columns=(AGE, PET, PAID))
NAN = np.nan
ROWS = np.array([[10.0, 0, 1], [NAN, 1, 0], [30, 2, 1], [20, NAN, 0]])
RANGES = (np.array([10.0, -1, 0]), np.array([30.0, 1, 1]))


def features(rows, layout, value_range=RANGES):
    model = preprocessing_model((3,), value_range, "float64", layout=layout)
    return model(np.asarray(rows, float)).numpy()


def test_numbers_are_scaled_and_words_and_what_is_missing_are_flags():
    layout = Layout(features_of(SCHEMA, ROWS), SCHEMA)
    assert layout.features == (
        Feature("age", "value"),
        Feature("paid", "value"),
        Feature("age", "missing"),
        Feature("pet", "word", "cat"),
        Feature("pet", "word", "dog"),
        Feature("pet", "other"),
        Feature("pet", "missing"),
    )
    assert features(ROWS, layout) == pytest.approx(
        np.array(
            [
                [-0.8, 0.8, 0, 1, 0, 0, 0],
                [0.0, -0.8, 1, 0, 1, 0, 0],
                [0.8, 0.8, 0, 0, 0, 1, 0],
                [0.0, -0.8, 0, 0, 0, 0, 1],
            ]
        )
    )


def test_what_never_occurs_in_training_has_no_feature_and_is_no_flag_later():
    layout = Layout(features_of(SCHEMA, ROWS[:1]), SCHEMA)
    assert [feature.kind for feature in layout.features] == ["value", "value", "word", "word"]
    assert features([[NAN, NAN, NAN], [20, 2, 1]], layout) == pytest.approx(
        np.array([[0, 0, 0, 0], [0, 0.8, 0, 0]])
    )


def test_columns_of_another_table_are_found_by_name_and_words_by_word():
    layout = features_of(SCHEMA, ROWS)
    other = Schema(
        columns=(
            Column(name="pet", kind="category", vocabulary=("horse", "dog")),
            Column(name="height", kind="number"),
            Column(name="age", kind="number"),
        )
    )
    ranges = (np.array([0.0, 0, 10]), np.array([1.0, 1, 30]))
    rows = [[0, 5, 10], [1, 5, NAN], [2, 5, 20], [NAN, 5, 30]]
    assert features(rows, Layout(layout, other), ranges) == pytest.approx(
        np.array(  # paid is not there; a horse is a word that the network does not know
            [
                [-0.8, 0, 0, 0, 0, 1, 0],
                [0.0, 0, 1, 0, 1, 0, 0],
                [0.0, 0, 0, 0, 0, 1, 0],
                [0.8, 0, 0, 0, 0, 0, 1],
            ]
        )
    )


def test_a_table_of_categories_alone():
    pets = Schema(columns=(PET,))
    layout = Layout(features_of(pets, np.array([[0.0], [1.0]])), pets)
    model = preprocessing_model((1,), (np.zeros(1), np.ones(1)), "float64", layout=layout)
    assert model(np.array([[1.0], [NAN]])).numpy().tolist() == [[0, 1], [0, 0]]
    assert category_sizes(layout.features) == (2,)


def test_category_sizes():
    assert category_sizes(features_of(SCHEMA, ROWS)) == (4,)
    assert category_sizes(features_of(Schema(columns=(AGE,)), ROWS[:, :1])) == ()


def test_the_model_loads_without_the_package_and_answers_alike(tmp_path):
    layout = Layout(features_of(SCHEMA, ROWS), SCHEMA)
    model = preprocessing_model((3,), RANGES, "float64", layout=layout)
    model.save(tmp_path / "preprocessing.keras")
    loaded = keras.saving.load_model(tmp_path / "preprocessing.keras")
    assert np.array_equal(loaded(ROWS), model(ROWS))
    for layer in loaded.layers:
        assert type(layer).__module__.startswith("keras"), layer
