"""What generated Numba code calls that Python cannot say: a BLAS product with any leading dimensions, products with
rows of which only the non-zero elements are listed, and a barrier for the threads that share a step.

These are intrinsics: they write LLVM instructions into the function that calls them, and have no Python version.
"""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from llvmlite.binding import get_host_cpu_features
from numba import types
from numba.core import cgutils
from numba.core.registry import cpu_target
from numba.extending import intrinsic

INT64 = ir.IntType(64)
_BYTES = ir.IntType(8).as_pointer()
# Vectors of 64 bytes that are kept in registers while a row's list is gone through; AVX2 takes two registers for each.
REGISTERS = 24 if get_host_cpu_features().get("avx512f") else 6
SLACK = _LANES = 32  # bytes that are listed at once: their columns fill a register
_CHAINS = 8  # sums that are carried at once, so that none waits for its own last addition


def data_of(context: Any, builder: Any, array_type: Any, array: Any) -> Any:
    """The pointer to an array's first element."""
    return context.make_array(array_type)(context, builder, array).data


def row_size(context: Any, builder: Any, array_type: Any, array: Any) -> Any:
    """How many elements lie between the beginnings of two rows of a matrix."""
    strides = cgutils.unpack_tuple(builder, context.make_array(array_type)(context, builder, array).strides)
    return builder.sdiv(strides[0], INT64(array_type.dtype.bitwidth // 8))


@intrinsic
def gemm(
    context: Any,
    transpose_a: Any,
    transpose_b: Any,
    m: Any,
    n: Any,
    k: Any,
    alpha: Any,
    a: Any,
    b: Any,
    beta: Any,
    c: Any,
) -> Any:
    """C ← α op(A) op(B) + β C by BLAS, for row-major arrays, which may be parts of larger ones.

    op(A) is (m, k), op(B) is (k, n), C is (m, n). BLAS stores by columns, so it is asked for Cᵀ = op(B)ᵀ op(A)ᵀ.
    [BLAS: Dongarra et al. 1990]
    """
    kind = {types.float32: ord("s"), types.float64: ord("d")}[c.dtype]
    signature = types.int32(transpose_a, transpose_b, m, n, k, c.dtype, a, b, c.dtype, c)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        ta, tb, m, n, k, alpha, _, _, beta, _ = args
        char, i32 = ir.IntType(8), ir.IntType(32)
        parameters = [char] * 3 + [INT64] * 3 + [_BYTES, _BYTES, INT64, _BYTES, INT64, _BYTES, _BYTES, INT64]
        function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(i32, parameters), "numba_xxgemm")

        def flag(value: Any) -> Any:
            return builder.select(cgutils.is_true(builder, value), char(ord("t")), char(ord("n")))

        def address(value: Any) -> Any:
            return builder.bitcast(cgutils.alloca_once_value(builder, value), _BYTES)

        def matrix(i: int) -> tuple[Any, Any]:
            data = builder.bitcast(data_of(context, builder, signature.args[i], args[i]), _BYTES)
            return data, row_size(context, builder, signature.args[i], args[i])

        sizes = char(kind), flag(tb), flag(ta), n, m, k
        return builder.call(function, [*sizes, address(alpha), *matrix(7), *matrix(6), address(beta), *matrix(9)])

    return signature, codegen


def _passes(width: int, itemsize: int) -> list[list[tuple[int, int]]]:
    """A row of `width` elements in pieces (first, length) that are vectors; as many in each pass as registers hold."""
    pieces, first, length = [], 0, 64 // itemsize
    while first < width:
        while length > width - first:
            length //= 2
        pieces.append((first, length))
        first += length
    return [pieces[i : i + REGISTERS] for i in range(0, len(pieces), REGISTERS)]


def splat(builder: Any, vector: Any, value: Any) -> Any:
    """A vector with the value in every place."""
    undefined = ir.Constant(vector, ir.Undefined)
    places = ir.Constant(ir.VectorType(ir.IntType(32), vector.count), [0] * vector.count)
    return builder.shuffle_vector(builder.insert_element(undefined, value, ir.IntType(32)(0)), undefined, places)


class _Nonzeros:
    """The listed elements of a row, gone through by a loop in LLVM instructions, up to a limit on the columns."""

    def __init__(self, context: Any, builder: Any, signature: Any, args: Any, element: Any) -> None:
        self.builder, self.element = builder, element
        self.columns = data_of(context, builder, signature.args[0], args[0])
        self.values = data_of(context, builder, signature.args[1], args[1])
        self.first, self.last = args[2], args[3]
        self.integers = isinstance(signature.args[1].dtype, types.Integer)

    def each(
        self, carried: list[Any], body: Callable[[Any, Any, list[Any]], list[Any]], limit: Any = None
    ) -> tuple[Any, list[Any]]:
        """`carried = body(column, value, carried)` for each element; where the loop ended, and the last `carried`."""
        builder = self.builder
        names = ("here", "each", "done")
        entry, (here, each, done) = builder.block, map(builder.append_basic_block, names)
        builder.branch(here)
        builder.position_at_end(here)
        place, inside = builder.phi(INT64), [builder.phi(x.type) for x in carried]
        inner = builder.append_basic_block("column") if limit is not None else each
        builder.cbranch(builder.icmp_signed("<", place, self.last), inner, done)
        builder.position_at_end(inner)
        column = builder.zext(builder.load(builder.gep(self.columns, [place])), INT64)
        if limit is not None:
            builder.cbranch(builder.icmp_signed("<", column, limit), each, done)
            builder.position_at_end(each)
        value = builder.load(builder.gep(self.values, [place]))
        if self.integers:
            value = builder.uitofp(value, self.element)
        new = body(column, value, inside)
        for phi, begin, end in zip([place, *inside], [self.first, *carried], [None, *new], strict=True):
            phi.add_incoming(begin, entry)
            phi.add_incoming(builder.add(place, INT64(1)) if end is None else end, builder.block)
        builder.branch(here)
        builder.position_at_end(done)
        return place, inside


def place_of(builder: Any, row: Any, start: int, vector: Any) -> Any:
    """Where a vector of a row begins, as a pointer to a vector."""
    return builder.bitcast(builder.gep(row, [INT64(start)]), vector.as_pointer())


def load_vector(builder: Any, row: Any, start: int, vector: Any, itemsize: int) -> Any:
    """A vector of a row, which need not begin at a multiple of its size."""
    return builder.load(place_of(builder, row, start, vector), align=itemsize)


def multiply_add(builder: Any, a: Any, b: Any, c: Any) -> Any:
    """a · b + c in one instruction, where the processor has it."""
    return builder.fadd(c, builder.fmul(a, b, flags=("contract",)), flags=("contract",))


@intrinsic(prefer_literal=True)
def nonzeros_times_matrix(
    context: Any, columns: Any, values: Any, first: Any, last: Any, matrix: Any, out: Any, begin: Any, width: Any
) -> Any:
    """out[begin : begin + width] ← Σ values[k] · matrix[columns[k], begin : begin + width] over k in first..last-1.

    `width` is a literal. The sum stays in registers, so that each element of the matrix is read once and nothing else.
    """
    itemsize = matrix.dtype.bitwidth // 8
    passes = _passes(width.literal_value, itemsize)
    signature = types.void(columns, values, first, last, matrix, out, types.intp, width)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        element = context.get_value_type(matrix.dtype)
        given = _Nonzeros(context, builder, signature, args, element)
        rows = builder.gep(data_of(context, builder, signature.args[4], args[4]), [args[6]])
        result = builder.gep(data_of(context, builder, signature.args[5], args[5]), [args[6]])
        size = row_size(context, builder, signature.args[4], args[4])
        for pieces in passes:
            vectors = [ir.VectorType(element, count) for _, count in pieces]

            def add(column: Any, value: Any, sums: list[Any], pieces: Any = pieces, vectors: Any = vectors) -> Any:
                row = builder.gep(rows, [builder.mul(column, size)])
                new = []
                for (start, _), vector, total in zip(pieces, vectors, sums, strict=True):
                    x = load_vector(builder, row, start, vector, itemsize)
                    new.append(multiply_add(builder, splat(builder, vector, value), x, total))
                return new

            _, sums = given.each([ir.Constant(vector, None) for vector in vectors], add)
            for (start, _), total in zip(pieces, sums, strict=True):
                builder.store(total, place_of(builder, result, start, total.type), align=itemsize)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic(prefer_literal=True)
def add_nonzeros_outer_row(
    context: Any,
    columns: Any,
    values: Any,
    first: Any,
    last: Any,
    limit: Any,
    factor: Any,
    row: Any,
    matrix: Any,
    begin: Any,
    width: Any,
) -> Any:
    """matrix[columns[k], begin : begin + width] += factor · values[k] · row[begin : begin + width], k in first..last-1.

    It goes only as far as the columns are below `limit`, and returns the k that it has come to. `width` is a literal;
    that piece of the row stays in registers.
    """
    itemsize = matrix.dtype.bitwidth // 8
    (pieces,) = _passes(width.literal_value, itemsize)
    signature = types.intp(columns, values, first, last, types.intp, matrix.dtype, row, matrix, types.intp, width)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        element = context.get_value_type(matrix.dtype)
        given = _Nonzeros(context, builder, signature, args, element)
        source = builder.gep(data_of(context, builder, signature.args[6], args[6]), [args[8]])
        rows = builder.gep(data_of(context, builder, signature.args[7], args[7]), [args[8]])
        size = row_size(context, builder, signature.args[7], args[7])
        vectors = [ir.VectorType(element, count) for _, count in pieces]
        scaled = [
            builder.fmul(load_vector(builder, source, start, vector, itemsize), splat(builder, vector, args[5]))
            for (start, _), vector in zip(pieces, vectors, strict=True)
        ]

        def add(column: Any, value: Any, _: list[Any]) -> list[Any]:
            target = builder.gep(rows, [builder.mul(column, size)])
            for (start, _length), vector, x in zip(pieces, vectors, scaled, strict=True):
                before = load_vector(builder, target, start, vector, itemsize)
                new = multiply_add(builder, splat(builder, vector, value), x, before)
                builder.store(new, place_of(builder, target, start, vector), align=itemsize)
            return []

        place, _ = given.each([], add, args[4])
        return place

    return signature, codegen


@intrinsic(prefer_literal=True)
def row_times_matrix(context: Any, row: Any, matrix: Any, out: Any, width: Any) -> Any:
    """out[:width] ← Σ row[k] · matrix[k, :width] over the rows of the matrix: sooner done than BLAS is called.

    `width` is a literal. The sum stays in registers.
    """
    itemsize = matrix.dtype.bitwidth // 8
    passes = _passes(width.literal_value, itemsize)
    signature = types.void(row, matrix, out, width)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        element = context.get_value_type(matrix.dtype)
        values, rows, result = (data_of(context, builder, signature.args[i], args[i]) for i in range(3))
        size = row_size(context, builder, signature.args[1], args[1])
        shape = context.make_array(signature.args[1])(context, builder, args[1]).shape
        count = cgutils.unpack_tuple(builder, shape)[0]
        for pieces in passes:
            vectors = [ir.VectorType(element, length) for _, length in pieces]
            chains = max(1, _CHAINS // len(pieces))
            sums = [[cgutils.alloca_once_value(builder, ir.Constant(v, None)) for v in vectors] for _ in range(chains)]

            def add(k: Any, totals: list[Any], pieces: Any = pieces, vectors: Any = vectors) -> None:
                value = builder.load(builder.gep(values, [k]))
                place = builder.gep(rows, [builder.mul(k, size)])
                for (start, _), vector, total in zip(pieces, vectors, totals, strict=True):
                    x = load_vector(builder, place, start, vector, itemsize)
                    new = multiply_add(builder, splat(builder, vector, value), x, builder.load(total))
                    builder.store(new, total)

            whole = builder.mul(builder.sdiv(count, INT64(chains)), INT64(chains))
            with cgutils.for_range_slice(builder, INT64(0), whole, INT64(chains)) as (k, _):
                for chain, totals in enumerate(sums):
                    add(builder.add(k, INT64(chain)), totals)
            with cgutils.for_range_slice(builder, whole, count, INT64(1)) as (k, _):
                add(k, sums[0])
            for (start, _), vector, *totals in zip(pieces, vectors, *sums, strict=True):
                total = builder.load(totals[0])
                for other in totals[1:]:
                    total = builder.fadd(total, builder.load(other))
                builder.store(total, place_of(builder, result, start, vector), align=itemsize)
        return context.get_dummy_value()

    return signature, codegen


def compresses() -> bool:
    """Whether code is made for a processor with an instruction that closes the gaps in a vector of bytes."""
    features = cpu_target.target_context.codegen().magic_tuple()[2].split(",")
    return {"+avx512vbmi2", "+avx512vl"} <= set(features)


@intrinsic
def list_bytes(context: Any, row: Any, begin: Any, end: Any, columns: Any, values: Any, place: Any) -> Any:
    """List row[begin:end], columns and values of the bytes that are not zero, from `place` on; where the list ends.

    Only where the processor `compresses`. What is written reaches up to `SLACK` elements beyond the end.
    """
    signature = types.int64(row, types.int64, types.int64, columns, values, types.int64)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        i16, i32, bits = ir.IntType(16), ir.IntType(32), ir.IntType(_LANES)
        bools, bytes_, shorts = (ir.VectorType(element, _LANES) for element in (ir.IntType(1), ir.IntType(8), i16))
        zeros, lanes = ir.Constant(bytes_, None), ir.Constant(shorts, list(range(_LANES)))
        source, into, out = (data_of(context, builder, signature.args[i], args[i]) for i in (0, 3, 4))

        def call(name: str, vector: Any, *given: Any) -> Any:
            kind = ir.FunctionType(vector, [x.type for x in given])
            return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), given)

        def store(vector: Any, present: Any, target: Any) -> None:
            name = f"llvm.x86.avx512.mask.compress.v{_LANES}i{vector.type.element.width}"
            closed = call(name, vector.type, vector, ir.Constant(vector.type, None), present)
            to = builder.bitcast(builder.gep(target, [builder.load(at)]), vector.type.as_pointer())
            builder.store(closed, to, align=vector.type.element.width // 8)

        at = cgutils.alloca_once_value(builder, args[5])
        with cgutils.for_range_slice(builder, args[1], args[2], INT64(_LANES)) as (first, _):
            rest = builder.sub(args[2], first)
            beyond = builder.sub(INT64(_LANES), rest)
            beyond = builder.select(builder.icmp_signed(">", beyond, INT64(0)), beyond, INT64(0))
            inside = builder.bitcast(builder.lshr(bits(-1), builder.trunc(beyond, bits)), bools)
            start = builder.bitcast(builder.gep(source, [first]), bytes_.as_pointer())
            found = call(f"llvm.masked.load.v{_LANES}i8.p0", bytes_, start, i32(1), inside, zeros)
            present = builder.icmp_unsigned("!=", found, zeros)
            store(found, present, out)
            store(builder.add(lanes, splat(builder, shorts, builder.trunc(first, i16))), present, into)
            count = builder.ctpop(builder.bitcast(present, bits))
            builder.store(builder.add(builder.load(at), builder.zext(count, INT64)), at)
        return builder.load(at)

    return signature, codegen


@intrinsic
def pointer(context: Any, address: Any) -> Any:
    """A number as the place of an array in memory, for `numba.carray`."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.inttoptr(args[0], _BYTES)

    return types.voidptr(types.int64), codegen


@intrinsic
def prefetch(context: Any, array: Any, place: Any) -> Any:
    """Ask for the memory of an element that will be read soon; it may lie beyond the end."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        i32 = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [_BYTES, i32, i32, i32])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        pointer = builder.gep(data_of(context, builder, signature.args[0], args[0]), [args[1]])
        builder.call(function, [builder.bitcast(pointer, _BYTES), i32(0), i32(3), i32(1)])
        return context.get_dummy_value()

    return types.void(array, types.intp), codegen


@intrinsic
def arrive(context: Any, counter: Any) -> Any:
    """Count up by one, seen by all threads; the count before."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.atomic_rmw("add", data_of(context, builder, signature.args[0], args[0]), INT64(1), "seq_cst")

    return types.int64(counter), codegen


@intrinsic
def arrived(context: Any, counter: Any) -> Any:
    """The count, as all threads have left it."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load_atomic(data_of(context, builder, signature.args[0], args[0]), "seq_cst", 8)

    return types.int64(counter), codegen


give_way = types.ExternalFunction("sched_yield", types.int32())
