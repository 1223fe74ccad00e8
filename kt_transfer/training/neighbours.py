"""Nearest neighbours among many examples."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from kt_transfer.data.overlap import same_examples
from kt_transfer.data.rows import quarter_of_memory, take_rows

# Above so many examples, neighbours are looked for in the nearest of √n lists alone.
_MOST_EXACT, _LISTS_READ = 10_000, 16
_ITERATIONS = 10
# So many examples show the directions in which all vary.
_MOST_TO_FIT = 20_000
# So many show how far apart neighbours are.
_MOST_MEASURED = 2_000
# How much less a change along views counts, see nearest_by_views.
_FREEDOM = 5.0
# Descriptions of so many pictures stay in a processor's cache.
_ROWS_AT_ONCE = 512


def principal_components(x, describe: Callable, num: int, *, seed: int) -> Callable:
    """What makes of examples the first principal components of their features.

    Args:
        x: Examples, ``(n, ...)``, in memory or on disk.
        describe: From some of them to their features, ``(rows, ...)`` to ``(rows, width)``.
        num: Number of components; features that are no more stay as they are.
        seed: Of the examples that the directions are estimated from, 20,000 or fewer.

    Returns:
        A function like ``describe``, to ``(rows, min(num, width))``.

    Example:
        >>> x = np.random.default_rng(0).normal(size=(100, 5)) * [9, 0.1, 0.1, 5, 0.1]
        >>> components = principal_components(x, lambda rows: rows, 2, seed=0)
        >>> components(x).std(axis=0).round(0)
        array([8., 5.])
    """
    from sklearn.decomposition import PCA

    width = describe(x[:1]).shape[1]
    if width <= num:
        return describe
    most = min(len(x), _MOST_TO_FIT, max(num, quarter_of_memory() // (8 * width)))
    some = np.sort(np.random.default_rng(seed).permutation(len(x))[:most])
    fitted = PCA(min(num, most), random_state=seed % 2**31)
    fitted.fit(in_blocks(take_rows(x, some), describe))
    return lambda rows: fitted.transform(describe(rows))


def nearest_neighbours(
    features: np.ndarray, num: int, *, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """The nearest neighbours of each example, by Euclidean distance.

    Exact up to 10,000 examples. Above, examples are divided into √n lists by k-means, and
    neighbours are looked for in the 16 nearest of them (Jégou et al., 2011, "Product quantization
    for nearest neighbor search"): of 60,000 images of MNIST, 99.6 % of the neighbours are found in
    a fifth of the time.

    Args:
        features: Shape ``(n, width)``.
        num: How many for each, or n − 1 if there are fewer.
        seed: Of the lists. With the same seed and number of threads, neighbours are the same.

    Returns:
        Rows of the neighbours, the nearest first, and their squared distances, ``(n, num)`` both.
        No example is its own neighbour.

    Example:
        >>> nearest_neighbours(np.array([[0.0], [1.0], [3.0]]), 1, seed=0)
        (array([[1], [0], [1]]), array([[1.], [1.], [4.]], dtype=float32))
    """
    import faiss

    features = np.ascontiguousarray(features, np.float32)
    count, width = features.shape
    num = min(num, count - 1)
    if count <= _MOST_EXACT:
        squared, rows = faiss.knn(features, features, num + 1)
    else:
        index = faiss.IndexIVFFlat(faiss.IndexFlatL2(width), width, round(np.sqrt(count)))
        index.cp.seed, index.cp.niter = seed % 2**31, _ITERATIONS
        index.nprobe = _LISTS_READ
        index.train(features)
        index.add(features)
        squared, rows = index.search(features, num + 1)
        missing = np.flatnonzero(rows.min(axis=1) < 0)  # lists of a few examples each
        index.nprobe = index.nlist
        squared[missing], rows[missing] = index.search(features[missing], num + 1)
    kept = rows != np.arange(count)[:, None]
    # Of many copies of an example, it may not be among the nearest itself.
    kept[kept.all(axis=1), -1] = False
    return rows[kept].reshape(count, num), squared[kept].reshape(count, num)


def nearest_distance(features: np.ndarray, *, seed: int) -> float:
    """How far examples are from their nearest neighbours: the median, of 2,000 or fewer.

    Examples that are equal count once.

    Args:
        features: Shape ``(n, width)``.
        seed: Of the examples that are looked at.

    Returns:
        A Euclidean distance; 0 where all examples are equal.

    Example:
        >>> nearest_distance(np.array([[0.0], [0.0], [1.0], [3.0], [3.0]]), seed=0)
        1.0
    """
    import faiss

    first = np.unique(same_examples(features)[0], return_index=True)[1]
    features = np.ascontiguousarray(features[np.sort(first)], np.float32)
    if len(features) < 2:
        return 0.0
    some = np.random.default_rng(seed).permutation(len(features))[:_MOST_MEASURED]
    squared, _ = faiss.knn(features[some], features, 2)
    return float(np.sqrt(np.median(squared[:, 1])))


def nearest_by_views(
    features: np.ndarray, candidates: np.ndarray, views: Callable, num: int
) -> tuple[np.ndarray, np.ndarray]:
    """The nearest neighbours of examples that may change as their random views do.

    With vᵢ the differences of the features of an example's views from its own, the squared distance
    to another, whose features differ by δ, is min over a of ‖δ − Σ aᵢ vᵢ‖² + λ‖a‖². So a picture
    that is turned a little is near to what it was: the tangent distance (Simard, LeCun & Denker,
    1993, "Efficient pattern recognition using a new transformation distance"), along directions
    that are sampled. λ is five times the median squared distance of a nearest neighbour, by
    component.

    Args:
        features: Shape ``(n, width)``.
        candidates: Rows of the nearest examples without views, the nearest first,
            ``(n, candidates)``, as from :func:`nearest_neighbours`.
        views: From the first row and the row after the last to the features of some views of the
            examples between, ``(views, rows, width)``.
        num: How many for each, or all candidates if there are fewer.

    Returns:
        As from :func:`nearest_neighbours`.

    Example:
        >>> features = np.array([[0.0, 0.0], [3.0, 0.1], [0.0, 2.0]])
        >>> candidates, _ = nearest_neighbours(features, 2, seed=0)
        >>> moved = [features + [9.0, 0.0]]  # along the first axis all may change
        >>> rows, _ = nearest_by_views(features, candidates, lambda first, end: moved, 1)
        >>> candidates[0].tolist(), rows[0].tolist()
        ([2, 1], [1])
    """
    features = np.ascontiguousarray(features, np.float32)
    count, width = features.shape
    nearest = ((features[candidates[:, 0]] - features) ** 2).sum(axis=1)
    # Never 0: views of an example may be alike.
    penalty = max(_FREEDOM * float(np.median(nearest)) / width, np.finfo(np.float32).tiny)
    num = min(num, candidates.shape[1])
    rows, squared = np.empty((count, num), candidates.dtype), np.empty((count, num), np.float32)
    for start in range(0, count, _ROWS_AT_ONCE):
        block = slice(start, min(start + _ROWS_AT_ONCE, count))
        own = features[block]
        moved = np.stack(list(views(block.start, block.stop)), axis=1, dtype=np.float32)
        along = moved - own[:, None]
        apart = features[candidates[block]] - own[:, None]
        gram = along @ along.transpose(0, 2, 1) + penalty * np.eye(along.shape[1], dtype="float32")
        products = along @ apart.transpose(0, 2, 1)
        gained = (products * np.linalg.solve(gram, products)).sum(axis=1)
        distances = np.maximum((apart**2).sum(axis=2) - gained, 0.0)
        nearest = np.argsort(distances, axis=1, kind="stable")[:, :num]
        rows[block] = np.take_along_axis(candidates[block], nearest, axis=1)
        squared[block] = np.take_along_axis(distances, nearest, axis=1)
    return rows, squared


def in_blocks(x, describe: Callable) -> np.ndarray:
    """Descriptions of examples, block by block: ``float32`` of shape ``(n, width)``."""
    starts = range(0, len(x), _ROWS_AT_ONCE)
    blocks = (describe(x[start : start + _ROWS_AT_ONCE]) for start in starts)
    return np.concatenate([np.asarray(block, np.float32) for block in blocks])
