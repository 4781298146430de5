"""A derivation on a terminal, in LaTeX and in Jupyter. What is displayed is the expression that was checked."""

import textwrap
from typing import Any

import sympy as sp

from theory.derivations.derivation import Check, Derivation, Step, StepResult
from theory.derivations.plain import GLUE, plain
from theory.derivations.prose import to_latex as tex
from theory.derivations.symbols import PRINTED

WIDTH = 100


def to_text(derivation: Derivation, check: Check | None = None) -> str:
    lines = [derivation.title, "=" * len(derivation.title), f"({derivation.name})", ""]
    lines += _wrap(derivation.statement) + [""]
    for heading, items in (("Assumptions", derivation.assumptions),):
        lines += [heading] + [line for item in items for line in _wrap(item, "  * ")] + [""]
    for number, step in enumerate(derivation.steps, start=1):
        result = check.steps[number - 1] if check else None
        lines += _wrap(f"{step.text}{_source(step)}", f"{number:2d} [{step.kind}] ")
        lines += _line(step.left, step.right, sign=step.sign, given=step.given) if step.left is not None else []
        lines += [f"      {_outcome(step, result)}", ""] if result else [""]
    lines += ["Closed form", *_line(*derivation.result), ""]
    lines += _wrap(f"Implemented by {derivation.witnesses.closed_form_name}.")
    lines += _wrap(f"Experiment: {derivation.witnesses.experiment_text}.")
    for number, step in enumerate(derivation.measurements):
        lines += _wrap(f"Measured: {step.text}: {_measured(step, check.measurements[number] if check else None)}")
    lines += ["", "Where it stops holding"] + [line for item in derivation.limits for line in _wrap(item, "  * ")]
    lines += ["", "References"] + [line for item in derivation.references for line in _wrap(item, "  * ")]
    if check:
        lines += ["", *_wrap(_summary(check))]
    return "\n".join(lines) + "\n"


def to_markdown(derivation: Derivation, check: Check | None = None) -> str:
    parts = [f"### {derivation.title}", derivation.statement, "**Assumptions.** " + "; ".join(derivation.assumptions)]
    for number, step in enumerate(derivation.steps, start=1):
        result = check.steps[number - 1] if check else None
        badge = f" — {_outcome(step, result)}" if result else ""
        parts.append(f"**{number}.** *{step.kind}{badge}.* {step.text}{_source(step)}")
        if step.left is not None:
            parts.append(f"$$ {_equation(step)} $$")
    left, right = derivation.result
    parts += ["**Closed form**", f"$$ {_latex(left)} = {_latex(right)} $$"]
    parts.append(
        f"Implemented by `{derivation.witnesses.closed_form_name}`; experiment: {derivation.witnesses.experiment_text}."
    )
    for number, step in enumerate(derivation.measurements):
        parts.append(f"*Measured.* {step.text}: {_measured(step, check.measurements[number] if check else None)}")
    parts += ["**Where it stops holding.** " + " ".join(derivation.limits)]
    parts += ["**References.** " + "; ".join(derivation.references) + "."]
    if check:
        parts.append(f"**{_summary(check)}**")
    return "\n\n".join(parts) + "\n"


def to_latex(derivation: Derivation, check: Check | None = None) -> str:
    lines = [f"% {derivation.name}: needs amsmath only", rf"\paragraph{{{tex(derivation.title)}.}}"]
    lines += [tex(derivation.statement), "", r"\emph{Assumptions.} " + tex("; ".join(derivation.assumptions)) + "."]
    lines += [r"\begin{enumerate}"]
    for number, step in enumerate(derivation.steps):
        outcome = f", {_outcome(step, check.steps[number])}" if check else ""
        lines += [rf"\item \emph{{({step.kind}{tex(outcome)})}} " + tex(step.text + _source(step))]
        if step.left is not None:
            lines += [rf"\[ {_equation(step)} \]"]
    left, right = derivation.result
    lines += [r"\end{enumerate}", r"\emph{Closed form.}", rf"\[ {_latex(left)} = {_latex(right)} \]"]
    for number, step in enumerate(derivation.measurements):
        found = _measured(step, check.measurements[number] if check else None)
        lines += [rf"\emph{{Measured.}} {tex(step.text)}: {tex(found)}.", ""]
    lines += [r"\emph{Where it stops holding.} " + tex(" ".join(derivation.limits)), ""]
    lines += [r"\emph{References.} " + tex("; ".join(derivation.references)) + "."]
    if check:
        lines += ["", rf"\emph{{{tex(_summary(check))}}}"]
    return "\n".join(lines) + "\n"


def _latex(expression: Any) -> str:
    return sp.latex(expression, symbol_names={symbol: latex for symbol, (_, latex) in PRINTED.items()})


def _outcome(step: Step, result: StepResult | None) -> str:
    if result is None or result.holds is None:
        return "not checked here"
    if step.kind == "algebra":
        return "checked" if result.holds else f"FAILS, left over: {result.found}"
    return f"measured {result.found}, allowed {step.tolerance:g}" + ("" if result.holds else ", FAILS")


def _measured(step: Step, result: StepResult | None) -> str:
    return _outcome(step, result) if result else f"at most {step.tolerance:g}"


def _source(step: Step) -> str:
    return f" ({step.source})" if step.source else ""


def _summary(check: Check) -> str:
    sentence = f"{check.verdict[0].upper()}{check.verdict[1:]}"
    if check.proved:
        sentence += (
            ": every algebra step is checked and the last ends in the closed form; the statement is read by people"
        )
    return (
        f"{sentence}. {check.instances} random instances against the experiment: the expression above differs by "
        f"{check.algebra_error:.1e}, the closed form by {check.closed_form_error:.1e} (allowed {check.tolerance:.0e})."
    )


def _equation(step: Step) -> str:
    conditions = ",\\; ".join(f"{_latex(key)} = {_latex(value)}" for key, value in step.given)
    sign = r" \;\ge\; 0" if step.sign else ""
    given = rf" \qquad \text{{given }} {conditions}" if conditions else ""
    return f"{_latex(step.left)} = {_latex(step.right)}{sign}{given}"


def _line(left: Any, right: Any, *, sign: bool = False, given: tuple = ()) -> list[str]:
    formula = f"{plain(left)} = {plain(right)}" + (" ≥ 0, term by term" if sign else "")
    if given:
        formula += f" given {', '.join(f'{plain(key)}{GLUE}={GLUE}{plain(value)}' for key, value in given)}"
    return [line.replace(GLUE, " ") for line in _wrap(formula, " " * 6)]


def _wrap(text: str, bullet: str = "") -> list[str]:
    return textwrap.wrap(
        text, WIDTH, initial_indent=bullet, subsequent_indent=" " * len(bullet), break_on_hyphens=False
    )
