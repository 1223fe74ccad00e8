"""How far a fit moved the weights of each layer."""

from __future__ import annotations

import numpy as np

from kt_transfer.reporting.terminal import format_table

_MOST_ROWS = 16


def layer_weights(layers: dict) -> dict[str, list[np.ndarray]]:
    """Copies of the current weights of each layer, by name."""
    return {name: layer.get_weights() for name, layer in layers.items()}


def layer_rows(
    layers: dict, before: dict, learning_rate: float, rates: dict[str, float]
) -> list[dict]:
    """Which layers were trained, at which learning rate, and how far they moved.

    Args:
        layers: Keras layers by name, in order.
        before: Their weights before the fit, as from :func:`layer_weights`.
        learning_rate: Initial learning rate of the fit; 0 if it took no steps.
        rates: Learning-rate factor by layer (default: 1).

    Returns:
        ``layer``, ``parameters``, ``trained``, ``learning_rate`` (0 if frozen) and ``moved``,
        ‖w − w₀‖ / ‖w₀‖ over all weights of the layer (``None`` if w₀ is zero).
    """
    return [
        {
            "layer": name,
            "parameters": int(sum(np.size(weight) for weight in before[name])),
            "trained": bool(layer.trainable_weights),
            "learning_rate": (
                learning_rate * rates.get(name, 1.0) if layer.trainable_weights else 0.0
            ),
            "moved": _moved(before[name], layer.get_weights()),
        }
        for name, layer in layers.items()
    ]


def format_layers(rows: list[dict]) -> str:
    """The rows as a table; many layers are grouped with neighbours of equal learning rate."""
    groups = [[row] for row in rows]
    if len(rows) > _MOST_ROWS:
        groups = []
        for row in rows:
            if groups and _alike(groups[-1][-1], row):
                groups[-1].append(row)
            else:
                groups.append([row])
    return format_table(
        ["layer", "parameters", "", "learning rate", "moved"], [_cells(group) for group in groups]
    )


def _cells(group: list[dict]) -> list:
    first, last = group[0], group[-1]
    names = first["layer"] if first is last else f"{first['layer']} … {last['layer']}"
    moved = [row["moved"] for row in group if row["moved"] is not None]
    return [
        names if len(group) < 3 else f"{names} ({len(group)} layers)",
        f"{sum(row['parameters'] for row in group):,}",
        "trained" if first["trained"] else "frozen",
        f"{first['learning_rate']:.3g}" if first["learning_rate"] else "",
        f"{np.mean(moved):.1%}" if moved else "",
    ]


def _alike(one: dict, other: dict) -> bool:
    return all(one[key] == other[key] for key in ("trained", "learning_rate"))


def _moved(before: list, after: list) -> float | None:
    start = np.sqrt(sum(np.sum(np.square(w, dtype=np.float64)) for w in before))
    way = sum(
        np.sum(np.square(b - a, dtype=np.float64)) for a, b in zip(before, after, strict=True)
    )
    return float(np.sqrt(way) / start) if start else None
