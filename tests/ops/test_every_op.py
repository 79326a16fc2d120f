"""Every op, on cases derived from the op itself: a new op is tested by being there."""

import pytest
from op_checks import (
    Case,
    all_cases,
    cases_of,
    check_complete,
    check_complex_step,
    check_first_derivative,
    check_float32,
    check_float32_beside_numbers,
    check_gradients_are_ones_own,
    check_graph,
    check_inputs_unchanged,
    check_memory_is_freed,
    check_second_derivative,
    check_symbolic_batches,
    check_values,
    derivable_cases,
    ops,
)

from chainrule.ops.families import Elementwise
from chainrule.ops.op import Op

every_op = pytest.mark.parametrize("op", ops(), ids=lambda op: op.name)
every_case = pytest.mark.parametrize("case", all_cases(), ids=str)
every_derivable_case = pytest.mark.parametrize("case", derivable_cases(), ids=str)


@every_op
def test_an_op_is_complete(op: type[Op]) -> None:
    check_complete(op)


@every_case
def test_values_are_those_of_the_reference(case: Case) -> None:
    check_values(case)


@every_derivable_case
def test_gradients_are_those_of_central_differences(case: Case) -> None:
    check_first_derivative(case)


@every_op
def test_analytic_ops_agree_with_the_complex_step_to_rounding(op: type[Op]) -> None:
    for case in cases_of(op):
        if case.floats and not op.no_gradient:
            check_complex_step(case)


def test_the_complex_step_reaches_most_ops() -> None:
    reached = {case.op.name for case in derivable_cases() if check_complex_step(case)}
    assert len(reached) >= 0.7 * len({case.op.name for case in derivable_cases()}), sorted(reached)


@every_derivable_case
def test_second_derivatives_are_those_of_central_differences(case: Case) -> None:
    check_second_derivative(case)


@every_case
def test_float32_is_kept(case: Case) -> None:
    if all(getattr(x, "size", 1) for x in case.inputs):
        check_float32(case)


@pytest.mark.parametrize("op", [op for op in ops() if issubclass(op, Elementwise)], ids=lambda op: op.name)
def test_float32_is_kept_beside_numbers(op: type[Op]) -> None:
    for case in cases_of(op):
        if all(getattr(x, "size", 1) for x in case.inputs):
            check_float32_beside_numbers(case)


@every_case
def test_inputs_are_not_changed_and_may_be_read_only(case: Case) -> None:
    check_inputs_unchanged(case)


@every_derivable_case
def test_gradients_belong_to_the_caller_alone(case: Case) -> None:
    check_gradients_are_ones_own(case)


@every_case
def test_a_graph_computes_what_eager_mode_does(case: Case) -> None:
    check_graph(case)


@every_op
def test_a_graph_with_a_symbolic_batch_holds_for_every_batch_size(op: type[Op]) -> None:
    check_symbolic_batches(op)


@every_derivable_case
def test_memory_is_freed_with_its_last_user(case: Case) -> None:
    check_memory_is_freed(case)
