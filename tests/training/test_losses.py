import keras
import numpy as np
import pytest

from kt_transfer import FusedModel, ReconstructionLoss, dense_autoencoder
from kt_transfer.training.losses import (
    CosineDistance,
    DecoupledKL,
    SoftTargetCrossEntropy,
    StandardizedKL,
    TemperatureKL,
)

RNG = np.random.default_rng(0)
TEACHER = RNG.normal(scale=3, size=(16, 5))
STUDENT = RNG.normal(scale=3, size=(16, 5))
WEIGHTS = RNG.uniform(0, 2, 16)


def log_softmax(logits):
    shifted = logits - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def kl(teacher, student, temperature):
    t, s = log_softmax(teacher / temperature), log_softmax(student / temperature)
    return temperature**2 * (np.exp(t) * (t - s)).sum(axis=1)


def test_reconstruction_is_summed_over_features_and_averaged_over_the_batch():
    x, y = RNG.normal(size=(2, 6, 4, 3)).astype(np.float32)
    squared = np.square(x - y).sum(axis=(1, 2))
    assert float(ReconstructionLoss()(x, y)) == pytest.approx(squared.mean(), rel=1e-5)
    weights = np.arange(6.0)
    weighted = (weights * squared).sum() / 6
    loss = ReconstructionLoss()(x, y, sample_weight=weights)
    assert float(loss) == pytest.approx(weighted, rel=1e-5)


def test_reconstruction_of_categories_is_their_cross_entropy():
    numbers, made = RNG.normal(size=(2, 6, 3)).astype(np.float32)
    words = np.eye(4, dtype=np.float32)[[0, 1, 2, 3, 0, 1]]
    words[5] = 0  # a word that has no feature counts for nothing
    chances = RNG.dirichlet(np.ones(4), 6).astype(np.float32)
    chances[0] = [0, 1, 0, 0]  # and one that was thought impossible is finite
    entropy = -(words * np.log(np.maximum(chances, 1e-7))).sum(axis=1)
    loss = ReconstructionLoss(num_categorical=4)
    given = np.hstack([numbers, words]), np.hstack([made, chances])
    expected = (np.square(numbers - made).sum(axis=1) + entropy).mean()
    assert float(loss(*given)) == pytest.approx(expected, rel=1e-5)
    again = ReconstructionLoss.from_config(loss.get_config())
    assert float(again(*given)) == float(loss(*given))
    alone = ReconstructionLoss(num_categorical=4)(words, chances)
    assert float(alone) == pytest.approx(entropy.mean(), rel=1e-5)


def test_reconstruction_loss_is_saved_with_a_compiled_model(tmp_path):
    model = dense_autoencoder(6, (4,), 2)
    model.compile("adam", loss=ReconstructionLoss(), jit_compile=False)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    x = RNG.normal(size=(8, 6))
    assert loaded.evaluate(x, x, verbose=0) == pytest.approx(model.evaluate(x, x, verbose=0))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0, 20.0])
def test_temperature_kl(temperature):
    loss = TemperatureKL(temperature)
    expected = kl(TEACHER, STUDENT, temperature)
    np.testing.assert_allclose(loss.call(TEACHER, STUDENT), expected, rtol=1e-5)
    assert float(loss(TEACHER, STUDENT)) == pytest.approx(expected.mean(), rel=1e-5)
    weighted = float(loss(TEACHER, STUDENT, sample_weight=WEIGHTS))
    assert weighted == pytest.approx((WEIGHTS * expected).mean(), rel=1e-5)


def test_temperature_kl_of_equal_logits_is_zero_whatever_their_size():
    huge = TEACHER * 1e4
    assert float(TemperatureKL(2.0)(huge, huge + 7.0)) == pytest.approx(0.0, abs=1e-3)


def test_the_gradient_keeps_its_size_at_high_temperature():
    # For large T: d/ds T² KL → (s - t) / classes, centred (Hinton et al., 2015, eq. 4).
    import tensorflow as tf

    student = tf.constant(STUDENT, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(student)
        loss = tf.reduce_sum(TemperatureKL(300.0).call(TEACHER.astype("float32"), student))
    centred = [x - x.mean(axis=1, keepdims=True) for x in (STUDENT, TEACHER)]
    expected = (centred[0] - centred[1]) / 5
    np.testing.assert_allclose(tape.gradient(loss, student), expected, rtol=0.05, atol=0.02)


def test_soft_target_cross_entropy():
    expected = -(np.exp(log_softmax(TEACHER)) * log_softmax(STUDENT)).sum(axis=1)
    loss = SoftTargetCrossEntropy()
    np.testing.assert_allclose(loss.call(TEACHER, STUDENT), expected, rtol=1e-5)
    weighted = float(loss(TEACHER, STUDENT, sample_weight=WEIGHTS))
    assert weighted == pytest.approx((WEIGHTS * expected).mean(), rel=1e-5)


def softmax(logits):
    return np.exp(log_softmax(logits))


def decoupled_kl(teacher, student, target, temperature, beta):
    """TCKD and NCKD as Zhao et al. (2022) define them, example by example."""
    found = []
    for t, s, own in zip(teacher / temperature, student / temperature, target, strict=True):
        p, q = softmax(t[None])[0], softmax(s[None])[0]
        binary = [(p[own], q[own]), (1 - p[own], 1 - q[own])]
        tckd = sum(a * np.log(a / b) for a, b in binary)
        others_p, others_q = (np.delete(x, own) / (1 - x[own]) for x in (p, q))
        nckd = (others_p * np.log(others_p / others_q)).sum()
        found.append(temperature**2 * (tckd + beta * nckd))
    return np.array(found)


@pytest.mark.parametrize(("temperature", "beta"), [(1.0, 1.0), (4.0, 8.0), (0.5, 0.0)])
def test_decoupled_kl(temperature, beta):
    labels = np.where(np.arange(16) % 2, np.arange(16) % 5, -1)
    # Where there is no label, what the teacher holds for the most probable.
    target = np.where(labels >= 0, labels, TEACHER.argmax(axis=1))
    assert (target != TEACHER.argmax(axis=1)).any()
    expected = decoupled_kl(TEACHER, STUDENT, target, temperature, beta)
    loss = DecoupledKL(temperature, beta=beta)
    assert float(loss((TEACHER, labels), STUDENT)) == pytest.approx(expected.mean(), rel=1e-4)
    weighted = float(loss((TEACHER, labels), STUDENT, sample_weight=WEIGHTS))
    assert weighted == pytest.approx((WEIGHTS * expected).mean(), rel=1e-4)


def test_decoupled_kl_is_kl_with_the_weights_that_kl_has():
    labels = np.arange(16) % 5
    # KL = TCKD + (1 - p(target)) NCKD: each example with its own weight.
    p = softmax(TEACHER / 2.0)[np.arange(16), labels]
    one_by_one = [
        float(DecoupledKL(2.0, beta=1 - p[i])((TEACHER[[i]], labels[[i]]), STUDENT[[i]]))
        for i in range(16)
    ]
    np.testing.assert_allclose(one_by_one, kl(TEACHER, STUDENT, 2.0), rtol=1e-4)


def test_decoupled_kl_of_a_teacher_that_is_sure_is_finite():
    sure = np.eye(5)[[0, 3]] * 200.0
    loss = float(DecoupledKL(1.0)((sure, np.array([0, -1])), -sure))
    assert np.isfinite(loss)
    assert loss > 10


def standardized(logits):
    centred = logits - logits.mean(axis=1, keepdims=True)
    return centred / (logits.std(axis=1, ddof=1, keepdims=True) + 1e-7)


@pytest.mark.parametrize(("temperature", "weight"), [(2.0, 9.0), (1.0, 1.0), (5.0, 0.5)])
def test_standardized_kl(temperature, weight):
    loss = StandardizedKL(temperature, weight)
    expected = weight * kl(standardized(TEACHER), standardized(STUDENT), temperature)
    np.testing.assert_allclose(loss.call(TEACHER, STUDENT), expected, rtol=1e-4)
    weighted = float(loss(TEACHER, STUDENT, sample_weight=WEIGHTS))
    assert weighted == pytest.approx((WEIGHTS * expected).mean(), rel=1e-4)
    assert float(loss(TEACHER, 0.1 * TEACHER + 3)) == pytest.approx(0, abs=1e-5)


def gradient(loss, teacher, student):
    import tensorflow as tf

    student = tf.constant(student, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(student)
        values = loss.call(tf.constant(teacher, tf.float32), student)
    return values.numpy(), tape.gradient(values, student).numpy()


def test_standardized_kl_of_equal_logits_has_a_finite_gradient():
    loss = StandardizedKL(2.0)
    # Neither is exact in binary: the mean of five may differ from each of them.
    for level in (0.0, 0.1, -3.3e4):
        values, slope = gradient(loss, TEACHER, np.full((16, 5), level))
        expected = 9 * kl(standardized(TEACHER), np.zeros((16, 5)), 2.0)
        np.testing.assert_allclose(values, expected, rtol=1e-4)
        # As of logits that are centred alone: weight · τ · (q − p), whose mean is 0 anyway.
        towards = 9 * 2 * (1 / 5 - np.exp(log_softmax(standardized(TEACHER) / 2)))
        np.testing.assert_allclose(slope, towards, rtol=1e-3, atol=1e-4)
        _, slope = gradient(loss, np.full((16, 5), level), STUDENT)
        assert np.isfinite(slope).all()


def test_standardized_kl_has_a_finite_gradient_however_close_logits_are():
    for scale in (1e-20, 1e-12, 1e-6, 1e6):
        values, slope = gradient(StandardizedKL(2.0), TEACHER, scale * STUDENT)
        assert np.isfinite(values).all()
        assert np.isfinite(slope).all()


def test_two_classes_have_nothing_to_standardize():
    with pytest.raises(ValueError, match="logits of 2 classes were given, expected at least 3"):
        StandardizedKL(2.0)(TEACHER[:, :2], STUDENT[:, :2])


def test_cosine_distance():
    cosine = (TEACHER * STUDENT).sum(axis=1) / (
        np.linalg.norm(TEACHER, axis=1) * np.linalg.norm(STUDENT, axis=1)
    )
    loss = CosineDistance()
    np.testing.assert_allclose(loss.call(TEACHER, STUDENT), 1 - cosine, rtol=1e-5)
    assert float(loss(TEACHER, 7 * TEACHER)) == pytest.approx(0, abs=1e-6)


def test_the_reference_network_learns_as_it_does_in_pytorch():
    torch = pytest.importorskip("torch")
    keras.utils.set_random_seed(0)
    model = dense_autoencoder(784)
    # Adam makes full steps of gradients that are nothing but rounding; a larger epsilon does not.
    epsilon = 1e-5
    model.compile(keras.optimizers.Adam(1e-3, epsilon=epsilon), loss=ReconstructionLoss())
    x = np.random.default_rng(0).uniform(-1, 1, (20, 64, 784)).astype(np.float32)

    linear = []
    for layer in [*model.get_layer("encoder").layers, *model.get_layer("decoder").layers]:
        if layer.weights:
            kernel, bias = layer.get_weights()
            linear.append(torch.nn.Linear(*kernel.shape))
            linear[-1].weight.data = torch.tensor(kernel.T.copy())
            linear[-1].bias.data = torch.tensor(bias)
    activations = [torch.nn.ReLU()] * 9 + [torch.nn.Tanh()]
    pairs = zip(linear, activations, strict=True)
    twin = torch.nn.Sequential(*(part for pair in pairs for part in pair))
    with torch.no_grad():
        np.testing.assert_allclose(model(x[0]).numpy(), twin(torch.tensor(x[0])), atol=1e-4)

    FusedModel(model).fit(
        x.reshape(-1, 784), x.reshape(-1, 784), batch_size=64, shuffle=False, verbose=0
    )
    optimizer = torch.optim.Adam(twin.parameters(), lr=1e-3)
    losses = []
    for step, batch in enumerate(torch.tensor(x), 1):
        # Keras adds epsilon before the bias correction, PyTorch after it.
        optimizer.param_groups[0]["eps"] = epsilon / np.sqrt(1 - 0.999**step)
        optimizer.zero_grad()
        loss = (twin(batch) - batch).square().sum(dim=1).mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert model.history.history["loss"][0] == pytest.approx(np.mean(losses), rel=1e-4)
    kernels = [w for w in model.get_weights() if w.ndim == 2]
    for kernel, layer in zip(kernels, linear, strict=True):
        np.testing.assert_allclose(kernel, layer.weight.detach().numpy().T, atol=1e-4)
    with torch.no_grad():
        np.testing.assert_allclose(model(x[0]).numpy(), twin(torch.tensor(x[0])), atol=1e-4)
