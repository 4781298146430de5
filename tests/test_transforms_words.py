"""The word lists: large enough, no slips of our own, and nothing that turns round on itself."""

import json
import re

import pytest

from llm_experiments.stress.vocabulary import entries, is_english, occurrences

LISTS = {  # columns
    "contractions.tsv": 3,
    "fillers.tsv": 2,
    "misspellings.tsv": 2,
    "off_topic.txt": 1,
    "slips.txt": 1,
    "synonyms.tsv": 3,
    "us_uk.tsv": 2,
}


@pytest.mark.parametrize("name", LISTS)
def test_at_least_a_hundred_entries_each_once(name):
    rows = entries(name)
    assert len(rows) >= 100
    assert {len(row) for row in rows} == {LISTS[name]}
    assert len({row[0].lower() for row in rows}) == len(rows)
    assert all(cell == cell.strip() and cell for row in rows for cell in row)
    if name in ("misspellings.tsv", "synonyms.tsv", "us_uk.tsv", "contractions.tsv"):
        assert not [row for row in rows if row[0].lower() == row[1].lower()]


def test_us_and_uk_spelling_are_inverse_to_each_other():
    american, british = zip(*entries("us_uk.tsv"), strict=True)
    assert len(set(british)) == len(british)
    assert not set(american) & set(british)


def test_contractions_that_go_both_ways_are_inverse_to_each_other():
    for direction in ("contract", "expand"):
        rows = [row for row in entries("contractions.tsv") if row[2] in ("both", direction)]
        assert len({row[direction == "expand"] for row in rows}) == len(rows)
    assert {row[2] for row in entries("contractions.tsv")} == {"both", "contract", "expand"}


def test_misspellings_are_not_words_of_ours_and_close_to_what_they_misspell():
    words = {word for name in ("misspellings.tsv", "us_uk.tsv", "synonyms.tsv") for word, *_ in entries(name)}
    words |= {row[1] for name in ("us_uk.tsv", "synonyms.tsv") for row in entries(name)}
    for right, wrong in entries("misspellings.tsv"):
        assert wrong not in words
        assert right[0] == wrong[0] or {right[:2], wrong[:2]} == {"pe", "pu"}
        assert abs(len(right) - len(wrong)) <= 2


def test_synonyms_are_of_known_parts_of_speech_and_verbs_keep_their_form():
    rows = entries("synonyms.tsv")
    assert {part for _, _, part in rows} == {"adjective", "adverb", "noun", "phrase", "verb"}
    for word, synonym, part in rows:
        if part == "verb" and word.endswith("ing"):
            assert synonym.endswith("ing"), word
        if part == "verb" and word.endswith("s") and not word.endswith("ss"):
            assert synonym.endswith("s"), word
        if part == "noun":
            assert word.endswith("s") == synonym.endswith(("s", "children", "people")) or word.endswith("ss"), word


def test_no_list_has_numbers_links_or_names_that_a_gate_would_stop():
    for name in ("fillers.tsv", "off_topic.txt", "synonyms.tsv"):
        for row in entries(name):
            assert not re.search(
                r"\d|https?:|\b(?:two|three|four|five|six|seven|eight|nine|ten)\b", row[0], re.IGNORECASE
            )
    assert {where for _, where in entries("fillers.tsv")} == {"start", "end"}


def test_occurrences_are_whole_english_words_and_the_longest_phrase():
    table = dict.fromkeys(("due to", "due to the fact that", "big", "center"))
    text = "It is due to the fact that a big bigger biggish big-time e\u0301big and Big Ben or the Center is BIG. Big."
    found = [text[start:end] for start, end, _ in occurrences(text, table)]
    assert found == ["due to the fact that", "big", "Big"]


def test_english_is_told_from_its_neighbours():
    assert is_english("The cat sat on the mat and looked at it.")
    assert not is_english("Le chat est assis sur le tapis et nous regarde avec ses grands yeux verts dans la nuit.")
    assert not is_english("El gato negro duerme sobre la mesa grande mientras nosotros comemos pan con queso fresco.")


def test_slips_txt_holds_words_that_a_slip_could_make():
    words = {word for (word,) in entries("slips.txt")}
    assert all(len(word) >= 5 and word.isalpha() and word.islower() for word in words)


@pytest.mark.data
def test_the_lists_agree_with_public_ones(real_data):
    to_british, to_american = (
        json.loads((real_data / f"lexicons/us_uk/{name}_spellings.json").read_text())
        for name in ("american", "british")
    )
    known = [(us, uk) for us, uk in entries("us_uk.tsv") if us in to_british or uk in to_american]
    assert len(known) > 400
    assert not [(us, uk) for us, uk in known if to_british.get(us) != uk and to_american.get(uk) != us]
    public = json.loads((real_data / "lexicons/contractions/contractions_dict.json").read_text())
    ours = {short: long for long, short, way in entries("contractions.tsv") if way == "both" and short in public}
    assert len(ours) > 20
    assert all(public[short].lower() == long.lower() for short, long in ours.items())
    words = json.loads((real_data / "lexicons/nl_augmenter/spell_errors.json").read_text())
    assert not [wrong for _, wrong in entries("misspellings.tsv") if wrong in words]
