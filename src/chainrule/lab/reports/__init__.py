"""The reports that chainrule runs again, one readable file each; a file is imported when its report is asked for.

To add one, write a file that ends in `REPORT = Report(...)` and add its name to `KNOWN`.
"""

from __future__ import annotations

from importlib import import_module

from chainrule.errors import UnknownNameError
from chainrule.lab.experiment import Report

KNOWN = ("vu-a1", "ucsd-ece285", "vu-a2", "usc-ee541", "ntnu-tdt4265")


def load(name: str) -> Report:
    """Return the report with this name: `REPORT` in the file called the same. `UnknownNameError` if there is none."""
    if name not in KNOWN:
        raise UnknownNameError("report", name, KNOWN)
    report: Report = import_module(f"{__name__}.{name.replace('-', '_')}").REPORT
    return report
