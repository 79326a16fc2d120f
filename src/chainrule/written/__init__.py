"""A graph as people write it: as NumPy code and as mathematics."""

from chainrule.written.program import Longhand as Longhand
from chainrule.written.program import longhand as longhand
