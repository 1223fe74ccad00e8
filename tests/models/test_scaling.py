import keras
import numpy as np
import pytest
from keras import layers, ops

from kt_transfer.models.scaling import scales_itself, usual_values

SHAPE = (8, 8, 3)
SCALED = (-1.0, 1.0)


def model(*before, first=None):
    """A network behind layers or functions of its input."""
    x = given = keras.Input(SHAPE)
    for change in before:
        x = change(x)
    first = first or layers.Conv2D(2, 3)
    return keras.Model(given, layers.Dense(2)(layers.Flatten()(first(x))))


def augmentation():
    return keras.Sequential([keras.Input(SHAPE), layers.RandomFlip(), layers.RandomRotation(0.1)])


def nested(*stack):
    return keras.Sequential([keras.Input(SHAPE), *stack])


def adapted():
    layer = layers.Normalization()
    layer.adapt(np.random.default_rng(0).normal(size=(4, *SHAPE)))
    return layer


@pytest.mark.parametrize(
    "before",
    [
        (layers.Rescaling(1 / 255),),
        (layers.Resizing(8, 8), layers.Rescaling(1 / 255)),
        (lambda x: augmentation()(x), layers.Rescaling(1 / 127.5, offset=-1.0)),
        (lambda x: nested(layers.RandomFlip(), layers.Rescaling(1 / 255))(x),),
        (lambda x: nested(nested(layers.GaussianNoise(0.1)), nested(layers.Rescaling(2.0)))(x),),
        (lambda x: adapted()(x),),
        (lambda x: x / 255.0,),
        (lambda x: (x - 127.5) / 127.5,),
        (lambda x: 1.0 - x,),
        (lambda x: ops.multiply(ops.cast(x, "float32"), 1 / 255),),
        (lambda x: ops.add(x, np.array([-103.9, -116.8, -123.7], np.float32)),),
        (lambda x: augmentation()(x), lambda x: x / 255.0),
        (keras.applications.mobilenet_v2.preprocess_input,),
        (keras.applications.densenet.preprocess_input,),
        (keras.applications.resnet50.preprocess_input,),
    ],
)
def test_scaling_is_found_in_every_form(before, tmp_path):
    network = model(*before)
    assert scales_itself(network)
    assert usual_values(network, (0, 255)) is None
    network.save(tmp_path / "m.keras")
    assert scales_itself(keras.saving.load_model(tmp_path / "m.keras"))
    assert scales_itself(nested(network))


@pytest.mark.parametrize(
    ("before", "first"),
    [
        ((), None),
        ((lambda x: augmentation()(x),), None),
        ((layers.ReLU(), lambda x: x + layers.ZeroPadding2D(0)(x)), None),
        ((layers.Conv2D(3, 1), layers.Rescaling(1 / 255)), None),
        ((lambda x: nested(layers.Conv2D(3, 1))(x), layers.Rescaling(1 / 255)), None),
        ((layers.Conv2D(3, 1), lambda x: x / 255.0), None),
    ],
)
def test_what_does_not_scale_its_input_is_told(before, first):
    assert not scales_itself(model(*before, first=first))
    assert usual_values(model(*before, first=first), (0, 255)) == SCALED


@pytest.mark.parametrize(
    ("mean", "deviation", "expected"),
    [
        (0.0, 1.0, SCALED),  # as it is made
        ([-0.3, 0.2, 0.4], 0.6, SCALED),
        ([120.0, 90.0, 200.0], 70.0, None),
        ([0.1, 0.2, 0.3], 50.0, None),
        (400.0, 9.0, "begins with a BatchNormalization of values from 400 to 400"),
        (-60.0, 9.0, "neither raw .0 to 255. nor scaled"),
    ],
)
def test_batch_statistics_tell_which_values_they_are_of(mean, deviation, expected):
    layer = layers.BatchNormalization()
    network = model(first=layer)
    layer.moving_mean.assign(np.broadcast_to(mean, 3))
    layer.moving_variance.assign(np.broadcast_to(deviation, 3) ** 2)
    if isinstance(expected, str):
        with pytest.raises(ValueError, match=expected):
            usual_values(network, (0, 255))
    else:
        assert usual_values(network, (0, 255)) == expected
