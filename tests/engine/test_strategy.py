"""The strategy, where TensorFlow has no public way."""

from tensorflow.python.eager import context

from kt_transfer.engine.strategy import wait_no_longer_than


def test_tensorflow_is_told_how_long_to_wait(monkeypatch):
    """Fails where TensorFlow's own method changes, which the strategy calls as here."""
    fresh = context.Context()
    monkeypatch.setattr(context, "context", lambda: fresh)
    wait_no_longer_than(5)
    fresh.configure_coordination_service("standalone", service_leader="/job:worker/task:0")
    assert fresh.coordination_service.cluster_register_timeout_in_ms == 5000
    assert fresh.coordination_service.cluster_register_with_barrier
