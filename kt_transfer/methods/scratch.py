"""No transfer: the network from fresh weights, what everything else is compared with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from kt_transfer.methods.layered import Layered


@dataclass(frozen=True, kw_only=True)
class Scratch(Layered):
    """The architecture of the source, trained from fresh weights on the labels alone."""

    name: ClassVar[str] = "scratch"
    description: ClassVar[str] = "the network from fresh weights: nothing is transferred"
    needs_source: ClassVar[bool] = False
    sees_unlabelled: ClassVar[bool] = False
    teacher: ClassVar[None] = None
