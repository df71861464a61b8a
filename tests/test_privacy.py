"""What a vocabulary reveals about people: names, handles, links and numbers."""

import subprocess
import sys

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from models import privacy
from models.errors import InputError
from models.privacy import may_show_characters, may_show_token, may_show_words
from models.text import EMAIL, PHONE, URL, USER

NAMES = """harvey weinstein alyssa milano trump cosby spacey kevin hillary clinton moore jessica maria mohammed priya tarana fatima nguyen
    mcgowan kavanaugh o'reilly beyoncé josé""".split()  # noqa: SIM905
ORDINARY = """will may hope grace mark boss street hand church love self joy faith young white justice mercy summer woman me too not i a
    harassed assaulted stalker believe survivors yes oh thanks please lol 's n't sh*t ! ... ♥ 😭 🇺🇸 <3 :( w/o me- el""".split()  # noqa: SIM905
MASKS = [USER, URL, EMAIL, PHONE]

anything = st.text(st.characters(codec="utf-8", exclude_categories=["Z"]), max_size=8)
shown = st.sampled_from([*ORDINARY, *MASKS, "#metoo"])
hidden = st.sampled_from([*NAMES, "@amy", "2017", "www.example.org", "zzyzxq"])


@pytest.mark.parametrize("word", ORDINARY)
def test_ordinary_words_and_signs_may_be_shown_even_where_somebody_is_called_so(word):
    assert may_show_token(word)
    assert may_show_characters(f" {word} ")


@pytest.mark.parametrize("name", NAMES)
def test_names_may_not(name):
    assert not may_show_token(name)
    assert not may_show_characters(f" {name} ")


@pytest.mark.parametrize("token", ["hollywood", "london", "uber", "november"])
def test_nor_may_places_employers_and_months(token):
    assert not may_show_token(token)


ACRONYMS = """nyc dc nj tx uk usa eu un la fbi cia irs nypd lapd nhs tsa ucla usc nyu lsu mit suny unc umich bbc cnn nbc npr nyt wapo espn
    ibm kpmg usps ymca gop aclu nato""".split()  # noqa: SIM905


@pytest.mark.parametrize("word", ACRONYMS)
def test_nor_may_abbreviations_of_places_employers_and_agencies(word):
    assert [token for token in (word, f"#{word}", f"{word}-based", f"ex-{word}") if may_show_token(token)] == []
    assert not may_show_characters(f" {word} ")
    assert not may_show_words(f"the {word}")


@pytest.mark.parametrize("tag", ["#nypdmetoo", "#uclametoo", "#bbcnews", "#nhsworkers", "#shameonlapd"])
def test_nor_may_hashtags_that_hold_one(tag):
    assert not may_show_token(tag)


@pytest.mark.parametrize("token", ["at&t", "h&m", "a&m", "#at&t"])
def test_nor_may_initials_of_companies(token):
    assert not may_show_token(token)


@pytest.mark.parametrize(
    "word",
    """hr ceo vp metoo csa sa tw cw lgbt lgbtq ptsd adhd rn er icu tv us it or in me ok hi oh so id dm poc dv std hiv omg lol wtf idk imo
    smh na ca ll ve re phd gf bf mom""".split(),  # noqa: SIM905
)
def test_abbreviations_that_stand_for_nobody_may_be_shown(word):
    assert may_show_token(word)
    assert may_show_characters(f" {word} ")


def test_the_list_of_abbreviations_has_what_the_capitals_do_not_tell():
    listed = privacy._abbreviations()
    assert all(word.isalpha() and word.islower() for word in listed)
    told = {word: word in privacy._usage() and privacy._usage()[word].capitals > privacy._ABBREVIATION for word in listed}
    assert [word for word, shown in listed.items() if not shown and told[word]] == []


@pytest.mark.parametrize("token", ["toback", "zzyzxq", "mukherjeeson", "анна", "美咲"])
def test_nor_may_words_that_are_not_known(token):
    assert not may_show_token(token)


@pytest.mark.parametrize(
    "token", ["@amy", "amy@work", "2017", "b4", "1st", "x9", "٣", "www", "https", "example.org", "c.k", "a://b", "<30", "<33", "1️⃣"]
)
def test_nor_may_handles_numbers_links_and_initials(token):
    assert not may_show_token(token)


@pytest.mark.parametrize("mask", MASKS)
def test_masks_may_be_shown_and_so_may_their_parts(mask):
    padded = f" {mask} "
    assert may_show_token(mask)
    assert all(may_show_characters(padded[start : start + size]) for size in range(1, 6) for start in range(len(padded) - size + 1))


@pytest.mark.parametrize(
    "tag", ["#metoo", "metoo", "#timesup", "#ibelieveyou", "#whywomendontreport", "#notallmen", "#sexualharassment", "#womenwhoroar"]
)
def test_hashtags_of_ordinary_words_may_be_shown(tag):
    assert may_show_token(tag)


@pytest.mark.parametrize("tag", ["#harveyweinstein", "#believerose", "#roymoore", "#thankyoutarana", "#istandwithcorey", "#zzyzxq"])
def test_hashtags_that_hold_a_name_may_not(tag):
    assert not may_show_token(tag)


@given(st.sampled_from(NAMES), st.sampled_from([*ORDINARY, *NAMES]), st.sampled_from(["_", "-", "/", "'", "."]))
def test_no_sign_hides_a_name(name, other, sign):
    assert not may_show_token(name + sign + other)
    assert not may_show_token(other + sign + name)


@given(anything, st.sampled_from("0123456789٣@"), anything)
def test_a_digit_or_an_at_sign_is_never_shown_but_in_a_mask_or_a_heart(before, sign, after):
    token = before + sign + after
    assume("<3" not in token and token not in MASKS)
    assert not may_show_token(token)
    assert not may_show_characters(f" {token} ")
    if not any(token in f" {mask} " for mask in MASKS):
        assert not may_show_characters(token)


@given(st.lists(shown, min_size=1, max_size=2), st.lists(hidden, max_size=1))
def test_words_may_be_shown_together_if_each_may(public, private):
    assert may_show_words(" ".join(public + private)) == (not private)


@given(anything.filter(bool))
def test_a_whole_token_among_the_characters_is_judged_as_among_the_words(token):
    assert may_show_characters(f" {token} ") == may_show_token(token)


@pytest.mark.parametrize("ngram", ["kevin", " mary", "mary ", "sarah", "www", "http", "x.y", "@am", " @a", "20", "3 ", " 1"])
def test_parts_of_tokens_that_look_private_by_themselves_may_not_be_shown(ngram):
    assert not may_show_characters(ngram)


@pytest.mark.parametrize("ngram", ["ted ", " ann", "lee", "assau", "arass", " me", "n't", "!", " <3", "oo", " ", "_", "leep", "ards "])
def test_parts_of_ordinary_words_may_be_shown_even_where_somebody_is_called_so(ngram):
    assert may_show_characters(ngram)


def test_lists_that_are_not_installed_are_an_input_error_that_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "spacy_lookups_data", None)
    with pytest.raises(InputError, match=r"private='drop' \(features.private in a config\) needs .* pip install -e '\.\[names\]'"):
        privacy._usage.__wrapped__()


def test_lists_are_read_only_when_they_are_needed():
    script = "import sys, models.features; sys.exit(bool({'names', 'spacy', 'spacy_lookups_data'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
