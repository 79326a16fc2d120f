"""Programs as data: recording them, deriving them, and (later) rewriting and printing them as code and mathematics."""

from chainrule.graph.derivative import derive as derive
from chainrule.graph.graph import Equation as Equation
from chainrule.graph.graph import Graph as Graph
from chainrule.graph.graph import Variable as Variable
from chainrule.graph.tracing import Symbol as Symbol
from chainrule.graph.tracing import trace as trace
