"""The account's numbers are those of the stored results, and a sentence cannot lose its number unseen."""

import re
import shutil

import pytest

from figures.account import ACCOUNT, Numbers, account
from figures.gallery import PICTURES
from figures.redraw import STORED
from llm_experiments.studies import STUDIES
from simulations.experiments import EXPERIMENTS
from simulations.results import UserError, read_json, write_json


@pytest.mark.integration
def test_the_committed_account_is_the_stored_results():
    assert ACCOUNT.read_text(encoding="utf-8") == account(), "results have changed: run `python -m figures.account`"


def test_a_number_that_moves_moves_in_the_text_and_one_that_is_gone_is_missed(tmp_path):
    shutil.copytree(STORED, tmp_path / "data")
    summary = read_json(tmp_path / "data/summary.json")
    claim = next(c for c in summary["claims"] if c["id"] == "rung2/mistral/prefix_swap/implicit")
    claim |= {"measured": 0.4321, "low": 0.1234, "high": 0.6543}
    write_json(tmp_path / "data/summary.json", summary)
    assert "| implicit, its two prefixes swapped |  | 0.432 [0.123, 0.654] | 6 clusters |  |" in account(
        tmp_path / "data"
    )
    summary["claims"].remove(claim)
    write_json(tmp_path / "data/summary.json", summary)
    with pytest.raises(UserError, match="no stored claim 'rung2/mistral/prefix_swap/implicit'"):
        account(tmp_path / "data")


def test_its_tables_are_whole_and_what_it_names_exists():
    text = account()
    for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        lines = table.splitlines()
        assert len(lines) > 2
        assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {6}, table
    named = re.findall(r"`rewardgap (study|simulate) ([a-z]\w+)", text)
    assert len(named) >= 5
    for command, name in named:
        assert name in (STUDIES if command == "study" else EXPERIMENTS), name
    drawn = {picture.name for picture in PICTURES}
    for names in re.findall(r"figures? ((?:\w+(?:, | and )?)+)", text):
        for name in re.split(r", | and ", names):
            assert "_" not in name or name in drawn, name


def test_the_tally_counts_every_decided_claim_once():
    tally = Numbers(STORED).tally()
    assert tally["holds"] > 50
    assert sum(tally.values()) == sum(claim["type"] != "observation" for claim in Numbers(STORED).claims.values())
