"""The table of all operations: what each is called with, and what trtnn refuses of it.

A row's name is that of the operation, with a word after a colon where it has several rows. See :class:`Case`.
"""

from __future__ import annotations

from tests.ops.calls import Case
from tests.ops.table import (
    arrangements,
    creation,
    elementwise,
    formulas,
    networks,
    orders,
    places,
    products,
    reductions,
    shapes,
    spectra,
    sums,
)

ROOMS = (
    elementwise, reductions, shapes, places, products, networks, creation, formulas, arrangements, sums, orders,
    spectra,
)  # fmt: skip
CASES: dict[str, Case] = {name: case for room in ROOMS for name, case in room.CASES.items()}
