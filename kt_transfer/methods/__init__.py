"""Ways of learning a task from few labels, each written once; all commands use them.

A method is a frozen dataclass: its fields are its settings, with the only defaults that there
are, and its properties say what it needs. ``prepare`` builds and compiles what learns, once;
``learn`` may then be called again and again. The modules of the dataclasses import nothing heavy,
so that ``--help`` can show their defaults; what ``prepare`` needs is imported there.
"""

from __future__ import annotations

from kt_transfer.methods.consistency import Consistency
from kt_transfer.methods.distilled import Distilled
from kt_transfer.methods.features import Features
from kt_transfer.methods.linear import Linear
from kt_transfer.methods.parameters import Parameters
from kt_transfer.methods.propagated import Propagated
from kt_transfer.methods.scratch import Scratch
from kt_transfer.methods.vat import Vat

# In the order in which they are trained and reported.
METHODS = (Scratch, Linear, Parameters, Distilled, Propagated, Consistency, Vat, Features)
BY_NAME = {method.name: method for method in METHODS}
