"""A graph as mathematics: a derivation, line by line with its rules, as LaTeX or as a page with MathML."""
