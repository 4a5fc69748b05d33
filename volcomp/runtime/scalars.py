"""The smaller and the larger of two integers, for compiled loops only. Numba's `min` and `max` do the same, but numba
compiles them anew for every pair of types."""

from __future__ import annotations

from typing import Any

from numba.core import types
from numba.extending import intrinsic


def _chosen(sign: str, typing_context: Any, a: Any, b: Any) -> Any:
    kind = typing_context.unify_types(types.unliteral(a), types.unliteral(b))
    if kind not in types.integer_domain:
        raise TypeError(f"{a} and {b} are not integers of types that have one in common")

    def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        x, y = (context.cast(builder, v, own, kind) for v, own in zip(values, signature.args, strict=True))
        compare = builder.icmp_signed if kind.signed else builder.icmp_unsigned
        return builder.select(compare(sign, x, y), x, y)

    return kind(a, b), code


def _smaller(typing_context: Any, a: Any, b: Any) -> Any:
    return _chosen("<", typing_context, a, b)


def _larger(typing_context: Any, a: Any, b: Any) -> Any:
    return _chosen(">", typing_context, a, b)


smaller: Any = intrinsic(_smaller)
larger: Any = intrinsic(_larger)
