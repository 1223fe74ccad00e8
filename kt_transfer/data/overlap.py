"""Find equal examples within and across data sets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

_ROWS_AT_ONCE = 2**14


def same_examples(*arrays) -> list[np.ndarray]:
    """A number for each example, shared by equal examples only.

    Args:
        arrays: Arrays of examples of one shape and type, ``(n, ...)``.

    Returns:
        For each array, the numbers of its examples, ``(n,)``: the position of the first equal
        example in the concatenation of all arrays; ``0, 1, 2, …`` if no two are equal.

    Example:
        >>> same_examples(np.array([[1], [2], [1]]), np.array([[3], [2]]))
        [array([0, 1, 0]), array([3, 1])]
    """
    keys = np.concatenate([_keys(array) for array in arrays])
    numbers = np.arange(len(keys))
    order = np.argsort(keys, kind="stable")
    again = np.flatnonzero(keys[order][1:] == keys[order][:-1])
    # Only examples that share a key, few or none, are compared in full.
    doubtful = np.sort(np.union1d(order[again], order[again + 1]))
    ends = np.cumsum([len(array) for array in arrays])
    first: dict[int, int] = {}
    for array, end in zip(arrays, ends, strict=True):
        begin = end - len(array)
        rows = doubtful[(doubtful >= begin) & (doubtful < end)]
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            some = rows[start : start + _ROWS_AT_ONCE]
            for row, example in zip(some, _plain(array[some - begin]), strict=True):
                numbers[row] = first.setdefault(hash(example.tobytes()), int(row))
    return np.split(numbers, ends[:-1])


def keys_of(x: np.ndarray) -> np.ndarray:
    """Two hashes of each example, for whoever cannot keep the examples to compare them.

    Args:
        x: Shape ``(n, ...)``.

    Returns:
        ``uint64`` of shape ``(n, 2)``; equal examples have equal ones, and others hardly ever.
    """
    return np.stack([_keys(x), _keys(x, mixed=True)], axis=1)


def same_keys(keys: np.ndarray) -> np.ndarray:
    """What :func:`same_examples` says of one array, from the hashes of its examples alone.

    Args:
        keys: From :func:`keys_of`, shape ``(n, 2)``.

    Example:
        >>> same_keys(keys_of(np.array([[1.0], [2.0], [1.0]])))
        array([0, 1, 0])
    """
    order = np.lexsort((keys[:, 1], keys[:, 0]))  # stable: the first of equal ones comes first
    ordered = keys[order]
    is_first = np.ones(len(keys), bool)
    is_first[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    firsts = order[is_first]
    numbers = np.empty(len(keys), np.int64)
    numbers[order] = firsts[np.cumsum(is_first) - 1]
    return numbers


def joined(copies: np.ndarray, groups: np.ndarray | None) -> np.ndarray:
    """Numbers of equal examples, shared by all examples of a group as well.

    Args:
        copies: A number for each example, shared by equal ones, ``(n,)``.
        groups: The group of each, ``(n,)``, or ``-1``; ``None`` if there are none.

    Returns:
        A number for each example, ``(n,)``: the position of the first that it is joined to, be it
        by way of others.

    Example:
        >>> joined(np.array([0, 1, 0, 3, 4]), np.array([-1, 7, 7, -1, -1]))
        array([0, 0, 0, 3, 4])
    """
    if groups is None:
        return copies
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    n = len(copies)
    # Every example is tied to its number, and to its group; those come after the examples.
    tied = [np.unique(numbers, return_inverse=True)[1] for numbers in (copies, groups)]
    grouped = np.flatnonzero(groups >= 0)
    ends = np.concatenate([n + tied[0], n + n + tied[1][grouped]])
    begins = np.concatenate([np.arange(n), grouped])
    ties = coo_array((np.ones(len(ends), bool), (begins, ends)), shape=(3 * n + 1, 3 * n + 1))
    part = connected_components(ties, directed=False)[1][:n]
    _, first, place = np.unique(part, return_index=True, return_inverse=True)
    return first[place]


def shared_rows(x, known: Iterable) -> np.ndarray:
    """For each example, whether it occurs among the known ones, whatever its shape.

    Args:
        x: Shape ``(n, ...)``.
        known: Arrays of examples; those with a different number of values share none with ``x``.

    Returns:
        ``bool`` of shape ``(n,)``.

    Example:
        >>> shared_rows(np.array([[1, 2], [3, 4]]), [np.array([[3.0, 4.0], [5.0, 6.0]])])
        array([False,  True])
    """
    size = np.prod(x.shape[1:])
    alike = [array for array in known if np.prod(array.shape[1:]) == size]
    # Values are compared, not types, so arrays of different types become float32. Equal types are
    # left unchanged, since float32 cannot distinguish large numbers.
    dtype = x.dtype if all(array.dtype == x.dtype for array in alike) else np.float32
    digests = {digest for array in alike for digest in _digests(array, dtype)}
    if not digests:
        return np.zeros(len(x), bool)
    return np.fromiter((digest in digests for digest in _digests(x, dtype)), bool, len(x))


def _digests(x, dtype) -> Iterator[int]:
    for start in range(0, len(x), _ROWS_AT_ONCE):
        for row in _plain(x[start : start + _ROWS_AT_ONCE].astype(dtype, copy=False)):
            yield hash(row.tobytes())


def _plain(rows: np.ndarray) -> np.ndarray:
    """Contiguous rows, with -0.0 replaced by 0.0."""
    return np.ascontiguousarray(rows + rows.dtype.type(0) if rows.dtype.kind == "f" else rows)


def _keys(x, mixed: bool = False) -> np.ndarray:
    """A fast hash of each example; unequal examples rarely collide.

    It is a sum of products: two numbers that change their signs leave it as it was, unless the bits
    are mixed before.
    """
    rng, keys = np.random.default_rng(int(mixed)), np.empty(len(x), np.uint64)
    num_bytes = int(np.prod(x.shape[1:])) * x.dtype.itemsize
    factors = rng.integers(0, 2**64, -(-num_bytes // 8), np.uint64) | np.uint64(1)
    for start in range(0, len(x), _ROWS_AT_ONCE):
        rows = _plain(x[start : start + _ROWS_AT_ONCE])
        octets = rows.reshape(len(rows), -1).view(np.uint8)
        if num_bytes % 8:
            octets = np.pad(octets, ((0, 0), (0, -num_bytes % 8)))
        words = octets.view(np.uint64)
        if mixed:
            words = (words ^ (words >> np.uint64(32))) * factors[::-1]
            words ^= words >> np.uint64(29)
        keys[start : start + len(rows)] = words @ factors
    return keys
