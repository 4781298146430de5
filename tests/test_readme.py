"""The README keeps its word: commands that it shows run, paths that it names exist."""

import json
import re
import shlex
from pathlib import Path

import pytest
from stress_worlds import sentence_pairs, write_pairs

import rewardgap
from llm_experiments.stress.verdict import VERDICTS
from llm_experiments.tasks import repair_study
from rewardgap_arguments import parse
from simulations.results import Claim, read_json, read_rows

KINDS = ("explicit", "implicit")
ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
GUIDE = ROOT / "llm_experiments/stress/README.md"
BLOCK = re.compile(r"(?:<!-- tested(?:: (\S+))? -->\n)?```(\w*)\n(.*?)```", re.DOTALL)


def blocks(language: str, document: str = README) -> list[tuple[bool, str, str]]:
    """(tested?, file name, text) of the fenced blocks in one language."""
    return [
        (found.group(0).startswith("<!--"), found.group(1) or "", found.group(3))
        for found in BLOCK.finditer(document)
        if found.group(2) == language
    ]


def commands(text: str) -> list[list[str]]:
    lines = [line.strip() for line in text.replace("\\\n", " ").split("\n")]
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("rewardgap ")]


@pytest.mark.integration
def test_the_quick_commands_run_as_written(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for _, name, text in blocks("json"):
        (tmp_path / name).write_text(text, encoding="utf-8")
    ran = 0
    for tested, _, text in blocks("sh"):
        for words in commands(text) if tested else []:
            assert rewardgap.main(words) == 0, (words, capsys.readouterr().err)
            ran += 1
    assert ran >= 4
    scores = next((tmp_path / "my-scores").rglob("pairs.jsonl")).read_text(encoding="utf-8").split("\n")
    assert {"scores_chosen", "scores_rejected"} <= json.loads(scores[0]).keys()


def test_the_long_commands_are_at_least_understood():
    longer = [words for tested, _, text in blocks("sh") for words in commands(text) if not tested]
    assert len(longer) >= 3
    for words in longer:
        words = ["explicit" if word == "$kind" else word for word in words]
        parse("rewardgap", "", rewardgap.COMMANDS, rewardgap.ALIASES, words)


def test_flags_in_the_text_exist():
    every = {"help", *rewardgap.ALIASES}
    for command in rewardgap.COMMANDS.values():
        every |= set(command.__dataclass_fields__)
    inline = re.findall(r"`[^`]*`", re.sub(r"```.*?```", "", README, flags=re.DOTALL).replace("pip install", ""))
    flags = {flag for code in inline if "index-url" not in code for flag in re.findall(r"--(\w[\w-]*)", code)}
    assert len(flags) >= 4
    assert not {flag for flag in flags if flag.replace("-", "_") not in every}


def test_make_targets_in_the_text_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"(?:`|^)make ([a-z]+)", README, re.MULTILINE))
    assert {"reproduce", "test"} <= targets
    assert not {target for target in targets if not re.search(rf"^{target}:", makefile, re.MULTILINE)}


def test_links_and_the_file_tree_lead_somewhere():
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README) if "://" not in link]
    (listing,) = (text for _, _, text in blocks("") if "rewardgap.py " in text)
    tree = [line.split()[0] for line in listing.splitlines()]
    assert len(links) >= 2
    assert len(tree) >= 9
    assert not [name for name in links + tree if not (ROOT / name).exists()]


def test_its_numbers_are_those_of_the_stored_run():
    claims = {
        c["id"]: c for c in json.loads((ROOT / "figures/data/summary.json").read_text(encoding="utf-8"))["claims"]
    }
    told = [f"rung1/registered/{label}/{kind}/unseen_forms" for label in ("statement", "constant") for kind in KINDS]
    arms = ("mistral/published", "gemma/published", "mistral-terminator/published", "mistral/prefix_swap")
    told += [f"rung2/{arm}/{kind}" for arm in arms for kind in KINDS]
    for claim in (claims[name] for name in told):
        assert f"{claim['kind']} {claim['measured']:.3f} [{claim['low']:.3f}, {claim['high']:.3f}]" in README, claim[
            "id"
        ]
    assert (
        f"{claims['rung0.explicit_follows_separator']['n']} of {claims['rung0.unseen_all_tied']['n']} pairs" in README
    )


def test_the_guide_to_stress_tests_keeps_its_word():
    guide = GUIDE.read_text(encoding="utf-8")
    shown = [words for _, _, text in blocks("sh", guide) for words in commands(text)]
    assert len(shown) >= 6
    for words in shown:
        parse("rewardgap", "", rewardgap.COMMANDS, rewardgap.ALIASES, words)
    links = [link for link in re.findall(r"\]\(([^)]+)\)", guide) if "://" not in link]
    assert links
    assert not [link for link in links if not (GUIDE.parent / link).exists()]
    assert set(VERDICTS) == set(re.findall(r"^\| `([a-z-]+)` \|", guide, re.MULTILINE))


def test_the_guides_reward_function_gets_its_verdict_and_its_page(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_pairs(tmp_path / "pairs.jsonl", sentence_pairs(5))
    (block,) = blocks("python", GUIDE.read_text(encoding="utf-8"))
    exec(compile(block[2], "guide", "exec"), {"my_reward": lambda prompt, response: len(response)})
    assert read_json(tmp_path / "runs/mine/summary.json")["models"][0]["verdict"] in VERDICTS
    assert "mine is" in (tmp_path / "runs/mine/report.html").read_text(encoding="utf-8")


def test_the_guides_numbers_of_the_repair_are_those_of_the_stored_study():
    """Every arm's accuracy and change on unseen words, how much of the gap that is, and what was learnt."""
    guide = GUIDE.read_text(encoding="utf-8").replace("−", "-")
    folder = ROOT / "figures/data/study/repair"
    stored = read_rows(folder / "rows.jsonl")
    claims = {claim.id.removeprefix("repair/"): claim for claim in repair_study.repair_claims(stored)[0]}
    summary = read_json(folder / "summary.json")
    assert [claim.to_row() for claim in claims.values()] == [Claim.from_row(c).to_row() for c in summary["claims"]]
    assert "+changes" not in summary["provenance"]["commit"]
    told = dict(re.findall(r"^\| ([a-z-]+) (\|.*\|)$", guide, re.MULTILINE))
    gap = claims["none/explicit"].measured - claims["none/implicit"].measured
    for arm, (_, kinds, _) in repair_study.ARMS.items():
        cells = ["", told[arm].split("|")[1].strip(), *[""] * 6, ""]
        for column, kind in ((2, "implicit"), (6, "explicit")):
            if kind in kinds:
                cells[column] = f"{claims[f'{arm}/{kind}'].measured:.2f}"
            if kind in kinds and arm != "none":
                change = claims[f"{arm}/{kind}/change"]
                cells[column + 1] = f"{change.measured:+.2f} [{change.low:+.2f}, {change.high:+.2f}]"
        fits = [r["accuracy"] for r in stored if (r["cell"], r["kind"], r["split"]) == (arm, "implicit", "train")]
        cells[4] = "" if arm == "none" else f"{claims[f'{arm}/implicit/change'].measured / gap:.0%}"
        cells[5] = f"{min(fits):.2f} to {max(fits):.2f}"
        assert [cell.strip() for cell in told[arm].split("|")] == cells
    rung1 = {c["id"]: c for c in read_json(ROOT / "figures/data/summary.json")["claims"]}
    everywhere = rung1["rung1/registered/statement/implicit/unseen_forms"]
    assert f"at {claims['none/implicit'].measured:.2f}, all 24 of rung 1 at {everywhere['measured']:.2f}" in guide
    assert everywhere["n"] == 24
