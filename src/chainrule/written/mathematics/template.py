"""An op's `math`, LaTeX with the inputs' names in braces, read as a formula."""

import re
from collections.abc import Mapping

from chainrule.errors import ChainruleError
from chainrule.written.mathematics.formula import (
    Cases,
    Fence,
    Formula,
    Number,
    Relation,
    Root,
    Symbol,
    add,
    call,
    divide,
    multiply,
    negative,
    power,
    subtract,
)


class Template:
    """An op's `math` read as a formula: a small part of LaTeX, with the inputs' names in braces as places.

    sums, products side by side or with ``\\odot``, fractions, roots, powers, relations, ``\\lvert x \\rvert``, two
    cases, and functions: ``\\ln``, ``\\max(a, b)``, ``\\operatorname{softmax}(x)``.
    """

    def __init__(self, text: str, places: Mapping[str, Formula], elements: str) -> None:
        self.text, self.places, self.elements = text, places, elements
        names = "|".join(map(re.escape, places)) or "(?!)"
        pattern = rf"\{{(?:{names})\}}|\\[a-zA-Z]+|\\\\|\d+(?:\.\d+)?|\S"
        self.tokens, self.at = re.findall(pattern, text), 0

    def formula(self) -> Formula:
        """The whole template."""
        f = self._relation()
        if self.at < len(self.tokens):
            raise ChainruleError(f"'{self.tokens[self.at]}' in the mathematics '{self.text}' is not understood.")
        return f

    def _next(self) -> str:
        self.at += 1
        return self.tokens[self.at - 1] if self.at <= len(self.tokens) else ""

    def _peek(self) -> str:
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def _take(self, token: str) -> bool:
        if self._peek() == token:
            self.at += 1
            return True
        return False

    def _relation(self) -> Formula:
        left = self._sum()
        signs = {"=": "=", "<": "<", ">": ">", r"\ne": "≠", r"\le": "≤", r"\ge": "≥"}
        if self._peek() in signs:
            return Relation(left, signs[self._next()], self._sum())
        return left

    def _sum(self) -> Formula:
        f = negative(self._product()) if self._take("-") else self._product()
        while self._peek() in ("+", "-"):
            f = (add if self._next() == "+" else subtract)(f, self._product())
        return f

    def _product(self) -> Formula:
        f = self._factor()
        while self._peek() not in ("", "+", "-", ")", "}", ",", "&", r"\\", r"\rvert", r"\end", "=", "<", ">") and (
            self._peek() not in (r"\ne", r"\le", r"\ge")
        ):
            kind = self.elements if self._take(r"\odot") else "matrix"
            f = multiply(f, self._factor(), kind)
        return f

    def _factor(self) -> Formula:
        f = self._atom()
        while self._take("^"):
            f = power(f, self._group())
        return f

    def _group(self) -> Formula:
        if self._peek() == "{" and self._next():
            f = self._relation()
            self._next()
            return f
        return self._atom()

    def _atom(self) -> Formula:
        token = self._next()
        if token.startswith("{") and len(token) > 1:
            return self.places[token[1:-1]]
        if token == "{":
            self.at -= 1
            return self._group()
        if token == "(":
            f = self._relation()
            self._next()
            return f
        if token == r"\frac":
            return divide(self._group(), self._group())
        if token == r"\sqrt":
            return Root(self._group())
        if token == r"\lvert":
            f = self._relation()
            self._next()
            return Fence("|", f)
        if token == r"\begin":
            return self._cases()
        if token.startswith("\\"):
            return self._function(token)
        if token[:1].isdigit():
            return Number(float(token))
        return Symbol("e^", "e") if token == "e" else Symbol(token, token)

    def _cases(self) -> Formula:
        self.at += len("{cases}")
        yes = self._relation()
        self._next()  # &
        condition = self._relation()
        self._next()  # \\
        no = self._relation()
        self.at += 1 + len("{cases}")
        return Cases(condition, yes, no)

    def _function(self, token: str) -> Formula:
        name = {r"\sigma": "σ"}.get(token, token[1:])
        if token == r"\operatorname":
            self._next()
            name = ""
            while self._peek() != "}":
                name += self._next()
            self._next()
        if not self._take("("):
            return call(name, self._factor())
        arguments = [self._relation()]
        while self._take(","):
            arguments.append(self._relation())
        self._next()
        return call(name, *arguments)
