"""Hamiltonian cycles: the oracle, the negatives and the exact probability of a correct sample, each another way."""

from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_experiments.tasks.hamiltonian import (
    NEGATIVES,
    SHORT,
    VERTICES,
    Graph,
    draw_graph,
    draw_graphs,
    is_order,
    negative,
    pairs,
    pretraining_texts,
    read_response,
    response,
)

seeds = st.integers(0, 2**32)


@given(seeds)
def test_the_planted_cycle_is_one_from_every_start_and_in_both_directions(seed):
    graph = draw_graph(np.random.default_rng(seed))
    for start in range(VERTICES):
        turned = graph.planted[start:] + graph.planted[:start]
        assert graph.is_cycle(turned)
        assert graph.is_cycle(turned[::-1])
    assert len(graph.edges) == len(set(graph.edges))
    assert all(a < b for a, b in graph.edges)


def test_there_are_as_many_cycles_as_a_count_by_subsets_finds():
    """Held and Karp's recursion: paths from vertex 0 by the set they have visited and where they end."""
    for graph in draw_graphs(12, 3):
        paths = {(1, 0): 1}
        for _ in range(VERTICES - 1):
            longer: dict[tuple[int, int], int] = {}
            for (visited, end), count in paths.items():
                for vertex in range(VERTICES):
                    if graph.joined(vertex, end) and not visited >> vertex & 1:
                        key = (visited | 1 << vertex, vertex)
                        longer[key] = longer.get(key, 0) + count
            paths = longer
        closed = sum(count for (_, end), count in paths.items() if graph.joined(end, 0))
        cycles = graph.cycles()
        assert len(cycles) == len(set(cycles)) == VERTICES * closed
        assert all(graph.is_cycle(cycle) for cycle in cycles)


@given(seeds, st.sampled_from(NEGATIVES))
def test_negatives_are_orders_and_no_cycles(seed, kind):
    random = np.random.default_rng(seed)
    graph = draw_graph(random)
    order = negative(graph, kind, random)
    if order is not None:
        assert is_order(order)
        assert not graph.is_cycle(order)
        if kind == "near_cycle":
            assert graph.missing(order) == 1
        if kind == "one_swap":
            assert sum(a != b for a, b in zip(order, graph.planted, strict=True)) == 2


def test_an_order_that_repeats_a_vertex_or_leaves_an_edge_is_no_cycle():
    ring = tuple(range(VERTICES))
    graph = Graph(tuple((min(a, b), max(a, b)) for a, b in pairwise((*ring, 0))), ring)
    assert graph.is_cycle(ring)
    assert not graph.is_cycle((0, 0, *ring[2:]))
    assert not graph.is_cycle(ring[:-1])
    assert not graph.is_cycle((1, 0, *ring[2:]))
    assert sorted(graph.cycles()) == sorted(
        [ring[i:] + ring[:i] for i in ring] + [(ring[i:] + ring[:i])[::-1] for i in ring]
    )


@given(seeds)
def test_a_response_is_read_back_with_or_without_spaces(seed):
    order = tuple(np.random.default_rng(seed).permutation(VERTICES).tolist())
    assert read_response(response(order)) == list(order) == read_response(response(order).replace(" ", ""))
    assert read_response(f" {response(order, SHORT)} ", SHORT) == list(order)
    assert read_response("0-3 4", SHORT) is None
    assert read_response(response(order) + " <sep> ") is None
    assert read_response("") is None
    assert read_response("1 <sep> ² <sep> 3") is None


def test_pairs_share_the_prompt_and_training_graphs_are_not_test_graphs():
    train, test = draw_graphs(20, 0), draw_graphs(20, 10_000)
    assert not {g.edges for g in train} & {g.edges for g in test}
    for pair in pairs(train, "random", 0):
        assert pair.chosen != pair.rejected
        assert pair.prompt.count("<edge_sep>") >= VERTICES
    assert pairs(train, "random", 0) == pairs(train, "random", 0)


def test_random_negatives_lie_on_edges_as_often_as_orders_that_know_nothing_of_the_graph():
    graphs = draw_graphs(1500, 0)
    orders = [read_response(pair.rejected, SHORT) for pair in pairs(graphs, "random", 0, SHORT)]
    on_edge = np.array([[g.joined(a, b) for a, b in pairwise((*o, o[0]))] for g, o in zip(graphs, orders, strict=True)])
    edges = (VERTICES + 0.2 * 35) / 45  # of the 45 possible ones; ten are planted, the others there with 0.2
    error = on_edge.mean(1).std() / len(graphs) ** 0.5
    assert abs(on_edge.mean() - edges) < 4 * error
    assert np.all(np.abs(on_edge.mean(0) - edges) < 4 * (edges * (1 - edges) / len(graphs)) ** 0.5)


def test_pretraining_texts_show_cycles_only_to_the_control():
    def share(*, cycles: bool) -> float:
        found = []
        for number, text in enumerate(pretraining_texts(60, 0, cycles=cycles)):
            prompt, _, answer = text.partition("<order> ")
            if number % 3:
                known = {tuple(int(v) for v in edge.split("-")) for edge in prompt.split()}
                found.append(Graph(tuple(known), ()).is_cycle(read_response(answer, SHORT)))
        return float(np.mean(found))

    assert share(cycles=True) == 1
    assert share(cycles=False) == 0


def test_a_model_that_knows_the_edges_has_all_its_mass_on_neighbours():
    import torch

    from llm_experiments.pretraining import train_tokenizer
    from llm_experiments.settings import PretrainSettings
    from llm_experiments.tasks.hamiltonian_study import mass_on_neighbours

    tokenizer = train_tokenizer(pretraining_texts(60, 0), PretrainSettings(tokenizer="word"))
    graphs = draw_graphs(2, 5)

    class Knows:
        def __init__(self, graph: Graph) -> None:
            self.graph = graph

        def eval(self) -> None:
            pass

        def __call__(self, ids: torch.Tensor, use_cache: bool) -> SimpleNamespace:
            logits = torch.zeros(1, ids.shape[1], len(tokenizer))
            for place, word in enumerate(tokenizer.convert_ids_to_tokens(ids[0])):
                for other in range(VERTICES) if word.isdigit() else ():
                    logits[0, place, tokenizer.convert_tokens_to_ids(str(other))] = 99.0 * self.graph.joined(
                        int(word), other
                    )
            return SimpleNamespace(logits=logits)

    assert mass_on_neighbours(Knows(graphs[0]), tokenizer, graphs[:1]) == pytest.approx(1)
    assert mass_on_neighbours(Knows(graphs[1]), tokenizer, graphs[:1]) < 0.6


@pytest.mark.integration
def test_the_probability_of_a_correct_sample_is_the_sum_over_all_cycles(tmp_path):
    """Against one forward pass per token and response."""
    import torch

    from llm_experiments.pretraining import pretrain
    from llm_experiments.settings import PretrainSettings
    from llm_experiments.tasks.hamiltonian_study import log_correct_probability
    from llm_experiments.tasks.language_study import load_base

    settings = PretrainSettings(hidden=16, layers=1, heads=2, tokenizer="word", block=256, max_positions=256, steps=2)
    pretrain(pretraining_texts(64, 0), "mistral", tmp_path / "model", settings, progress=False)
    policy, tokenizer = load_base(str(tmp_path / "model"))
    graph = min(draw_graphs(9, 1), key=lambda graph: len(graph.cycles()))  # one forward pass per token of each
    prompt = tokenizer(graph.prompt(notation=SHORT))["input_ids"]
    total = 0.0
    with torch.no_grad():
        for cycle in graph.cycles():  # token by token, each from its own forward pass
            ids, log = list(prompt), 0.0
            answer = tokenizer(response(cycle, SHORT), add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id]
            for token in answer:
                log += float(policy(torch.tensor([ids])).logits[0, -1].double().log_softmax(-1)[token])
                ids.append(token)
            total += np.exp(log)
    assert np.exp(log_correct_probability(policy, tokenizer, graph)) == pytest.approx(total, rel=1e-5)


@pytest.mark.integration
def test_the_study_runs_small_and_is_not_computed_twice(tmp_path, capsys):
    import rewardgap

    arguments = ["study", "hamiltonian", "--quick", "--jobs", "1", "--output", str(tmp_path / "run")]
    assert rewardgap.main(arguments) in (0, 3)
    stamp = (tmp_path / "run/published/0/done.json").stat().st_mtime_ns
    first = capsys.readouterr().out
    assert "Theorem 1" in first
    assert "positive control" in first
    assert rewardgap.main(arguments) in (0, 3)
    assert (tmp_path / "run/published/0/done.json").stat().st_mtime_ns == stamp
