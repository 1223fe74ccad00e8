"""Where batches come from: orders, blocks and shares."""

import numpy as np
import pytest
import tensorflow as tf

from kt_transfer.engine import feeds
from kt_transfer.engine.dataset_feed import DatasetFeed


def test_epoch_order_is_a_pure_function_of_seed_and_epoch():
    order = feeds.epoch_order(1000, 3, 5)
    assert sorted(order) == list(range(1000))
    np.testing.assert_array_equal(order, feeds.epoch_order(1000, 3, 5))
    assert (order != feeds.epoch_order(1000, 3, 6)).any()
    assert (order != feeds.epoch_order(1000, 4, 5)).any()
    np.testing.assert_array_equal(feeds.epoch_order(5, None, 9), range(5))


def test_a_streamed_epoch_visits_every_row_once_in_the_order_of_the_epoch(monkeypatch):
    monkeypatch.setattr(feeds, "BLOCK_BYTES", 64)
    x = np.arange(50, dtype=np.float32)[:, None]
    feed = feeds.StreamedFeed(feeds.pack(x), batch_size=4)
    seen = [np.asarray(data)[rows, 0] for data, rows, _ in feed.blocks(1, 2)]
    assert len(seen) > 3
    np.testing.assert_array_equal(np.concatenate(seen), feeds.epoch_order(50, 1, 2))


@pytest.mark.parametrize("replicas_of_a_worker", [1, 2])
def test_workers_read_their_own_rows_of_each_batch_alone(monkeypatch, replicas_of_a_worker):
    monkeypatch.setattr(feeds, "BLOCK_BYTES", 40)
    x = np.arange(42, dtype=np.float32).reshape(42, 1)
    seen = {}
    for first in range(0, 4, replicas_of_a_worker):
        own = (first, first + replicas_of_a_worker)
        feed = feeds.StreamedFeed(feeds.pack(x), 10, num_replicas=4, replicas=own)
        visited, sizes = [], []
        for block, order, of_block in feed.blocks(7, 3):
            visited.extend(np.asarray(block)[order, 0].astype(int))
            sizes.extend(of_block)
        # The last two rows are fewer than the replicas, and a part of the batch before.
        assert sizes == [10, 10, 10, 12]
        shares = [feed.shares.num_read(size) for size in sizes]
        assert sum(shares) == len(visited) < 42
        for batch, part in enumerate(np.split(visited, np.cumsum(shares)[:-1])):
            seen.setdefault(batch, []).extend(part)
    assert [row for rows in seen.values() for row in rows] == list(feeds.epoch_order(42, 7, 3))


def test_what_is_begun_before_an_epoch_ends_is_the_next_epoch(monkeypatch):
    monkeypatch.setattr(feeds, "BLOCK_BYTES", 64)
    x = np.arange(50, dtype=np.float32)[:, None]
    feed = feeds.StreamedFeed(feeds.pack(x), batch_size=4)
    for epoch in range(3):
        blocks = feed.blocks(1, epoch, prefetch_next=epoch < 2)
        seen = [np.asarray(data)[rows, 0] for data, rows, _ in blocks]
        np.testing.assert_array_equal(np.concatenate(seen), feeds.epoch_order(50, 1, epoch))


@pytest.mark.parametrize("prefetch_next, passes", [(True, 2), (False, 1)])
def test_a_dataset_is_begun_again_only_where_another_epoch_follows(prefetch_next, passes):
    begun = []

    def examples():
        begun.append(True)
        yield from np.arange(6, dtype=np.float32)

    dataset = tf.data.Dataset.from_generator(
        examples, output_signature=tf.TensorSpec((), tf.float32)
    ).batch(2)
    feed = DatasetFeed(dataset)
    feed.read_first_block()
    assert [len(rows) for _, rows, _ in feed.blocks(None, 0, prefetch_next)] == [6]
    feed.prefetcher.thread.shutdown()
    assert len(begun) == passes


def test_an_error_while_reading_reaches_the_caller():
    def examples():
        yield np.float32(1)
        raise ValueError("a broken file")

    dataset = tf.data.Dataset.from_generator(
        examples, output_signature=tf.TensorSpec((), tf.float32)
    ).batch(1)
    with pytest.raises(tf.errors.InvalidArgumentError, match="a broken file"):
        list(DatasetFeed(dataset).blocks(None, 0))


def test_float64_becomes_float32_and_uint8_stays():
    x, y = feeds.pack(np.zeros((3, 2)), np.zeros(3, np.uint8))
    assert (x.dtype, y.dtype) == (np.float32, np.uint8)


def test_types_are_kept_for_a_transform_but_not_for_the_targets():
    x, y = feeds.pack({"a": np.zeros((3, 2))}, np.zeros(3), keep_types=True)
    assert (x["a"].dtype, y.dtype) == (np.float64, np.float32)


def test_arrays_of_unequal_length_are_refused():
    with pytest.raises(ValueError, match=r"arrays of \[2, 3\] rows were given"):
        feeds.pack(np.zeros((3, 2)), np.zeros(2))


def test_a_prediction_takes_fewer_of_large_examples_at_once():
    taken = {
        shape: feeds.predict_batch_size(feeds.pack(np.broadcast_to(np.uint8(0), (9, *shape))))
        for shape in [(784,), (28, 28, 1), (224, 224, 3), (9000, 9000)]
    }
    assert taken == {(784,): 1024, (28, 28, 1): 1024, (224, 224, 3): 111, (9000, 9000): 1}
