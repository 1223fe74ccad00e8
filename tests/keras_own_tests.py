"""Keras's own tests, with ``FusedModel`` in place of ``fit``, ``evaluate`` and ``predict``.

    python tests/keras_own_tests.py                       # all, in each of the three modes
    python tests/keras_own_tests.py --modes default --tests trainers/trainer_test.py -k fit

Keras's wheel brings the tests of its own version, so nothing has to be fetched; ``--keras DIR``
takes those of a checkout (``git clone --depth 1 --branch v3.15.1
https://github.com/keras-team/keras``). What fails with stock Keras is left out; the rest
has to pass in every mode: by default, with data streamed in blocks, and with XLA forced.
``EXCEPTIONS`` names what may fail, with the reason.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import types
from pathlib import Path

MODES = {
    "default": {},
    "streamed": {"memory_budget": 1},
    "xla": {"jit_compile": True},
}
# Test files of keras/src that train, evaluate or predict.
TESTS = [
    "trainers/trainer_test.py",
    "callbacks",
    "models",
    "backend/tensorflow/distribute_test.py",
    "backend/tensorflow/saved_model_test.py",
    "backend/common/remat_test.py",
    "distillation",
    "losses",
    "metrics",
    "optimizers",
    "saving",
    "legacy/saving",
    "utils/rng_utils_test.py",
    "utils/summary_utils_test.py",
    "wrappers",
    "layers/core",
    "layers/normalization",
    "layers/rnn",
    "layers/attention",
    "layers/reshaping",
    "layers/preprocessing",
    "layers/regularization",
    "layers/layer_test.py",
    "trainers/data_adapters",
]
ACROSS_DEVICES = (
    "The mode forces jit_compile=True, which is refused under several replicas: TensorFlow "
    "cannot compile across devices."
)
# What may fail: mode, then test, then the reason. ARCHITECTURE.md lists the same.
EXCEPTIONS = {
    "xla": {
        "callbacks/swap_ema_weights_test.py::SwapEMAWeightsTest"
        "::test_swap_ema_weights_with_tf_distribute": ACROSS_DEVICES,
        "backend/tensorflow/distribute_test.py::DistributeTest"
        "::test_correctness_with_fit_and_regularizer": ACROSS_DEVICES,
    },
}
OUTCOMES = "KT_KERAS_OWN_TESTS_OUTCOMES"
MODE = "KT_KERAS_OWN_TESTS_MODE"


def main() -> None:
    """Run stock Keras, then every mode; exit 1 if a test fails in a mode, and is no exception."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES))
    parser.add_argument("--tests", nargs="+", default=TESTS, help="files or folders of keras/src")
    parser.add_argument("--keras", type=Path, help="a checkout (default: the installed Keras)")
    parser.add_argument("-k", default="", help="as pytest takes it")
    args = parser.parse_args()
    source = (args.keras / "keras" if args.keras else _installed()) / "src"
    expected = _run(source, args.tests, args.k, None)
    touched = {test for test, (outcome, uses) in expected.items() if outcome == "passed" and uses}
    failed = {}
    for mode in args.modes:
        given = _run(source, args.tests, args.k, mode)
        failed[mode] = sorted(
            test for test in touched if given.get(test, ("missing", 0))[0] != "passed"
        )
    print(f"\n{len(touched)} tests pass with stock Keras and fit, evaluate or predict")
    unexpected = 0
    for mode, tests in failed.items():
        reasons = EXCEPTIONS.get(mode, {})
        unexpected += sum(test not in reasons for test in tests)
        print(f"{mode}: {len(touched) - len(tests)} pass here, {len(tests)} do not")
        for test in tests:
            print(f"    {test}: {reasons[test]}" if test in reasons else f"    {test}")
    sys.exit(unexpected > 0)


def _installed() -> Path:
    import importlib.util

    return Path(importlib.util.find_spec("keras").origin).parent


def _run(source: Path, tests: list[str], keyword: str, mode: str | None) -> dict[str, list]:
    """Outcome of every test, and whether it has trained, evaluated or predicted."""
    here = Path(__file__).resolve()
    with tempfile.TemporaryDirectory() as folder:
        outcomes = Path(folder) / "outcomes.json"
        # Alone, since the conftest beside it is not the one that Keras's tests import from.
        shutil.copy(here, folder)
        environment = {
            **os.environ,
            OUTCOMES: str(outcomes),
            MODE: mode or "",
            "KERAS_BACKEND": "tensorflow",
            "CUDA_VISIBLE_DEVICES": "-1",
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "PYTHONPATH": os.pathsep.join(
                [folder, str(here.parents[1]), os.environ.get("PYTHONPATH", "")]
            ),
        }
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-p",
            here.stem,
            "-q",
            "--tb=short",
            "-rfE",
            "-n",
            "0",
        ]
        command += ["-p", "no:cacheprovider", "-W", "ignore", "-k", keyword]
        command += ["--import-mode", "importlib", "-c", os.devnull, "--rootdir", str(source)]
        command += ["--continue-on-collection-errors", *(str(source / test) for test in tests)]
        print(f"== {mode or 'stock Keras'}", flush=True)
        subprocess.run(command, env=environment, cwd=folder, check=False)
        return json.loads(outcomes.read_text())


# From here on: the plugin, loaded by the pytest that _run starts.

_outcomes: dict[str, list] = {}
_made: dict[int, object] = {}
_running: set[int] = set()
_uses = 0


def pytest_configure(config) -> None:
    """Put ``FusedModel`` in place of the methods of every Keras model."""
    import pytest

    for marker in ("requires_trainable_backend", "multi_device"):
        config.addinivalue_line("markers", marker)
    from keras.src.backend.tensorflow.trainer import TensorFlowTrainer

    # Some test files import it, though what they do with it is for another backend, and SciPy
    # asks for the class of its arrays where it finds it imported.
    jax = types.ModuleType("jax")
    jax.Array = type("Array", (), {})
    sys.modules.setdefault("jax", jax)
    # So do some Keras's conftest, which its wheel leaves out.
    conftest = types.ModuleType("conftest")
    conftest.skip_if_backend = lambda name, reason: pytest.mark.skipif(
        name == "tensorflow", reason=reason
    )
    sys.modules.setdefault("conftest", conftest)
    mode = os.environ[MODE]
    fused = _models(MODES[mode]) if mode else None
    for name in ("fit", "evaluate", "predict"):
        setattr(TensorFlowTrainer, name, _in_place_of(TensorFlowTrainer, name, fused))


def _models(options: dict):
    """From a model to its ``FusedModel``, made once."""
    from kt_transfer import FusedModel

    def fused(model):
        # Beside the model, not in it: Keras would look for layers there, and save it.
        if id(model) not in _made:
            _made[id(model)] = FusedModel(model, **options)
        return _made[id(model)]

    return fused


def _in_place_of(owner, name: str, fused):
    import functools

    stock = getattr(owner, name)

    @functools.wraps(stock)
    def method(self, *args, **kwargs):
        global _uses
        _uses += 1
        # What FusedModel hands over comes here again, and goes to stock Keras.
        if fused is None or id(self) in _running:
            return stock(self, *args, **kwargs)
        _running.add(id(self))
        try:
            return getattr(fused(self), name)(*args, **kwargs)
        finally:
            _running.discard(id(self))

    return method


def pytest_runtest_setup(item) -> None:
    """Count from here, with new models."""
    global _uses
    _uses = 0
    _made.clear()


def pytest_runtest_logreport(report) -> None:
    """Note the outcome of a test; a set-up or tear-down that fails counts too."""
    if report.when == "call" or report.outcome != "passed":
        # The parameters of some tests are functions, whose addresses differ from run to run.
        name = re.sub(r"at0x[0-9a-f]+", "", report.nodeid)
        # What Keras itself expects to fail may pass in one run and not in the next.
        outcome = "expected to fail" if hasattr(report, "wasxfail") else report.outcome
        _outcomes[name] = [outcome, _uses]


def pytest_sessionfinish(session) -> None:
    """Write the outcomes for the process that asked."""
    Path(os.environ[OUTCOMES]).write_text(json.dumps(_outcomes))


if __name__ == "__main__":
    main()
