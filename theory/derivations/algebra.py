"""Algebra with symbolic sizes: sums over a vocabulary of V words and a hidden state of D numbers, for any V and D.

sympy proves; it computes nothing that anybody uses. `evaluate` exists for checks alone: it puts numbers into a proven
expression so that it can be compared with the closed form that `theory` implements.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from itertools import permutations
from itertools import product as cartesian
from typing import Any

import numpy as np
import sympy as sp


def residual(left: sp.Expr, right: sp.Expr, given: Iterable[tuple[Any, Any]] = ()) -> sp.Expr:
    """What remains of left - right after replacing what is given, in that order; zero where sympy can show equality.

    Words and coordinates are taken to be in range (1 <= a <= V), which is what they mean.
    """
    conditions = [{key: value} for key, value in given]

    def replaced(expression: sp.Expr) -> sp.Expr:
        for condition in conditions:
            expression = expression.xreplace(condition)
        return expression

    difference = replaced(_differentiated(left - right))
    for reduce in (normal_form, sp.expand_log, _simplified):
        difference = normal_form(replaced(normal_form(reduce(difference))))
        if difference == 0:
            break
    return difference


def _differentiated(expression: sp.Expr) -> sp.Expr:
    """Derivatives and limits taken; sums stay as they are."""
    taken = expression.replace(sp.Derivative, lambda body, *variables: sp.diff(body, *variables))
    return taken.replace(sp.Limit, lambda *limit: sp.Limit(*limit).doit())


def _simplified(expression: sp.Expr) -> sp.Expr:
    """By sympy, which is slow, and cannot make a polynomial that is left over vanish."""
    opaque = {part: sp.Dummy(real=True) for part in expression.atoms(sp.Sum, sp.Indexed, sp.KroneckerDelta)}
    plain = expression.xreplace(opaque)
    if plain.is_polynomial():
        return expression
    return sp.simplify(plain).xreplace({name: part for part, name in opaque.items()})


Ranges = dict[sp.Symbol, sp.Expr]  # running indices and the sizes up to which they run


def normal_form(expression: sp.Expr) -> sp.Expr:
    """A sum of terms, each a number times one sum of one product, whose indices are named after their sizes.

    A product of sums is a sum over several indices; Σ_c 1[a = c] f(c) is f(a); 1[a = b] f(b) is 1[a = b] f(a). Equal
    polynomials in sums over symbolic sizes have the same terms.
    """
    terms: dict[sp.Expr, sp.Expr] = defaultdict(lambda: sp.S.Zero)
    for product, ranges in _products(expression):
        number, term = _canonical(*_matched(product, ranges)).as_coeff_Mul()
        terms[term] += number
    return sp.Add(*(number * term for term, number in terms.items()))


def _products(expression: sp.Expr) -> list[tuple[sp.Expr, Ranges]]:
    """Products that, each summed over its ranges, add up to the expression."""
    if isinstance(expression, sp.Add):
        return [term for part in expression.args for term in _products(part)]
    if factors := _factors(expression):
        choices = cartesian(*map(_products, factors))
        return [(sp.Mul(*(one for one, _ in choice)), _union(*(ranges for _, ranges in choice))) for choice in choices]
    if isinstance(expression, sp.Sum):
        names = {index: sp.Dummy(integer=True, positive=True) for index in expression.variables}
        ranges = {names[index]: high for index, _, high in expression.limits}
        return [(term, inner | ranges) for term, inner in _products(expression.function.xreplace(names))]
    if expression.has(sp.Sum):
        return [(expression.func(*map(normal_form, expression.args)), {})]
    return [(expression, {})]


def _factors(expression: sp.Expr) -> tuple[sp.Expr, ...]:
    """Those of a product or of a power of a sum."""
    if isinstance(expression, sp.Pow) and expression.exp.is_Integer and isinstance(expression.base, sp.Add | sp.Sum):
        return (expression.base,) * max(0, int(expression.exp))
    return expression.args if isinstance(expression, sp.Mul) else ()


def _union(*ranges: Ranges) -> Ranges:
    return {index: size for each in ranges for index, size in each.items()}


def _matched(product: sp.Expr, ranges: Ranges) -> tuple[sp.Expr, Ranges]:
    """An index that must equal something is replaced by it; of two free words that must be equal, the second."""
    ranges = dict(ranges)
    while running := [
        (match, index)
        for match in sp.Mul.make_args(product)
        if _is_match(match)
        for index in match.args
        if index in ranges
    ]:
        match, index = running[0]
        (value,) = [side for side in match.args if side != index]
        product = (product / match).xreplace({index: value})
        del ranges[index]
    for match in filter(_is_match, sp.Mul.make_args(product)):
        product = match * (product / match).xreplace({match.args[1]: match.args[0]})
    return product, ranges


def _is_match(factor: sp.Expr) -> bool:
    return isinstance(factor, sp.KroneckerDelta)


def _canonical(product: sp.Expr, ranges: Ranges) -> sp.Expr:
    """The sum with its indices called after their sizes (in whichever order comes first), the rest in front of it."""
    unused = [index for index in ranges if index not in product.free_symbols]
    product = product * sp.Mul(*(ranges[index] for index in unused))
    ranges = {index: size for index, size in ranges.items() if index not in unused}
    front, product = product.as_independent(*ranges, as_Add=False)
    if not ranges:
        return front * product
    by_size: dict[sp.Expr, list[sp.Symbol]] = defaultdict(list)
    for index, size in ranges.items():
        by_size[size].append(index)
    written = []
    for order in cartesian(*map(permutations, by_size.values())):
        names = {
            index: sp.Symbol(f"index_{size}_{place}", integer=True, positive=True)
            for size, indices in zip(by_size, order, strict=True)
            for place, index in enumerate(indices)
        }
        limits = sorted(((names[index], 1, ranges[index]) for index in names), key=str)
        written.append(sp.Sum(product.xreplace(names), *limits))
    return front * min(written, key=sp.default_sort_key)


def first_negative_term(expression: sp.Expr) -> sp.Expr | None:
    """None if the expanded expression is a sum of terms that are products of non-negative symbols and numbers."""
    for term in sp.Add.make_args(sp.expand(expression)):
        if not term.is_nonnegative:
            return term
    return None


def evaluate(expression: sp.Expr, values: Mapping[Any, Any]) -> float:
    """The number an expression takes. Symbols map to numbers, indexed bases to arrays (whose first entry is number 1).

    Sums are summed term by term, without sympy's help: what was proved symbolically is read here as it stands.

    Raises:
        ValueError: something in the expression was given no value, or is no arithmetic.
    """
    arrays = {key.label: np.asarray(value) for key, value in values.items() if isinstance(key, sp.IndexedBase)}
    scalars = {key: value for key, value in values.items() if not isinstance(key, sp.IndexedBase)}
    return float(_number(expression, arrays, scalars))


def _number(node: sp.Basic, arrays: dict, scalars: dict) -> float | int:
    inner = lambda child: _number(child, arrays, scalars)  # noqa: E731 (a def would be type-checked anew at every call)
    if node.is_Number:
        return int(node) if node.is_Integer else float(node)
    if isinstance(node, sp.Symbol) and node in scalars:
        return scalars[node]
    if isinstance(node, sp.Indexed) and node.base.label in arrays:
        return arrays[node.base.label][tuple(int(inner(index)) - 1 for index in node.indices)].item()
    if isinstance(node, sp.Sum):
        *outer, (index, low, high) = node.limits
        body = sp.Sum(node.function, *outer) if outer else node.function
        terms = range(int(inner(low)), int(inner(high)) + 1)
        return math.fsum(_number(body, arrays, {**scalars, index: term}) for term in terms)
    if isinstance(node, sp.KroneckerDelta):
        return float(inner(node.args[0]) == inner(node.args[1]))
    if isinstance(node, sp.Add):
        return math.fsum(map(inner, node.args))
    if isinstance(node, sp.Mul):
        return math.prod(map(inner, node.args))
    if isinstance(node, sp.Pow):
        return inner(node.base) ** inner(node.exp)
    for function, implementation in ((sp.exp, math.exp), (sp.log, math.log), (sp.tanh, math.tanh)):
        if isinstance(node, function):
            return implementation(inner(node.args[0]))
    raise ValueError(f"no value given for {node} ({type(node).__name__})")
