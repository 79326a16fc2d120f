"""Lets the tests here import `op_checks`, what they have in common."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
pytest.register_assert_rewrite("op_checks")
