"""Words of several bytes at any place of an array of bytes, for compiled loops only. Numba loads single bytes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic


def _word(bits: int) -> Callable[..., Any]:
    """Make the function that types and generates the load of a little-endian word."""

    def word(typing_context: Any, array: Any, at: Any) -> Any:
        """Return bytes at … of uint8 [n] as an integer, the first one lowest; all must be in the array."""

        def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            data = context.make_array(signature.args[0])(context, builder, values[0]).data
            place = builder.gep(data, [context.cast(builder, values[1], signature.args[1], types.intp)])
            loaded = builder.load(builder.bitcast(place, ir.IntType(bits).as_pointer()))
            loaded.align = 1
            return builder.zext(loaded, ir.IntType(64)) if bits < 64 else loaded

        return (types.int64 if bits < 64 else types.uint64)(array, at), code

    return word


def _first_byte(typing_context: Any, word: Any) -> Any:
    """Return the number of the lowest byte of a word of 64 bits that is not 0; the word must not be 0."""

    def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        zeros = builder.cttz(values[0], ir.Constant(ir.IntType(1), 1))
        return builder.lshr(zeros, ir.Constant(ir.IntType(64), 3))

    return types.int64(types.uint64), code


word16: Any = intrinsic(_word(16))
word32: Any = intrinsic(_word(32))
word64: Any = intrinsic(_word(64))
first_byte: Any = intrinsic(_first_byte)
