"""Norms of arrays as large as a network, and sums that tell order and signs: what two frameworks' results are compared by at full size."""

import math
from typing import Any, Dict, List, Optional, Tuple, Union

import numpy

BLOCK = 2**16  # values; 256 KiB in float32


def signed_sums(logits: Any) -> Dict[str, float]:
    """Sums of all logits, with signs drawn at random: who has the order or the signs wrong has others."""
    values = numpy.asarray(logits, numpy.float64).reshape(-1)
    random = numpy.random.RandomState(0)
    return {"logits, sum {}".format(n): float(values.dot(2.0 * random.randint(0, 2, len(values)) - 1.0)) for n in (1, 2, 3)}


def distance(found: Any, shape: Tuple[int, ...], start: Any) -> Optional[float]:
    """Norm of an array, less another if one is given, in blocks that fit into a cache, added up in double precision; None where it has
    another shape, or is not finite."""
    if getattr(found, "shape", None) != shape:
        return None
    total = 0.0
    for part in blocks(found):
        block = found[part] if start is None else found[part] - start[part]
        block = block.reshape(-1, order="A")
        total += float(numpy.dot(block, block))
    return math.sqrt(total) if total < math.inf else None


def blocks(array: Any) -> List[Union[slice, Tuple[slice, ...]]]:
    """Indices of the parts of an array that fit into a cache; of a matrix square ones, since it may lie there turned."""
    if array.ndim == 2:
        rows, columns = array.shape
        side = int(BLOCK**0.5) if not array.flags.c_contiguous else columns
        height = max(1, BLOCK // max(1, side))
        return [(slice(i, i + height), slice(j, j + side)) for i in range(0, rows, height) for j in range(0, columns, max(1, side))]
    each = max(1, BLOCK * len(array) // max(1, array.size)) if array.ndim else 1
    return [slice(i, i + each) for i in range(0, len(array), each)] if array.ndim else [()]
