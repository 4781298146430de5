"""The letters every derivation shares. Sizes stay symbols: what is shown holds for every V, D and response length."""

import sympy as sp

# Sizes: words in the vocabulary, width of a hidden state, tokens of the evaluated, chosen and rejected response,
# training pairs, features that output rows share.
V, D, T, M, N, m, P = SIZES = sp.symbols("V D T M N m P", integer=True, positive=True)
# a, b, c are words, and so are w and w', the chosen and the rejected word of a training pair, t, a terminator, and u,
# u', v, v', prefixes; i, j coordinates of a hidden state; k, l token positions; n a training pair; o a feature. All
# count from one.
INDICES = sp.symbols("a b c i j k l n o w w' t u u' v v'", integer=True, positive=True)
a, b, c, i, j, k, l, n, o, chosen, rejected, *TWO_TOKEN_WORDS = INDICES  # noqa: E741 (the papers' letter)
beta, eta, g = sp.symbols("beta eta g", positive=True)
z, U, h, f, p, q = (sp.IndexedBase(name) for name in ("z", "U", "h", "f", "p", "q"))
delta = sp.KroneckerDelta
hbar = sp.IndexedBase("hbar")
reward_change, margin_change, margin_after = sp.symbols("reward_change margin_change margin_t")
pair_margin, generating, odds = sp.symbols("margin generating odds")
# What sympy would print otherwise than the text: (on a terminal, in LaTeX).
PRINTED = {
    hbar.label: ("h̄", r"\bar{h}"),
    reward_change: ("Δr̄", r"\Delta\bar{r}"),
    margin_change: ("Δmargin", r"\Delta\mathrm{margin}"),
    margin_after: ("margin_t", r"\mathrm{margin}_t"),
    pair_margin: ("margin", r"\mathrm{margin}"),
    generating: ("generating", r"\mathrm{generating}"),
    odds: ("odds", r"\mathrm{odds}"),
}


def over_words(term: sp.Expr, *words: sp.Symbol) -> sp.Sum:
    return sp.Sum(term, *((word, 1, V) for word in words or (c,)))


def over_coordinates(term: sp.Expr, coordinate: sp.Symbol = j) -> sp.Sum:
    return sp.Sum(term, (coordinate, 1, D))


def over_entries(term: sp.Expr) -> sp.Sum:
    """Over all entries (b, j) of a matrix of the output layer's shape."""
    return sp.Sum(term, (b, 1, V), (j, 1, D))
