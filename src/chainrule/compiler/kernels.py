"""What generated Numba code calls that Python cannot say: a BLAS product with any leading dimensions, products with
rows of which only the non-zero elements are listed, and a barrier for the threads that share a step.

These are intrinsics: they write LLVM instructions into the function that calls them, and have no Python version.
"""

from collections.abc import Callable, Iterator
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

_INT64 = ir.IntType(64)
_BYTES = ir.IntType(8).as_pointer()
_BLOCK = 512  # bytes of a row that are kept in registers at a time: 8 of AVX-512, 16 of AVX2


def _data(context: Any, builder: Any, array_type: Any, array: Any) -> Any:
    """The pointer to an array's first element."""
    return context.make_array(array_type)(context, builder, array).data


@intrinsic
def gemm(
    context: Any, transpose_a: Any, transpose_b: Any, m: Any, n: Any, k: Any, alpha: Any, a: Any, lda: Any, b: Any,
    ldb: Any, beta: Any, c: Any, ldc: Any
) -> Any:  # fmt: skip
    """C ← α op(A) op(B) + β C by BLAS, for row-major arrays with rows of lda, ldb and ldc elements.

    op(A) is (m, k), op(B) is (k, n), C is (m, n). BLAS stores by columns, so it is asked for Cᵀ = op(B)ᵀ op(A)ᵀ.
    [BLAS: Dongarra et al. 1990]
    """
    kind = {types.float32: ord("s"), types.float64: ord("d")}[c.dtype]
    signature = types.int32(transpose_a, transpose_b, m, n, k, c.dtype, a, lda, b, ldb, c.dtype, c, ldc)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc = args
        char, i32 = ir.IntType(8), ir.IntType(32)
        parameters = [char] * 3 + [_INT64] * 3 + [_BYTES, _BYTES, _INT64, _BYTES, _INT64, _BYTES, _BYTES, _INT64]
        function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(i32, parameters), "numba_xxgemm")

        def flag(value: Any) -> Any:
            return builder.select(cgutils.is_true(builder, value), char(ord("t")), char(ord("n")))

        def address(value: Any) -> Any:
            return builder.bitcast(cgutils.alloca_once_value(builder, value), _BYTES)

        a, b, c = (builder.bitcast(_data(context, builder, signature.args[i], args[i]), _BYTES) for i in (6, 8, 11))
        values = [char(kind), flag(tb), flag(ta), n, m, k, address(alpha), b, ldb, a, lda, address(beta), c, ldc]
        return builder.call(function, values)

    return signature, codegen


def _blocks(width: int, itemsize: int) -> Iterator[tuple[int, int]]:
    """A row of `width` elements as (first, length) of pieces whose lengths are powers of two."""
    first, length = 0, _BLOCK // itemsize
    while first < width:
        while length > width - first:
            length //= 2
        yield first, length
        first += length


def _splat(builder: Any, vector: Any, value: Any) -> Any:
    """A vector with the value in every place."""
    undefined = ir.Constant(vector, ir.Undefined)
    places = ir.Constant(ir.VectorType(ir.IntType(32), vector.count), [0] * vector.count)
    return builder.shuffle_vector(builder.insert_element(undefined, value, ir.IntType(32)(0)), undefined, places)


class _Nonzeros:
    """The listed elements of a row, gone through by a loop in LLVM instructions."""

    def __init__(self, context: Any, builder: Any, signature: Any, args: Any, element: Any) -> None:
        self.builder, self.element = builder, element
        self.columns = _data(context, builder, signature.args[0], args[0])
        self.values = _data(context, builder, signature.args[1], args[1])
        self.first, self.last = args[2], args[3]
        self.integers = isinstance(signature.args[1].dtype, types.Integer)

    def each(self, start: Any, body: Callable[[Any, Any, Any], Any]) -> Any:
        """`carried = body(column, value, carried)` for each element; the last `carried`. None carries nothing."""
        builder = self.builder
        entry, loop, done = builder.block, builder.append_basic_block("each"), builder.append_basic_block("done")
        builder.cbranch(builder.icmp_signed("<", self.first, self.last), loop, done)
        builder.position_at_end(loop)
        place = builder.phi(_INT64)
        place.add_incoming(self.first, entry)
        carried = None if start is None else builder.phi(start.type)
        if carried is not None:
            carried.add_incoming(start, entry)
        column = builder.zext(builder.load(builder.gep(self.columns, [place])), _INT64)
        value = builder.load(builder.gep(self.values, [place]))
        if self.integers:
            value = builder.uitofp(value, self.element)
        new = body(column, value, carried)
        following = builder.add(place, _INT64(1))
        place.add_incoming(following, loop)
        if carried is not None:
            carried.add_incoming(new, loop)
        builder.cbranch(builder.icmp_signed("<", following, self.last), loop, done)
        builder.position_at_end(done)
        if start is None:
            return None
        result = builder.phi(start.type)
        result.add_incoming(start, entry)
        result.add_incoming(new, loop)
        return result


def _multiply_add(builder: Any, a: Any, b: Any, c: Any) -> Any:
    return builder.fadd(c, builder.fmul(a, b, flags=("contract",)), flags=("contract",))


@intrinsic(prefer_literal=True)
def nonzeros_times_matrix(
    context: Any, columns: Any, values: Any, first: Any, last: Any, matrix: Any, out: Any, width: Any
) -> Any:
    """out[:width] ← Σ values[k] · matrix[columns[k], :width] over k in first..last-1; `width` is a literal.

    The sum stays in registers, so that each element of the matrix is read once and nothing else is.
    """
    length, itemsize = width.literal_value, matrix.dtype.bitwidth // 8
    signature = types.void(columns, values, first, last, matrix, out, width)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        element = context.get_value_type(matrix.dtype)
        given = _Nonzeros(context, builder, signature, args, element)
        rows = _data(context, builder, signature.args[4], args[4])
        result = _data(context, builder, signature.args[5], args[5])
        for begin, count in _blocks(length, itemsize):
            vector = ir.VectorType(element, count)

            def add(column: Any, value: Any, total: Any, vector: Any = vector, begin: int = begin) -> Any:
                place = builder.add(builder.mul(column, _INT64(length)), _INT64(begin))
                row = builder.bitcast(builder.gep(rows, [place]), vector.as_pointer())
                return _multiply_add(builder, _splat(builder, vector, value), builder.load(row, align=itemsize), total)

            total = given.each(ir.Constant(vector, None), add)
            target = builder.bitcast(builder.gep(result, [_INT64(begin)]), vector.as_pointer())
            builder.store(total, target, align=itemsize)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic(prefer_literal=True)
def add_nonzeros_outer_row(
    context: Any, columns: Any, values: Any, first: Any, last: Any, factor: Any, row: Any, matrix: Any, width: Any
) -> Any:
    """matrix[columns[k], :width] += factor · values[k] · row[:width] for k in first..last-1; `width` is a literal."""
    length, itemsize = width.literal_value, matrix.dtype.bitwidth // 8
    signature = types.void(columns, values, first, last, matrix.dtype, row, matrix, width)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        element = context.get_value_type(matrix.dtype)
        given = _Nonzeros(context, builder, signature, args, element)
        source = _data(context, builder, signature.args[5], args[5])
        rows = _data(context, builder, signature.args[6], args[6])
        for begin, count in _blocks(length, itemsize):
            vector = ir.VectorType(element, count)
            piece = builder.bitcast(builder.gep(source, [_INT64(begin)]), vector.as_pointer())
            scaled = builder.fmul(builder.load(piece, align=itemsize), _splat(builder, vector, args[4]))

            def add(
                column: Any, value: Any, _: Any, vector: Any = vector, begin: int = begin, scaled: Any = scaled
            ) -> None:
                place = builder.add(builder.mul(column, _INT64(length)), _INT64(begin))
                target = builder.bitcast(builder.gep(rows, [place]), vector.as_pointer())
                before = builder.load(target, align=itemsize)
                new = _multiply_add(builder, _splat(builder, vector, value), scaled, before)
                builder.store(new, target, align=itemsize)

            given.each(None, add)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def prefetch(context: Any, array: Any, place: Any) -> Any:
    """Ask for the memory of an element that will be read soon; it may lie beyond the end."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        i32 = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [_BYTES, i32, i32, i32])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        pointer = builder.gep(_data(context, builder, signature.args[0], args[0]), [args[1]])
        builder.call(function, [builder.bitcast(pointer, _BYTES), i32(0), i32(3), i32(1)])
        return context.get_dummy_value()

    return types.void(array, types.intp), codegen


@intrinsic
def arrive(context: Any, counter: Any) -> Any:
    """Count up by one, seen by all threads; the count before."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.atomic_rmw("add", _data(context, builder, signature.args[0], args[0]), _INT64(1), "seq_cst")

    return types.int64(counter), codegen


@intrinsic
def arrived(context: Any, counter: Any) -> Any:
    """The count, as all threads have left it."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load_atomic(_data(context, builder, signature.args[0], args[0]), "seq_cst", 8)

    return types.int64(counter), codegen


give_way = types.ExternalFunction("sched_yield", types.int32())
