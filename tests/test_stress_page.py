"""The page of a stress test: every line of the summary, text as text, one file, small, and it works in a browser."""

import base64
import hashlib
import re
import unicodedata
from collections import Counter
from html import unescape
from pathlib import Path

import pytest
import stress_rows
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import escape
from stress_worlds import DAMAGED, REWARDS, SWAPPED, pairs, replacing

from figures import stress_page
from figures.scales import around
from figures.stress_examples import ranking, strongest
from figures.stress_page import headline, interval, lede, p_value, signed, two, write_stress
from figures.word_changes import SHOWN, changes, excerpt, visible
from llm_experiments.stress.scorers import FunctionScorer
from llm_experiments.stress.shifts import combined
from llm_experiments.stress.suite import stress_scorers
from simulations.results import UserError, read_json, write_json

TEXT = st.text(alphabet=st.sampled_from("aAbé  \n\t.,\u200b\u202e\ud83d🙂漢"), max_size=60) | st.text(max_size=30)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two models at two strengths, its page written; one pair is made of HTML and script."""
    folder = tmp_path_factory.mktemp("stress")
    stress_rows.write_run(folder, strengths=(0.5, 1.0), hostile=stress_rows.HOSTILE)
    write_stress(folder)
    return folder


def page_of(folder: Path) -> str:
    return (folder / "report.html").read_text(encoding="utf-8")


def test_every_line_of_the_summary_is_on_the_page(run: Path) -> None:
    text, summary = page_of(run), read_json(run / "summary.json")
    rows = re.findall(r'<tr data-model="([^"]+)" data-transformation="([^"]+)" data-purpose="([^"]+)"', text)
    assert Counter(rows) == Counter((row["model"], row["transformation"], row["purpose"]) for row in summary["table"])
    assert [row[0] for row in rows[:4]] == ["tiny-rm", "tiny-dpo"] * 2
    plain = " ".join(unescape(re.sub(r"<[^>]+>", " ", text)).split())
    for line in summary["table"]:
        assert interval(line["difference"], signs=True) in plain
        assert line["falls"] is None or interval(line["falls"]) in plain
    for wanted in [*summary["rules"], *summary["notes"], *summary["models"][0]["reasons"], "+0.18 [+0.12, +0.24]"]:
        assert wanted in plain
    assert text.count('<g class="mark') == len({(line["model"], line["transformation"]) for line in summary["table"]})
    assert text.count('class="total"') == len(summary["grid"])


def test_a_real_run_of_planted_models_is_drawn(tmp_path: Path) -> None:
    asked = replacing({"question": "query"}, "asked", "invariance", "prompt")
    edits = (SWAPPED, DAMAGED, asked, combined(asked, SWAPPED))
    scorers = {name: FunctionScorer(REWARDS[name]) for name in ("oracle", "keyword")}
    summary = stress_scorers(pairs(60), edits, scorers, tmp_path)
    write_json(tmp_path / "summary.json", summary)
    write_stress(tmp_path)
    text = page_of(tmp_path)
    assert "Of 2 models, 1 is token-sensitive and 1 is robust" in text
    assert 'class="quiet missing"' not in text
    assert text.count('<details class="example"') == 5  # of the keyword's; the oracle does nothing wrong
    assert "<del>" in text.split('<section class="chosen">')[1].split("</section>")[0]
    assert text.count("one-sided</span>") == sum(bool(row["n_one_sided"]) for row in summary["table"])
    for row in (*summary["table"], *summary["comparisons"]):
        assert row["difference"] is None or signed(row["difference"]["value"]) in text
    assert text.count('class="total"') == len(summary["grid"]) == 2


def test_what_is_unknown_says_why(run: Path) -> None:
    text = page_of(run)
    assert text.count(">training pairs unknown</td>") == len(read_json(run / "summary.json")["table"]) + 2 * 2


def test_a_coefficient_that_was_not_computed_says_how_to_get_it(tmp_path: Path) -> None:
    summary = stress_rows.write_run(tmp_path, pairs=6)
    for line in summary["table"]:
        line["token_reliance"]["overlap"] = 0.5
    write_json(tmp_path / "summary.json", summary)
    write_stress(tmp_path)
    assert "computed with <code>--train_pairs</code>" in page_of(tmp_path)
    assert 'data-label="overlap" data-value="0.5">0.50<' in page_of(tmp_path)
    assert 'data-label="coefficient"' not in page_of(tmp_path)


def test_the_page_shows_text_as_text_and_runs_its_own_script_alone(run: Path) -> None:
    text = page_of(run)
    scripts = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    assert len(scripts) == 1
    assert text.lower().count("<script") == 1
    assert "<img" not in text
    assert not re.search(r"<[a-z]+ [^>]*\bon[a-z]+=", text)
    digest = base64.b64encode(hashlib.sha256(scripts[0].encode()).digest()).decode()
    assert f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'" in text
    assert "&lt;/script&gt;" in text
    assert "⟨U+2028⟩" in text
    assert "⟨U+D83D⟩" in text
    assert "⟨U+202E⟩" in text
    assert "␀" in text


def test_a_pair_with_characters_that_no_file_can_hold_is_shown_with_its_texts(run: Path) -> None:
    """Its id and subset spelled out, its texts found by what the id really is."""
    plain, marked = (str(escape(visible(stress_rows.HOSTILE, changed=changed))) for changed in (False, True))
    example = next(part for part in page_of(run).split('<details class="example"') if plain in part)
    heading, texts = example.split("</summary>")
    assert heading.count(plain) == 2
    assert marked[:40] in texts


def test_the_page_needs_no_other_file_and_no_network(run: Path) -> None:
    text = page_of(run)
    assert all(address.startswith(("#", "data:")) for address in re.findall(r'(?:src|href)="([^"]*)"', text))
    assert "@import" not in text
    assert "url(" not in text
    assert "fetch(" not in text
    assert "prefers-color-scheme: dark" in text
    assert '[data-theme="dark"]' in text


def test_writing_the_page_again_changes_nothing(run: Path) -> None:
    before = page_of(run)
    write_stress(run)
    assert page_of(run) == before


def test_a_missing_file_is_named_in_one_line(tmp_path: Path) -> None:
    stress_rows.write_run(tmp_path, pairs=6)
    (tmp_path / "originals.jsonl").unlink()
    (tmp_path / "scores/tiny-rm/typos@1@prompt.jsonl").unlink()
    (tmp_path / "scores/tiny-dpo/original.jsonl").write_text("{", encoding="utf-8")
    (tmp_path / "config.json").unlink()
    write_stress(tmp_path)
    lines = re.findall(r'<p class="quiet missing">(.*?)</p>', page_of(tmp_path))
    assert [line.split(":")[0] for line in lines] == [
        "originals.jsonl is missing",
        "scores/tiny-dpo/original.jsonl",
        "scores/tiny-rm/typos@1@prompt.jsonl is missing",
    ]
    assert str(tmp_path) not in page_of(tmp_path)


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"summary\.json: no such file"):
        write_stress(tmp_path)
    write_json(tmp_path / "summary.json", {"models": []})
    with pytest.raises(UserError, match="no list 'table'; run `rewardgap stress` again"):
        write_stress(tmp_path)


def test_a_run_that_changed_nothing_gets_its_page(tmp_path: Path) -> None:
    summary = stress_rows.write_run(tmp_path, pairs=6, grid=False)
    for line in summary["table"]:
        known = ("name", "model", "transformation", "purpose", "strength", "side", "n_pairs", "n_changed")
        line.update({name: None for name in line if name not in known} | {"n_changed": 0})
    for model in summary["models"]:
        model.update(accuracy=None, spread=0.0, baselines=None, length=None)
    write_json(tmp_path / "summary.json", {"models": summary["models"], "table": summary["table"]})
    write_stress(tmp_path)
    assert "No edit that keeps the meaning changed pairs of 40 prompts" in page_of(tmp_path)


def test_a_rerun_is_named_by_date_and_commit(tmp_path: Path) -> None:
    stress_rows.write_run(tmp_path, pairs=6)
    later = {"created": "2026-11-22", "commit": "def", "versions": {"numpy": "3"}}
    write_json(tmp_path / "provenance.json", {"commit": "abc", "continued": [later]})
    write_stress(tmp_path)
    assert "<dt>commit</dt><dd>abc</dd>" in page_of(tmp_path)
    assert "<dt>continued</dt><dd>2026-11-22 from def</dd>" in page_of(tmp_path)


def test_examples_give_way_where_the_page_would_be_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stress_rows.write_run(tmp_path, pairs=12, length=20)
    write_stress(tmp_path)
    full = page_of(tmp_path)
    monkeypatch.setattr(stress_page, "LARGEST", len(full.encode()))
    write_stress(tmp_path)
    lines = [re.findall(r'<details class="example" id="[^"]+" ([^>]+)>', text) for text in (full, page_of(tmp_path))]
    assert [max(Counter(text).values()) for text in lines] == [5, 3]
    monkeypatch.setattr(stress_page, "LARGEST", 1)
    write_stress(tmp_path)
    assert "the page would be larger than 5 MB" in page_of(tmp_path)


@pytest.mark.integration
def test_a_thousand_long_pairs_stay_under_five_megabytes(tmp_path: Path) -> None:
    models = [(f"model-{number}", "explicit", 1.0 + number) for number in range(3)]
    stress_rows.write_run(tmp_path, pairs=1000, length=400, models=models)
    write_stress(tmp_path)
    assert 100_000 < len(page_of(tmp_path).encode()) < 5_000_000
    assert page_of(tmp_path).count('<details class="example"') == 3 * 5 * 5


def test_the_worst_examples_are_those_that_moved_most_the_wrong_way() -> None:
    def row(name: str, chosen: float | None, rejected: float | None, fate: str = "changed") -> dict:
        return {"id": name, "scores_chosen": chosen, "scores_rejected": rejected, "fate": fate}

    before = {name: row(name, 1.0, 0.0) for name in "abcde"}
    after = [row("a", 0.5, 0.0), row("b", -1, 0), row("c", 2, 0), row("d", None, None, "rejected: x"), row("e", -9, 0)]
    after[-1]["fate"] = "unchanged"
    line = {"model": "m", "transformation": "t", "strength": 1.0, "side": "responses", "purpose": "invariance"}
    ranked = ranking(before, after, line)
    assert [(one["id"], one["flipped"], one["severity"]) for one in ranked] == [("b", True, 2.0), ("a", False, 0.5)]
    damage = ranking(before, after, line | {"purpose": "sensitivity", "side": "chosen"})
    assert [(one["id"], one["flipped"], one["moved"]) for one in damage] == [("c", False, (1.0, 2))]
    weak = line | {"strength": 0.5}
    assert strongest([weak, line, line | {"side": "prompt"}]) == [line, line | {"side": "prompt"}]


@given(TEXT, TEXT)
def test_the_pieces_of_a_change_give_back_both_texts(before: str, after: str) -> None:
    pieces = changes(before, after)
    assert "".join(piece.text for piece in pieces if piece.kind != "new") == before
    assert "".join(piece.text for piece in pieces if piece.kind != "gone") == after
    assert all(piece.kind == "same" for piece in pieces) == (before == after)
    assert excerpt(pieces) == pieces  # short texts are shown whole


@given(TEXT, st.booleans())
def test_what_is_shown_can_be_seen_and_stored(text: str, changed: bool) -> None:
    shown = visible(text, changed=changed)
    shown.encode("utf-8")
    left = {character for character in shown if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp")}
    assert left <= {"\n", *(() if changed else ("\t", "\u200c", "\u200d"))}


def test_changes_are_marked_word_by_word() -> None:
    def of(before: str, after: str) -> list[tuple[str, str]]:
        return [(piece.kind, visible(piece.text, changed=piece.kind != "same")) for piece in changes(before, after)]

    assert of("A receive B", "A recieve B") == [("same", "A "), ("gone", "receive"), ("new", "recieve"), ("same", " B")]
    assert of("Hello World, you", "hello world, you")[:2] == [("gone", "Hello World"), ("new", "hello world")]
    assert of("a  b\nc", "a b c")[1:6] == [
        ("gone", "␣␣"), ("new", "␣"), ("same", "b"), ("gone", "⏎\n"), ("new", "␣")]  # fmt: skip
    assert of("pаy", "pay") == [("gone", "pаy"), ("new", "pay")]  # the first with a Cyrillic letter


def test_a_translation_replaces_the_text_and_is_not_mixed_into_it() -> None:
    before, after = "The flag, also known by name, has 50 stars.", "Le drapeau, aussi connu sous ce nom, a 50 étoiles."
    assert [piece.kind for piece in changes(before, after)] == ["gone", "new", "same"]
    same_length = changes("one two three four", "оne twо thrее fоur")  # look-alikes, all of them
    assert [piece.kind for piece in same_length] == ["gone", "new"]


def test_a_long_text_is_shown_around_its_changes() -> None:
    text = "word " * 3000
    pieces = excerpt(changes(text + "end", text + "stop"))
    assert [piece.kind for piece in pieces] == ["same", "skipped", "same", "gone", "new"]
    assert sum(len(piece.text) for piece in pieces) < SHOWN
    other = excerpt(changes(text, text.upper()))
    assert sum(len(piece.text) for piece in other) < 2 * SHOWN
    assert other[-1].kind == "skipped"


def test_numbers_have_two_decimals_and_a_true_minus() -> None:
    assert (two(-0.125), two(0.8), two(None), two(float("nan")), two(-0.001)) == ("−0.12", "0.80", "–", "–", "0.00")
    assert (signed(0.5), signed(-0.5), signed(0.0)) == ("+0.50", "−0.50", "0.00")
    assert interval({"value": -0.1, "low": -0.2, "high": 0.05}, signs=True) == "−0.10 [−0.20, +0.05]"
    assert interval({"value": 0.5, "low": None, "high": None}) == "0.50"
    assert (p_value(0.0004), p_value(0.034), p_value(0.31), p_value(None)) == ("<0.001", "0.034", "0.31", "–")


def test_the_lede_is_about_a_judged_edit(tmp_path: Path) -> None:
    """One pair whose order turned over is the largest loss of all, and says nothing."""
    summary = stress_rows.write_run(tmp_path, pairs=60, models=stress_rows.MODELS[:1])
    few = next(row for row in summary["table"] if row["transformation"] == "typos")
    few |= {"n_prompts": 1, "n_changed": 1, "difference": {"value": -1.0, "low": None, "high": None, "n": 1}}
    said = lede(summary["models"], summary["table"])
    assert "typos" not in said
    assert "lowercase takes the accuracy" in said
    assert "changed pairs of 40 prompts, so none was judged" in lede(summary["models"], [few])


def test_a_line_says_whether_it_is_judged_and_shown_and_whether_damage_raises_rewards(tmp_path: Path) -> None:
    summary = stress_rows.write_run(tmp_path, pairs=40, models=stress_rows.MODELS[:1])
    lines = {row["transformation"]: row for row in summary["table"]}
    lines["lowercase"] |= {"n_prompts": 39, "p_holm": 0.2, "difference": {"value": -0.3, "low": -0.5, "high": -0.1}}
    lines["typos"] |= {"p_holm": 0.04, "difference": {"value": -0.1, "low": -0.3, "high": 0.1}}
    lines["filler_sentence"]["p_holm"] = 0.05
    lines["shuffled_words"]["falls"] = {"value": 0.2, "low": 0.1, "high": 0.4}
    write_json(tmp_path / "summary.json", summary)
    write_stress(tmp_path)
    rows = re.findall(r'<tr data-model="[^"]+" data-transformation="([^"]+)"(.*?)</tr>', page_of(tmp_path), re.DOTALL)
    shown = dict(rows)
    assert {name for name, text in rows if 'class="unjudged"' in text} == {"lowercase"}
    assert "not judged: 39 of 40 prompts" in shown["lowercase"]
    clear = {name for name, text in rows if 'class="whisker clear"' in text}
    assert "typos" in clear
    assert not clear & {"lowercase", "filler_sentence"}  # by the corrected p alone
    assert {name for name, text in rows if "damage raises its rewards" in text} == {"shuffled_words"}
    assert "a filled dot where p (Holm) is below 0.05" in page_of(tmp_path)


def test_subsets_are_on_the_card(tmp_path: Path) -> None:
    summary = stress_rows.write_run(tmp_path, pairs=6)
    accuracy = {"value": 0.91, "low": 0.81, "high": 0.97, "n": 9}
    summary["models"][0]["subsets"] = [{"subset": "reasoning <b>", "n_pairs": 9, "accuracy": accuracy}]
    write_json(tmp_path / "summary.json", summary)
    write_stress(tmp_path)
    assert "reasoning &lt;b&gt;" in page_of(tmp_path)
    assert "0.91 [0.81, 0.97]" in page_of(tmp_path)


def test_the_headline_counts_verdicts() -> None:
    models = [{"name": "a", "verdict": "robust"}, {"name": "b", "verdict": "token-sensitive"}]
    assert headline(models[:1]) == "a is robust"
    assert headline([models[0] | {"stated": "robust to 1 edit"}]) == "a is robust to 1 edit"
    scoped = [models[0] | {"stated": f"robust to {n} of the 8 default edits"} for n in (8, 1)]
    assert headline([*scoped, models[1]]) == (
        "Of 3 models, 1 is token-sensitive, 1 is robust to 1 of the 8 default edits and 1 is robust to 8 of the 8 "
        "default edits"
    )
    assert headline([models[0], models[0]]) == "Both models are robust"
    assert headline([*models, models[0]]) == "Of 3 models, 1 is token-sensitive and 2 are robust"


@pytest.mark.parametrize("values", [[], [0.0], [-0.31, 0.02], [0.7], [-1e-9]])
def test_an_axis_holds_zero_and_all_it_draws(values: list[float]) -> None:
    scale = around(values, 6, 144)
    assert scale.low <= min([0, *values]) <= max([0, *values]) <= scale.high
    assert all(6 <= scale.at(value) <= 144 for value in [0, *values])
    assert 0.0 in scale.ticks(3)
    assert len(scale.ticks(3)) <= 3
