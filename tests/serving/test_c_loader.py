"""Every signature, and the warm-up requests, in the loader that TF Serving is built on, from C."""

import c_loader
import numpy as np
import pytest
import tensorflow as tf

from kt_transfer import export
from kt_transfer.serving.requests import read_warmup

pytestmark = pytest.mark.skipif(c_loader.COMPILER is None, reason="there is no C compiler")


@pytest.fixture(scope="module")
def loader(tmp_path_factory):
    return c_loader.compiled(tmp_path_factory.mktemp("loader"))


def warmed_up(version):
    """Signature and inputs of each request of the warm-up file."""
    return [
        (
            request.model_spec.signature_name,
            {key: tf.make_ndarray(tensor) for key, tensor in request.inputs.items()},
        )
        for request in read_warmup(version)
    ]


def require_same_as_python(loader, version, folder):
    requests, model = warmed_up(version), tf.saved_model.load(str(version))
    assert {name for name, _ in requests} == set(c_loader.signatures_of(version))
    found, _ = c_loader.ask(loader, version, requests, folder)
    for (name, inputs), answers in zip(requests, found, strict=True):
        given = {key: tf.constant(values) for key, values in inputs.items()}
        expected = model.signatures[name](**given)
        assert set(answers) == set(expected)
        for key, values in expected.items():
            if values.dtype in (tf.string, tf.bool, tf.int64):
                assert np.array_equal(answers[key], values.numpy()), (name, key)
            else:
                np.testing.assert_allclose(answers[key], values.numpy(), atol=1e-5, rtol=1e-5)


def test_digits(loader, chain, tmp_path):
    require_same_as_python(loader, chain.exported, tmp_path)
    empty, _ = c_loader.ask(
        loader, chain.exported, [("serving_default", {"image": np.zeros((0, 8, 8))})], tmp_path
    )
    assert empty[0]["probabilities"].shape == (0, 10)


def test_a_table_with_words(loader, of_table, tmp_path):
    require_same_as_python(loader, of_table.version, tmp_path)


def test_photographs_as_files(loader, of_photographs, tmp_path):
    require_same_as_python(loader, of_photographs.version, tmp_path)
    files = sorted(of_photographs.data.rglob("*.jpg"))[:20]
    contents = np.array([path.read_bytes() for path in files], object)
    asked = ("serving_image_bytes", {"image_bytes": contents})
    (answers,), _ = c_loader.ask(loader, of_photographs.version, [asked], tmp_path)
    model = tf.saved_model.load(str(of_photographs.version))
    expected = model.signatures[asked[0]](image_bytes=tf.constant(contents))
    assert answers["probabilities"] == pytest.approx(expected["probabilities"].numpy(), abs=1e-5)


@pytest.mark.usefixtures("unchecked_exports")
def test_an_autoencoder_alone(loader, chain, tmp_path):
    version = export.run(run=chain.source, name="source", export_dir=tmp_path, quiet=True)
    require_same_as_python(loader, version, tmp_path)
