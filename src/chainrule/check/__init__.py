"""Is this derivative right, ours or yours? A verdict, with the worst element and the likely cause; and probes that need
no derivative.
"""

from chainrule.check.checks import assert_backward as assert_backward
from chainrule.check.checks import backward as backward
from chainrule.check.checks import gradients as gradients
from chainrule.check.derivatives.asking import InputError as InputError
from chainrule.check.numeric import central_difference as central_difference
from chainrule.check.numeric import complex_step as complex_step
from chainrule.check.numeric import forward_difference as forward_difference
from chainrule.check.numeric import mean_relative_error as mean_relative_error
from chainrule.check.numeric import numerical_gradient as numerical_gradient
from chainrule.check.numeric import relative_error as relative_error
from chainrule.check.probing.run import Probe as Probe
from chainrule.check.probing.run import ProbeReport as ProbeReport
from chainrule.check.probing.run import probes as probes
from chainrule.check.subjects.interface import Subject as Subject
from chainrule.check.subjects.recognition import as_subject as as_subject
from chainrule.check.verdict import Cause as Cause
from chainrule.check.verdict import Finding as Finding
from chainrule.check.verdict import GradientError as GradientError
from chainrule.check.verdict import Report as Report
