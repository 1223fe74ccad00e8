"""What the method is for, measured on real MNIST."""

import os
from pathlib import Path

import numpy as np
import pytest

from kt_transfer import finetune, pretrain

DATA_DIR = Path(os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")).expanduser()
MNIST = {
    "data": "tfds:mnist",
    "data_dir": DATA_DIR,
    "strategy": "one_device",
    "quiet": True,
}
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (DATA_DIR / "mnist").is_dir(), reason=f"mnist is not in {DATA_DIR} (TFDS_DATA_DIR)"
    ),
]


def test_the_reference_network_reconstructs_mnist(tmp_path):
    reference = {"hidden_units": (128, 64, 32, 16), "latent_dim": 8, "epochs": 20}
    run = pretrain.run(**MNIST, **reference, out=tmp_path / "run")
    # 0.093 with Keras and plain Adam after 20 epochs (facts.md).
    assert run.read_json("metrics.json")["test"]["mse"] <= 0.10


def test_a_thousand_labels_go_further_with_pretraining(tmp_path):
    source = pretrain.run(**MNIST, epochs=3, out=tmp_path / "source")

    def accuracy(seed, **settings):
        run = finetune.run(
            **MNIST,
            source=str(source.path),
            labels=1000,
            epochs=40,
            seed=seed,
            compare_scratch="no",
            out=tmp_path / f"{seed}-{len(settings)}",
            **settings,
        )
        return run.read_json("metrics.json")["test"]["accuracy"]

    transferred = [accuracy(seed) for seed in range(2)]
    scratch = [accuracy(seed, reinitialize=True) for seed in range(2)]
    # With 20 epochs of pretraining it is about 3 points (benchmarks/results/few_labels.md).
    assert np.mean(transferred) > np.mean(scratch) + 0.01
    assert np.mean(transferred) > 0.9
