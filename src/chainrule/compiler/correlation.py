"""What generated Numba code calls for images: correlations, of which convolutions and their derivatives are made, and
sums of rows. Intrinsics, as in `kernels`.

An image is a row of numbers, and a window of it a list of distances from its first corner (`taps`): the same list for
all windows, if the results are laid out as wide as the image. So nothing is copied for a convolution but what it pads.
"""

from itertools import pairwise
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from chainrule.compiler.kernels import (
    INT64,
    REGISTERS,
    data_of,
    load_vector,
    multiply_add,
    place_of,
    row_size,
    splat,
)

_FLOATS = 4  # vectors of 64 bytes of a row that are worked at a time


def _blocks(count: int, most: int) -> list[tuple[int, int]]:
    """(first, length) of as few blocks as possible, about equally long."""
    number = -(-count // most)
    cuts = [count * i // number for i in range(number + 1)]
    return [(a, b - a) for a, b in pairwise(cuts)]


def _operands(context: Any, builder: Any, signature: Any, args: Any) -> tuple[list[Any], list[Any], Any]:
    """Pointers to the image, taps, factors and result; the sizes of a row of the last two; how many taps there are."""
    kinds = signature.args
    pointers = [data_of(context, builder, kinds[i], args[i]) for i in range(4)]
    rows = [row_size(context, builder, kinds[i], args[i]) for i in (2, 3)]
    (count,) = cgutils.unpack_tuple(builder, context.make_array(kinds[1])(context, builder, args[1]).shape)
    return pointers, rows, count


def _zeros(builder: Any, vector: Any, count: int) -> list[Any]:
    """Places for vectors, which become registers."""
    places = [cgutils.alloca_once(builder, vector) for _ in range(count)]
    for place in places:
        builder.store(ir.Constant(vector, None), place)
    return places


@intrinsic(prefer_literal=True)
def correlate(context: Any, x: Any, taps: Any, weights: Any, out: Any, channels: Any, length: Any) -> Any:
    """out[c, p] ← Σ weights[c, t] · x[p + taps[t]] over the taps t, for p in 0..length-1.

    `x` and each `weights[c]` are memory without gaps; `channels` and `length` are literals. A block of the result stays
    in registers while the taps are gone through. Whole vectors are read and written, so up to 255 bytes behind the end.
    """
    itemsize = out.dtype.bitwidth // 8
    lanes = 64 // itemsize
    signature = types.void(x, taps, weights, out, channels, length)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        vector = ir.VectorType(context.get_value_type(out.dtype), lanes)
        pointers, (factor_row, result_row), count = _operands(context, builder, signature, args)
        given, places, factors, result = pointers
        blocks = _blocks(channels.literal_value, 8 if REGISTERS > 8 else 3)
        wide = max(1, min(_FLOATS, REGISTERS // max(n for _, n in blocks)))
        vectors = -(-length.literal_value // lanes)

        def piece(start: Any, width: int) -> None:
            for first, size in blocks:
                sums = [_zeros(builder, vector, width) for _ in range(size)]
                with cgutils.for_range(builder, count) as loop:
                    row = builder.gep(given, [builder.add(start, builder.load(builder.gep(places, [loop.index])))])
                    xs = [load_vector(builder, row, k * lanes, vector, itemsize) for k in range(width)]
                    for c, totals in enumerate(sums):
                        place = builder.add(builder.mul(factor_row, INT64(first + c)), loop.index)
                        factor = splat(builder, vector, builder.load(builder.gep(factors, [place])))
                        for value, total in zip(xs, totals, strict=True):
                            builder.store(multiply_add(builder, factor, value, builder.load(total)), total)
                for c, totals in enumerate(sums):
                    target = builder.gep(result, [builder.add(builder.mul(result_row, INT64(first + c)), start)])
                    for k, total in enumerate(totals):
                        builder.store(builder.load(total), place_of(builder, target, k * lanes, vector), align=itemsize)

        whole = vectors // wide * wide
        if whole:
            with cgutils.for_range_slice(builder, INT64(0), INT64(whole * lanes), INT64(wide * lanes)) as (start, _):
                piece(start, wide)
        if vectors > whole:
            piece(INT64(whole * lanes), vectors - whole)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic(prefer_literal=True)
def add_correlations(context: Any, x: Any, taps: Any, g: Any, out: Any, channels: Any, length: Any) -> Any:
    """out[c, t] += Σ g[c, p] · x[p + taps[t]] over p in 0..length-1: the derivative of `correlate` by the weights.

    As there. What is read behind the end takes no part: it may be anything.
    """
    itemsize = out.dtype.bitwidth // 8
    lanes = 64 // itemsize
    signature = types.void(x, taps, g, out, channels, length)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        vector = ir.VectorType(context.get_value_type(out.dtype), lanes)
        pointers, (factor_row, result_row), count = _operands(context, builder, signature, args)
        given, places, factors, result = pointers
        few = min(4, REGISTERS // 2)
        blocks = _blocks(channels.literal_value, max(1, REGISTERS // few))
        whole, rest = divmod(length.literal_value, lanes)

        def block(tap: Any, width: int) -> None:
            rows = [
                builder.gep(given, [builder.load(builder.gep(places, [builder.add(tap, INT64(k))]))])
                for k in range(width)
            ]
            for first, size in blocks:
                sums = [_zeros(builder, vector, width) for _ in range(size)]

                def add(p: Any, inside: Any, first: int = first, sums: Any = sums) -> None:
                    xs = [load_vector(builder, builder.gep(row, [p]), 0, vector, itemsize) for row in rows]
                    xs = [builder.select(inside, x, ir.Constant(vector, None)) if inside else x for x in xs]
                    for c, totals in enumerate(sums):
                        place = builder.add(builder.mul(factor_row, INT64(first + c)), p)
                        factor = load_vector(builder, builder.gep(factors, [place]), 0, vector, itemsize)
                        for value, total in zip(xs, totals, strict=True):
                            builder.store(multiply_add(builder, factor, value, builder.load(total)), total)

                with cgutils.for_range_slice(builder, INT64(0), INT64(whole * lanes), INT64(lanes)) as (p, _):
                    add(p, None)
                if rest:
                    add(INT64(whole * lanes), _first_lanes(lanes, rest))
                for c, totals in enumerate(sums):
                    for k, total in enumerate(totals):
                        place = builder.add(builder.mul(result_row, INT64(first + c)), builder.add(tap, INT64(k)))
                        target = builder.gep(result, [place])
                        number = _sum_of(builder, builder.load(total))
                        builder.store(builder.fadd(builder.load(target), number), target)

        together = builder.mul(builder.sdiv(count, INT64(few)), INT64(few))
        with cgutils.for_range_slice(builder, INT64(0), together, INT64(few)) as (tap, _):
            block(tap, few)
        with cgutils.for_range_slice(builder, together, count, INT64(1)) as (tap, _):
            block(tap, 1)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic(prefer_literal=True)
def sum_of_row(context: Any, row: Any, length: Any) -> Any:
    """Σ row[k] over k in 0..length-1, a literal; in as many sums as a vector has places, and these four times."""
    itemsize = row.dtype.bitwidth // 8
    lanes = 64 // itemsize
    count = length.literal_value
    signature = row.dtype(row, length)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        element = context.get_value_type(row.dtype)
        vector = ir.VectorType(element, lanes)
        given = data_of(context, builder, signature.args[0], args[0])
        sums = _zeros(builder, vector, _FLOATS)

        def add(start: Any, width: int) -> None:
            for k in range(width):
                x = load_vector(builder, builder.gep(given, [start]), k * lanes, vector, itemsize)
                builder.store(builder.fadd(x, builder.load(sums[k])), sums[k])

        step = lanes * _FLOATS
        whole = count // step * step
        with cgutils.for_range_slice(builder, INT64(0), INT64(whole), INT64(step)) as (start, _):
            add(start, _FLOATS)
        add(INT64(whole), (count - whole) // lanes)
        total = builder.load(sums[0])
        for other in sums[1:]:
            total = builder.fadd(total, builder.load(other))
        number = _sum_of(builder, total)
        for k in range(count // lanes * lanes, count):
            number = builder.fadd(number, builder.load(builder.gep(given, [INT64(k)])))
        return number

    return signature, codegen


def _first_lanes(lanes: int, count: int) -> Any:
    """Which places of a vector are among the first `count`."""
    return ir.Constant(ir.VectorType(ir.IntType(1), lanes), [int(k < count) for k in range(lanes)])


def _sum_of(builder: Any, vector: Any) -> Any:
    """The sum of a vector's elements, in pairs."""
    element, lanes = vector.type.element, vector.type.count
    width = 32 if isinstance(element, ir.FloatType) else 64
    kind = ir.FunctionType(element, [element, vector.type])
    function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.vector.reduce.fadd.v{lanes}f{width}")
    return builder.call(function, [ir.Constant(element, 0.0), vector], fastmath=("reassoc",))
