"""Methods that share a compiled program learn what each would with one of its own."""

import dataclasses

import numpy as np
import pytest

from kt_transfer import load_data
from kt_transfer.methods import Distilled, Features, Parameters, Scratch
from kt_transfer.methods.learning import Examples, Problem, Start
from kt_transfer.methods.reusing import MOST_KEPT, Learners, program_of
from kt_transfer.models.classifiers import dense_encoder
from kt_transfer.models.preprocessing import preprocessing_model

FEW = {"epochs": 3, "batch_size": 16}


@pytest.fixture(scope="module")
def given():
    data = load_data("digits")
    scaled = preprocessing_model(data.input_shape, data.scaling_range, data.x.dtype)
    encoder = dense_encoder(64, [16])
    problem = Problem(10, 60, encoder, scaled, flat=scaled)
    return problem, Examples(data.x[:60], data.y[:60]), Start(encoder.get_weights())


def weights_of(learner, examples, start):
    return learner.learn(examples, seed=3, start=start).network.get_weights()


@pytest.mark.parametrize(
    ("first", "then"),
    [
        (Scratch(**FEW), {"learning_rate": 0.01}),
        (Scratch(**FEW), {"lr_decay": "cosine"}),
        (Scratch(**FEW, layer_decay=0.5), {"learning_rate": 0.01, "warmup_epochs": 1}),
        (Parameters(**FEW), {"learning_rate": 0.003}),
        (Features(**FEW, head="dense"), {"learning_rate": 0.03}),
        (Distilled(**FEW), {"learning_rate": 0.01, "temperature": 2.0, "alpha": 0.5}),
    ],
)
def test_a_shared_learner_learns_what_one_of_its_own_would(given, first, then):
    problem, examples, start = given
    if isinstance(first, Distilled):
        logits = np.random.default_rng(0).normal(size=(60, 10)).astype("float32")
        examples = examples._replace(y=(examples.y, logits))
    second = dataclasses.replace(first, **then)
    learners = Learners(lambda method: method.prepare(problem))
    shared = learners.learner(first)
    before = weights_of(shared, examples, start)
    assert learners.learner(second) is shared
    after = weights_of(shared, examples, start)
    alone = weights_of(second.prepare(problem), examples, start)
    assert all(map(np.array_equal, after, alone))
    assert not all(map(np.array_equal, before, after))
    again = weights_of(learners.learner(first), examples, start)
    assert all(map(np.array_equal, again, before))


@pytest.mark.parametrize(
    "other",
    [Scratch(dropout=0.5), Scratch(batch_size=8), Scratch(epochs=7), Scratch(freeze=1), Features()],
)
def test_what_a_program_depends_on_is_not_shared(other):
    assert program_of(other) != program_of(Scratch())


def test_no_more_programs_are_kept_than_that():
    made = []

    class Learner:
        def take(self, method):
            pass

    learners = Learners(lambda method: made.append(method) or Learner())
    for size in range(1, MOST_KEPT + 3):
        learners.learner(Scratch(batch_size=size))
    learners.learner(Scratch(batch_size=MOST_KEPT))
    assert len(made) == MOST_KEPT + 2
    learners.learner(Scratch(batch_size=1))
    assert len(made) == MOST_KEPT + 3
