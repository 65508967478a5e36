"""Inner products and weighted sums of four scattered vectors at a time, in vector registers.

The compiler makes vectors of such loops too, but asks before each whether the arrays overlap, and for vectors of 64 numbers
the questions take longer than the work. Addresses are plain integers, as in ``tiles``; lengths count whole registers of
``LANES`` float32, and what is left over is the caller's.
"""

# ruff: noqa: ARG001 - numba reads the parameters' names; the code is built from the values that it passes on

from __future__ import annotations

from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]  # it has no types
from numba import types
from numba.core import cgutils

from tastemaker.models.tiles import LANES, LONG, REAL, VECTOR, WORD, add_product, pointer, splat, written

FOUR = 4
LINE = 64  # bytes of a cache line


def loaded(builder: ir.IRBuilder, address: ir.Value, vector: ir.Value) -> ir.Value:
    return builder.load(pointer(builder, address, builder.mul(vector, LONG(LANES)), VECTOR), align=4)


def sum_of(builder: ir.IRBuilder, vector: ir.Value) -> ir.Value:
    """Of the lanes, by halves: lane i and lane i + half are added until one is left."""
    width = LANES
    while width > 1:
        width //= 2
        shape = ir.Constant(ir.VectorType(WORD, width), list(range(width)))
        other = ir.Constant(ir.VectorType(WORD, width), list(range(width, 2 * width)))
        nothing = ir.Constant(vector.type, ir.Undefined)
        vector = builder.fadd(builder.shuffle_vector(vector, nothing, shape), builder.shuffle_vector(vector, nothing, other))
    return builder.extract_element(vector, WORD(0))


@written
def four_dots(typing: Any, q0: Any, q1: Any, q2: Any, q3: Any, x: Any, vectors: Any) -> Any:
    """Inner products of four vectors with x. At least one register."""

    def build(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        *rows, other, count = arguments
        before, loop, after = builder.block, builder.append_basic_block("dots"), builder.append_basic_block("dotted")
        builder.branch(loop)
        builder.position_at_end(loop)
        step = builder.phi(LONG)
        step.add_incoming(LONG(0), before)
        sums = [builder.phi(VECTOR) for _ in rows]
        values = loaded(builder, other, step)
        news = [add_product(builder, loaded(builder, row, step), values, old) for row, old in zip(rows, sums, strict=True)]
        following = builder.add(step, LONG(1))
        step.add_incoming(following, loop)
        for old, new in zip(sums, news, strict=True):
            old.add_incoming(ir.Constant(VECTOR, [0.0] * LANES), before)
            old.add_incoming(new, loop)
        builder.cbranch(builder.icmp_signed("<", following, count), loop, after)
        builder.position_at_end(after)
        return context.make_tuple(builder, signature.return_type, [sum_of(builder, new) for new in news])

    four: Any = types.UniTuple
    return four(types.float32, FOUR)(*[types.int64] * 6), build


@written
def subtract_four(
    typing: Any, q0: Any, q1: Any, q2: Any, q3: Any, s0: Any, s1: Any, s2: Any, s3: Any, total: Any, vectors: Any
) -> Any:
    """total -= s0 q0 + s1 q1 + s2 q2 + s3 q3. At least one register."""

    def build(context: Any, builder: ir.IRBuilder, _signature: Any, arguments: Any) -> ir.Value:
        rows, shares, (target, count) = arguments[:FOUR], arguments[FOUR : 2 * FOUR], arguments[2 * FOUR :]
        wide = [splat(builder, builder.fsub(REAL(-0.0), share)) for share in shares]
        before, loop, after = builder.block, builder.append_basic_block("sums"), builder.append_basic_block("summed")
        builder.branch(loop)
        builder.position_at_end(loop)
        step = builder.phi(LONG)
        step.add_incoming(LONG(0), before)
        value = loaded(builder, target, step)
        for row, share in zip(rows, wide, strict=True):
            value = add_product(builder, loaded(builder, row, step), share, value)
        builder.store(value, pointer(builder, target, builder.mul(step, LONG(LANES)), VECTOR), align=4)
        following = builder.add(step, LONG(1))
        step.add_incoming(following, loop)
        builder.cbranch(builder.icmp_signed("<", following, count), loop, after)
        builder.position_at_end(after)
        return context.get_dummy_value()

    arguments = [types.int64] * FOUR + [types.float32] * FOUR + [types.int64] * 2
    return types.void(*arguments), build


@written
def fetch_ahead(typing: Any, address: Any) -> Any:
    """Asks for the cache line of an address, and waits for nothing."""

    def build(context: Any, builder: ir.IRBuilder, _signature: Any, arguments: Any) -> ir.Value:
        place = ir.IntType(8).as_pointer()
        signature = ir.FunctionType(ir.VoidType(), [place, WORD, WORD, WORD])
        function: Any = cgutils.get_or_insert_function
        prefetch = function(builder.module, signature, "llvm.prefetch.p0")
        builder.call(prefetch, [builder.inttoptr(arguments[0], place), WORD(0), WORD(3), WORD(1)])
        return context.get_dummy_value()

    return types.void(types.int64), build
