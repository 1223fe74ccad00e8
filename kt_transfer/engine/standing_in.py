"""An object that stands where a Keras model stood."""

from __future__ import annotations

import keras


class StandIn:
    """Hands on to the model that it holds whatever is not its own.

    Attributes that are not among ``OWN``, nor the class's, are looked up and set on the model.
    ``isinstance`` takes it for a model of that class too, since Keras asks that before it clones,
    saves or nests a model. Copied and pickled are the model and the arguments, not what was made
    of them.
    """

    OWN: frozenset[str] = frozenset({"model"})

    @property
    def __class__(self):
        return type(self.model) if "model" in vars(self) else type(self)

    def __getattr__(self, name: str):
        # Not set yet while it is copied; what Python looks for by itself is not the model's.
        if name == "model" or (name.startswith("__") and name.endswith("__")):
            raise AttributeError(name)
        return getattr(self.model, name)

    def __setattr__(self, name: str, value) -> None:
        if name in self.OWN or name.startswith("_") or hasattr(type(self), name):
            object.__setattr__(self, name, value)
        else:
            setattr(self.model, name, value)

    def __dir__(self):
        # Without "model": Keras saves what it finds here, and would save all of it twice.
        return sorted({*dir(self.model), *self.OWN} - {"model"})

    def __call__(self, *args, **kwargs):
        """Call the model."""
        return self.model(*args, **kwargs)

    def __reduce__(self):
        return _restored, (type(self), self.model, {name: getattr(self, name) for name in self.OWN})


def _restored(kind: type, model: keras.Model, own: dict) -> StandIn:
    stand_in = kind(model)
    for name, value in own.items():
        setattr(stand_in, name, value)
    return stand_in
