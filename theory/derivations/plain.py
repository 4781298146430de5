"""Formulas on one line for a terminal: Σ_c p_c q_c instead of five lines of box drawing."""

from typing import Any

import sympy as sp
from sympy.printing.pretty.pretty_symbology import pretty_symbol
from sympy.printing.str import StrPrinter

from theory.derivations.symbols import PRINTED

SUPERSCRIPTS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


# Lines may break around + and -, nowhere else.
GLUE = "\N{NO-BREAK SPACE}"


class _Plain(StrPrinter):
    printmethod = "_rewardgap_plain"  # no expression brings its own rendering

    def _print_Symbol(self, symbol: sp.Symbol) -> str:
        return PRINTED[symbol][0] if symbol in PRINTED else pretty_symbol(symbol.name)

    def _print_Indexed(self, entry: sp.Indexed) -> str:
        name, indices = self._print(entry.base.label), [self._print(index) for index in entry.indices]
        return (
            f"{name}_{indices[0]}"
            if len(indices) == 1 and len(indices[0]) == 1
            else f"{name}[{f',{GLUE}'.join(indices)}]"
        )

    def _print_KroneckerDelta(self, match: sp.Expr) -> str:
        return f"1[{self._print(match.args[0])}{GLUE}={GLUE}{self._print(match.args[1])}]"

    def _print_Sum(self, total: sp.Sum) -> str:
        body = total.function
        inside = self._print(body)
        ranges = f",{GLUE}".join(f"{self._print(index)}≤{self._print(high)}" for index, _, high in total.limits)
        return f"Σ_({ranges}){GLUE}{f'({inside})' if body.is_Add else inside}"

    def _print_Derivative(self, derivative: sp.Derivative) -> str:
        variables = " ".join(f"∂{self._print(variable)}" for variable in derivative.variables)
        top = "∂" if len(derivative.variables) == 1 else f"∂{len(derivative.variables)}".translate(SUPERSCRIPTS)
        return f"{top}/{variables}{GLUE}[{self._print(derivative.expr)}]"

    def _print_Limit(self, limit: sp.Limit) -> str:
        body, variable, target, _ = limit.args
        return f"lim_({self._print(variable)} → {self._print(target)}){GLUE}[{self._print(body)}]"

    def _print_Infinity(self, _: Any) -> str:
        return "∞"

    def _print_Pow(self, power: sp.Pow, rational: bool = False) -> str:
        base, exponent = power.as_base_exp()
        if exponent.is_negative:
            return f"1/{self._factor(1 / power, last=False)}"
        if exponent == sp.Rational(1, 2):
            return f"√({self._print(base)})"
        raised = (
            str(exponent).translate(SUPERSCRIPTS) if exponent.is_Integer else f"^{self._factor(exponent, last=False)}"
        )
        return self._factor(base, last=False) + raised

    def _print_Add(self, total: sp.Add, order: Any = None) -> str:
        """Positive terms first, and sums last: whatever follows a Σ would seem to stand under it."""

        def place(term: sp.Expr) -> tuple[bool, bool]:
            return any(isinstance(factor, sp.Sum) for factor in sp.Mul.make_args(term)), term.could_extract_minus_sign()

        first, *rest = map(self._print, sorted(total.as_ordered_terms(), key=place))
        return first + "".join(f" - {term[1:]}" if term.startswith("-") else f" + {term}" for term in rest)

    def _print_Mul(self, product: sp.Mul) -> str:
        if product.could_extract_minus_sign():
            return f"-{self._factor(-product, last=True)}"
        above, below = sp.fraction(product)
        if below != 1:
            top = self._factor(above, last=False)
            return f"{top}/{self._factor(below, last=False)}"
        factors = sorted(product.as_ordered_factors(), key=lambda factor: isinstance(factor, sp.Sum))
        return GLUE.join(self._factor(factor, last=factor is factors[-1]) for factor in factors)

    def _print_exp(self, power: sp.Expr) -> str:
        return f"exp({self._print(power.args[0])})"

    _print_ExpBase = _print_exp

    def _print_Function(self, call: sp.Expr) -> str:
        return f"{pretty_symbol(call.func.__name__)}({', '.join(map(self._print, call.args))})"

    def _print_log(self, logarithm: sp.Expr) -> str:
        return f"ln({self._print(logarithm.args[0])})"

    def _factor(self, factor: sp.Expr, *, last: bool) -> str:
        text = self._print(factor)
        enclosed = factor.is_Add or (isinstance(factor, sp.Sum | sp.Mul) and not last and GLUE in text)
        return f"({text})" if enclosed else text


def plain(expression: Any) -> str:
    """One line of Unicode, with no-break spaces where it should not be wrapped."""
    return _Plain().doprint(expression)
