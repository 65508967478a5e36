"""Products of small blocks of matrices that stay in registers: what numba's loops and BLAS cannot be told to do.

A tile is ``ROWS`` x ``WIDTH`` inner products, added up in vector registers over the whole depth and looked at before they
are written anywhere. BLAS must write every score to memory for somebody else to read; here most scores of a catalogue are
compared with a bar and forgotten. The code is LLVM's own language with fixed vector widths, so that it becomes AVX-512,
AVX2 or NEON as the machine has it. Each product is added up in order of depth: its bits depend on its two vectors alone.

Addresses are plain integers, ``array.ctypes.data`` plus 4 bytes a number: the caller keeps the arrays alive and inside
their bounds.
"""

# ruff: noqa: ARG001 - numba reads the parameters' names; the code is built from the values that it passes on

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import llvmlite.binding  # type: ignore[import-untyped]  # it has no types
import numba
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic


def vector_lanes() -> int:
    """Floats in a vector register that the compiler may use: 16 with AVX-512, else 8 (two registers, where they hold 4)."""
    named = numba.config.CPU_FEATURES  # type: ignore[attr-defined]  # numba sets it from the environment
    wide = "+avx512f" in named if named is not None else llvmlite.binding.get_host_cpu_features().get("avx512f", False)
    return 16 if wide else 8


LANES = vector_lanes()
VECTORS = 2
ROWS = 12 if LANES == 16 else 6  # with two vectors each and their operands, all registers but a few
WIDTH = VECTORS * LANES

REAL, LONG, WORD = ir.FloatType(), ir.IntType(64), ir.IntType(32)
VECTOR = ir.VectorType(REAL, LANES)


def written(code: Callable[..., Any]) -> Callable[..., Any]:
    """A function of kernels whose code is given; numba's own types count the typing context among a call's arguments."""
    made: Callable[..., Any] = intrinsic(code)
    return made


def add_product(builder: ir.IRBuilder, a: ir.Value, b: ir.Value, c: ir.Value) -> ir.Value:
    """a * b + c, in one instruction where there is one."""
    function: Any = cgutils.get_or_insert_function
    signature = ir.FunctionType(VECTOR, [VECTOR] * 3)
    return builder.call(function(builder.module, signature, f"llvm.fmuladd.v{LANES}f32"), [a, b, c])


def pointer(builder: ir.IRBuilder, address: ir.Value, index: ir.Value, kind: ir.Type) -> ir.Value:
    """The place of the ``index``-th float32 after an address."""
    place = builder.add(address, builder.mul(index, LONG(4)))
    return builder.inttoptr(place, kind.as_pointer())


def splat(builder: ir.IRBuilder, value: ir.Value) -> ir.Value:
    first = builder.insert_element(ir.Constant(VECTOR, ir.Undefined), value, WORD(0))
    return builder.shuffle_vector(first, ir.Constant(VECTOR, ir.Undefined), ir.Constant(ir.VectorType(WORD, LANES), [0] * LANES))


def products(builder: ir.IRBuilder, a: ir.Value, a_step: ir.Value, b: ir.Value, b_step: ir.Value, depth: ir.Value) -> Any:
    """[row][vector]: sum over c < depth of a[c * a_step + row] * b[c * b_step + column]. Depth is at least 1."""
    before, loop, after = builder.block, builder.append_basic_block("depth"), builder.append_basic_block("done")
    zero = ir.Constant(VECTOR, [0.0] * LANES)
    builder.branch(loop)
    builder.position_at_end(loop)
    step = builder.phi(LONG)
    step.add_incoming(LONG(0), before)
    sums = [[builder.phi(VECTOR) for _ in range(VECTORS)] for _ in range(ROWS)]
    a_at, b_at = builder.mul(step, a_step), builder.mul(step, b_step)
    columns = [
        builder.load(pointer(builder, b, builder.add(b_at, LONG(vector * LANES)), VECTOR), align=4) for vector in range(VECTORS)
    ]
    added = []
    for row in range(ROWS):
        value = splat(builder, builder.load(pointer(builder, a, builder.add(a_at, LONG(row)), REAL), align=4))
        added.append([add_product(builder, value, column, old) for column, old in zip(columns, sums[row], strict=True)])
    following = builder.add(step, LONG(1))
    step.add_incoming(following, loop)
    for olds, news in zip(sums, added, strict=True):
        for old, new in zip(olds, news, strict=True):
            old.add_incoming(zero, before)
            old.add_incoming(new, loop)
    builder.cbranch(builder.icmp_signed("<", following, depth), loop, after)
    builder.position_at_end(after)
    return added


def store(builder: ir.IRBuilder, found: Any, out: ir.Value) -> None:
    for row in range(ROWS):
        for vector in range(VECTORS):
            place = pointer(builder, out, LONG(row * WIDTH + vector * LANES), VECTOR)
            builder.store(found[row][vector], place, align=4)


@written
def multiply(typing: Any, a: Any, a_step: Any, b: Any, b_step: Any, depth: Any, out: Any) -> Any:
    """Writes the tile's products to out, (ROWS, WIDTH)."""

    def build(_context: Any, builder: ir.IRBuilder, _signature: Any, arguments: Any) -> ir.Value:
        *operands, target = arguments
        store(builder, products(builder, *operands), target)
        return _context.get_dummy_value()

    return types.void(*[types.int64] * 6), build


@written
def multiply_above(typing: Any, a: Any, a_step: Any, b: Any, b_step: Any, depth: Any, bars: Any, out: Any, masks: Any) -> Any:
    """Whether any row has a product that is not below its bar, (ROWS,) float32; NaN is not below.

    If there are any, writes the products to out, (ROWS, WIDTH), and which of a row's they are, as bits, to masks,
    (ROWS,) int64. Otherwise writes nothing.
    """

    def build(_context: Any, builder: ir.IRBuilder, _signature: Any, arguments: Any) -> ir.Value:
        *operands, bar, target, mask = arguments
        found = products(builder, *operands)
        bits = [
            passing(builder, found[row], builder.load(pointer(builder, bar, LONG(row), REAL), align=4)) for row in range(ROWS)
        ]
        everything = bits[0]
        for each in bits[1:]:
            everything = builder.or_(everything, each)
        some = builder.icmp_unsigned("!=", everything, LONG(0))
        with builder.if_then(some, likely=False):
            store(builder, found, target)
            for row in range(ROWS):
                place = builder.inttoptr(builder.add(mask, LONG(8 * row)), LONG.as_pointer())
                builder.store(bits[row], place, align=8)
        return builder.zext(some, LONG)

    return types.int64(*[types.int64] * 8), build


def passing(builder: ir.IRBuilder, vectors: Any, bar: ir.Value) -> ir.Value:
    """A bit for each column whose product is not below the bar."""
    limit, bits = splat(builder, bar), LONG(0)
    for vector, values in enumerate(vectors):
        flags = builder.fcmp_unordered(">=", values, limit)
        word = builder.zext(builder.bitcast(flags, ir.IntType(LANES)), LONG)
        bits = builder.or_(bits, builder.shl(word, LONG(vector * LANES)))
    return bits


@written
def lowest_bit(typing: Any, word: Any) -> Any:
    """The number of the lowest bit that is set; the word is not zero."""

    def build(_context: Any, builder: ir.IRBuilder, _signature: Any, arguments: Any) -> ir.Value:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.int64), build
