"""An object that can be used in place of the Keras model it wraps."""

from __future__ import annotations

import keras


class ModelProxy:
    """Delegates to the model that it wraps.

    Attributes other than ``OWN_ATTRIBUTES`` and those of the class are read from and set on the
    model. ``isinstance`` takes the proxy for an instance of the model's class, too: Keras checks
    that before it clones, saves or nests a model. Copying and pickling keep the model and
    ``OWN_ATTRIBUTES``; everything derived from them is made again.
    """

    OWN_ATTRIBUTES: frozenset[str] = frozenset({"model"})

    @property
    def __class__(self):
        return type(self.model) if "model" in vars(self) else type(self)

    def __getattr__(self, name: str):
        # "model" is not set yet while the proxy is being copied, and the special methods that
        # Python looks up implicitly must not be the model's.
        if name == "model" or (name.startswith("__") and name.endswith("__")):
            raise AttributeError(name)
        return getattr(self.model, name)

    def __setattr__(self, name: str, value) -> None:
        if name in self.OWN_ATTRIBUTES or name.startswith("_") or hasattr(type(self), name):
            object.__setattr__(self, name, value)
        else:
            setattr(self.model, name, value)

    def __dir__(self):
        # Without "model": Keras saves whatever it finds here, and would save the model twice.
        return sorted({*dir(self.model), *self.OWN_ATTRIBUTES} - {"model"})

    def __call__(self, *args, **kwargs):
        """Call the model."""
        return self.model(*args, **kwargs)

    def __reduce__(self):
        own = {name: getattr(self, name) for name in self.OWN_ATTRIBUTES}
        return _restored, (type(self), self.model, own)


def _restored(kind: type, model: keras.Model, own: dict) -> ModelProxy:
    proxy = kind(model)
    for name, value in own.items():
        setattr(proxy, name, value)
    return proxy
