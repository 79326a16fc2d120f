"""Lets the tests here import `op_checks`, the cases of tests/ops, too."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "ops"))
pytest.register_assert_rewrite("op_checks")
