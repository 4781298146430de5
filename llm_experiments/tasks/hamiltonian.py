"""Hamiltonian cycles: a task whose answers are easy to check and hard to find (Razin et al. 2025, section 3.2).

A graph of ten vertices holds a planted cycle through all of them, and every other edge with probability 0.2. The prompt
lists vertices and edges in the published notation; the chosen response is the planted cycle, the rejected one an order
of the vertices that is no cycle of the graph. Published are negatives drawn at random, which miss six of ten edges on
average; here two harder kinds stand beside them, so that an accuracy says how much of the graph was read.

A small model has to be taught the notation. Its pretraining texts show, under a marker of their own, walks along edges
(so that it knows what an edge is) and orders of all vertices at random (so that it answers in the right format, without
knowing what a cycle is). Graphs are drawn anew everywhere; none occurs twice.

In the published notation an edge is three tokens, and the way from a vertex to its neighbours leads through two layers
of attention: a small model put 0.50 of its probability on neighbours after 2000 steps and 21 minutes, where uniform
is 0.34. The short notation writes an edge as one token: 0.99 after as many steps and one minute.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Literal, get_args

import numpy as np

from llm_experiments.pairs import Pair

VERTICES = 10
EDGE_PROBABILITY = 0.2
WALK_LENGTH = 40  # vertices: four times a response, to say more about edges than the prompt's own tokens do
ORDER, WALK = "<order>", "<walk>"  # what is asked for: all vertices in some order, or a walk along edges

Negative = Literal["random", "one_swap", "near_cycle"]
NEGATIVES: tuple[Negative, ...] = get_args(Negative)
Order = tuple[int, ...]


@dataclass(frozen=True)
class Notation:
    """What stands between vertices and between edges, and between the ends of an edge; whether vertices are listed."""

    separator: str
    edge: str
    lists_vertices: bool


PUBLISHED = Notation(" <sep> ", " <edge_sep> ", lists_vertices=True)
SHORT = Notation(" ", "-", lists_vertices=False)


@dataclass(frozen=True)
class Graph:
    """Edges as (smaller, larger), in the order in which the prompt lists them, and the planted cycle."""

    edges: tuple[tuple[int, int], ...]
    planted: Order

    @cached_property
    def edge_set(self) -> frozenset[tuple[int, int]]:
        return frozenset(self.edges)

    def joined(self, a: int, b: int) -> bool:
        return (min(a, b), max(a, b)) in self.edge_set

    def missing(self, order: Order) -> int:
        """How many of the closed order's steps are no edges."""
        return sum(not self.joined(a, b) for a, b in pairwise((*order, order[0])))

    def is_cycle(self, order: Sequence[int]) -> bool:
        """Whether `order` visits every vertex once along edges and closes: the oracle."""
        return is_order(order) and self.missing(tuple(order)) == 0

    def cycles(self) -> list[Order]:
        """Every correct response: all starts, both directions."""
        neighbours = {v: [u for u in range(VERTICES) if self.joined(u, v)] for v in range(VERTICES)}
        from_zero: list[Order] = []

        def extend(path: list[int]) -> None:
            if len(path) == VERTICES:
                if path[0] in neighbours[path[-1]]:
                    from_zero.append(tuple(path))
                return
            for vertex in neighbours[path[-1]]:
                if vertex not in path:
                    extend([*path, vertex])

        extend([0])
        return [cycle[start:] + cycle[:start] for start in range(VERTICES) for cycle in from_zero]

    def prompt(self, ask: str = ORDER, notation: Notation = PUBLISHED) -> str:
        edges = notation.separator.join(f"{a}{notation.edge}{b}" for a, b in self.edges)
        vertices = f"{response(range(VERTICES), notation)} \n " if notation.lists_vertices else ""
        return f"{vertices}{edges} {ask} "


def is_order(order: Sequence[int]) -> bool:
    """Whether every vertex stands there exactly once."""
    return sorted(order) == list(range(VERTICES))


def draw_graph(random: np.random.Generator) -> Graph:
    planted = tuple(int(v) for v in random.permutation(VERTICES))
    cycle = {(min(a, b), max(a, b)) for a, b in pairwise((*planted, planted[0]))}
    others = [(a, b) for a in range(VERTICES) for b in range(a + 1, VERTICES) if (a, b) not in cycle]
    kept = [edge for edge, value in zip(others, random.random(len(others)), strict=True) if value < EDGE_PROBABILITY]
    edges = sorted(cycle) + kept
    return Graph(tuple(edges[i] for i in random.permutation(len(edges))), planted)


def negative(graph: Graph, kind: Negative, random: np.random.Generator) -> Order | None:
    """An order that is no cycle: drawn at random (as published), the planted cycle with two vertices exchanged, or an
    order with all steps but one along edges; None where this graph has none (or none was found)."""
    if kind == "random":
        for _ in range(10):
            order = tuple(int(v) for v in random.permutation(VERTICES))
            if not graph.is_cycle(order):
                return order
        return None
    if kind == "one_swap":
        places = [(i, j) for i in range(VERTICES) for j in range(i + 1, VERTICES)]
        for index in random.permutation(len(places)):
            order = list(graph.planted)
            i, j = places[index]
            order[i], order[j] = order[j], order[i]
            if not graph.is_cycle(order):
                return tuple(order)
        return None
    return _near_cycle(graph, random)


def _near_cycle(graph: Graph, random: np.random.Generator) -> Order | None:
    """Turn a stretch of the planted cycle round: two steps change; kept where exactly one of them leaves the graph."""
    places = [(i, j) for i in range(VERTICES) for j in range(i + 2, VERTICES + 1) if j - i < VERTICES - 1]
    for index in random.permutation(len(places)):
        i, j = places[index]
        order = graph.planted[:i] + graph.planted[i:j][::-1] + graph.planted[j:]
        if graph.missing(order) == 1:
            return order
    return None


def response(order: Sequence[int], notation: Notation = PUBLISHED) -> str:
    return notation.separator.join(map(str, order))


def read_response(text: str, notation: Notation = PUBLISHED) -> list[int] | None:
    """The vertices of a generated text, None where it is not in the format; spaces around separators do not matter."""
    parts = [part.strip() for part in text.strip().split(notation.separator.strip() or None)]
    return [int(part) for part in parts] if all(part.isascii() and part.isdigit() for part in parts) else None


def pairs(graphs: Sequence[Graph], kind: Negative, seed: int, notation: Notation = PUBLISHED) -> list[Pair]:
    """The planted cycle against one negative per graph; graphs that have none of the kind are left out.

    Random negatives for `draw_graphs(count, seed)` with the same seed come from the graphs' own streams: numpy pads
    seeds with zeros, so that [seed, number, 0] is [seed, number]. The first order drawn is then the planted one, and
    refused; the next shares bits with the draw of the edges. Stored numbers are of these. Nothing of it shows: steps
    lie on edges as often as those of any order, and two of the study's models, trained again, rank negatives from other
    streams as well (0.995 and 0.996 of 1000, against 0.994 and 0.996).
    """
    made = []
    for number, graph in enumerate(graphs):
        order = negative(graph, kind, np.random.default_rng([seed, number, NEGATIVES.index(kind)]))
        if order is not None:
            answers = (response(one, notation) for one in (graph.planted, order))
            made.append(Pair(f"{kind}/{number}", kind, graph.prompt(notation=notation), *answers))
    return made


def draw_graphs(count: int, seed: int) -> list[Graph]:
    return [draw_graph(np.random.default_rng([seed, number])) for number in range(count)]


def pretraining_texts(count: int, seed: int, *, cycles: bool = False) -> list[str]:
    """One text per graph, in the short notation: every third shows a walk along edges, the others an order of all
    vertices at random, which takes longer to learn.

    Args:
        cycles: show planted cycles in place of random orders (the positive control: a model that can generate them).
    """
    texts = []
    for number in range(count):
        random = np.random.default_rng([seed, number, 7])
        graph = draw_graph(random)
        if number % 3 == 0:
            texts.append(graph.prompt(WALK, SHORT) + response(walk(graph, random), SHORT))
        else:
            order = graph.planted if cycles else tuple(int(v) for v in random.permutation(VERTICES))
            texts.append(graph.prompt(ORDER, SHORT) + response(order, SHORT))
    return texts


def walk(graph: Graph, random: np.random.Generator) -> Order:
    path = [int(random.integers(VERTICES))]
    while len(path) < WALK_LENGTH:
        path.append(int(random.choice([u for u in range(VERTICES) if graph.joined(u, path[-1])])))
    return tuple(path)
