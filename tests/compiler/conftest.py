"""Lets the tests here import `op_checks`, the cases of tests/ops, and the other folders of tests."""

import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS / "ops"), str(TESTS.parent)]
pytest.register_assert_rewrite("op_checks")
