"""Disguised words are read, and ordinary words are left as they are."""

import json
import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import models.text
from models.config import ROOT
from models.letters import read_look_alikes
from models.markup import strip_markup
from models.masks import without_edge_masks
from models.spelling import algospeak, spelled
from models.text import _Chunks, is_blank, normalise
from models.tokens import PostTokenizer
from models.words import masked_words, ranks, words_in
from pipeline.scoring import Options
from pipeline.scoring.posts import refusal

STARTER = [json.loads(line)["text"] for line in (ROOT / "data/starter/test.jsonl").read_text("utf-8").splitlines()]


def shifted(letters, capital_a):
    """Return the letters in another alphabet of Unicode, whose capital A is at this code point."""
    return "".join(chr(capital_a + ord(letter) - ord("A")) if letter.isalpha() else letter for letter in letters.upper())


SMALL_CAPITALS = dict(zip("abcdefghijklmnopqrstuvwxyz", "ᴀʙᴄᴅᴇꜰɢʜɪᴊᴋʟᴍɴᴏᴘǫʀꜱᴛᴜᴠᴡxʏᴢ", strict=True))
# What people do to a word to hide it from a filter.
DISGUISES = {
    "negative squared": lambda word: shifted(word, 0x1F170),
    "negative circled": lambda word: shifted(word, 0x1F150),
    "squared": lambda word: shifted(word, 0x1F130),
    "regional indicators": lambda word: shifted(word, 0x1F1E6),
    "regional indicators, spaced": lambda word: " ".join(shifted(word, 0x1F1E6)),
    "parenthesised": lambda word: "".join(chr(0x249C + ord(letter) - ord("a")) for letter in word),
    "full width": lambda word: "".join(chr(ord(letter) + 0xFEE0) for letter in word),
    "mathematical": lambda word: "".join(chr(0x1D5EE + ord(letter) - ord("a")) for letter in word),
    "small capitals": lambda word: "".join(SMALL_CAPITALS[letter] for letter in word),
    "accents": lambda word: word.translate(str.maketrans("aeiou", "áèîöú")),
    "struck through": lambda word: "".join(letter + "\u0336" for letter in word),
    "slashed": lambda word: "".join(letter + "\u0338" for letter in word),
    "zalgo": lambda word: "".join(letter + "\u0348\u036b\u030d" for letter in word),
    "Latin alpha, script g": lambda word: word.replace("a", "ɑ").replace("g", "ɡ"),
    "Cyrillic letters": lambda word: word.translate(str.maketrans("aeopcxy", "аеорсху")),
    "right to left": lambda word: f"\u202e{word[::-1]}\u202c",
    "zero width": "\u200b".join,
    "spaced": " ".join,
    "widely spaced": "  ".join,
    "dotted": ".".join,
    "dashed": "-".join,
    "piped": "|".join,
    "stretched": lambda word: re.sub("[aeiou]", lambda vowel: vowel[0] * 6, word, count=1),
    "shouted and stretched": lambda word: re.sub("[aeiou]", lambda vowel: vowel[0] * 9, word, count=1).upper(),
    "digits": lambda word: word.translate(str.maketrans("aeos", "4305")),
    "symbols": lambda word: word.translate(str.maketrans("as", "@$")),
    "an asterisk": lambda word: re.sub("(?<=.)[aeiou]", "*", word, count=1),
    "x": lambda word: re.sub("[aeiou]", "x", word, count=1),
}
# A masked word is read only if it is certain which word it is: "f*cked", "s*x" and "d*ck" are, but "r**es" is not.
WORDS = ["raped", "groped", "molested", "assaulted", "harassed", "abused", "fondled", "sexually", "grabbed", "rapist", "assault"]


@pytest.mark.parametrize("disguise", DISGUISES)
@pytest.mark.parametrize("word", WORDS)
def test_a_disguised_word_is_read(disguise, word):
    assert normalise(f"He said {DISGUISES[disguise](word)} and it was not me.") == f"he said {word} and it was not me."


READ = {
    "a@ at the beginning": ("he @ssaulted me", "he assaulted me"),
    "several asterisks": ("he r**ed me", "he raped me"),
    "a dash for a letter": ("he r-ped me", "he raped me"),
    "one separator": ("he ra-ped me, as.saulted me", "he raped me, assaulted me"),
    "underscores for spaces": ("A_man_groped_me_on_the_bus.", "a man groped me on the bus."),
    "pipes for all spaces": ("He|grabbed|me.|I|ran,|it's|over|#MeToo", "he grabbed me. i ran, it's over #metoo"),
    "underscores for all spaces": ("#MeToo._He_grabbed_me._I_ran", "#metoo. he grabbed me. i ran"),
    "pipes for spaces": ("A man|groped|me|on the bus", "a man groped me on the bus"),
    "letters beside a word": ("was i g r o p e d i think", "was i groped i think"),
    "look-alikes of another script": ("He гареԁ me when I was 19", "he raped me when i was 19"),
    "stretched, several times": ("hellllppppp meeeee tooooo", "help me too"),
    "a hashtag": ("#gr0ped", "#groped"),
    "algospeak": ("i was SA'd, graped, 🍇d and was 🍇", "i was sexually assaulted, raped, raped and was raped"),
    "algospeak for other things": ("he unalived himself, no seggs", "he killed himself, no sex"),
    "no apostrophes": ("i dont, didnt, im, ive, youre, hes, theyve", "i don't, didn't, i'm, i've, you're, he's, they've"),
    "wrong apostrophes": ("i didn;t and don`t and wasn´t and won''t", "i didn't and don't and wasn't and won't"),
    "apostrophes apart": ("i didn t, i ve, you re", "i didn't, i've, you're"),
    "hashtags by capitals": ("#AManGropedMe #IBelieveYou", "#amangropedme a man groped me #ibelieveyou i believe you"),
    "hashtags by words": ("#whyididntreport #BELIEVESURVIVORS", "#whyididntreport why i didn't report #believesurvivors believe survivors"),
    "hashtags beside their words": ("#IBelieveYou I believe you", "#ibelieveyou i believe you"),
    "a hashtag that stays itself": ("#MeToo #metoo", "#metoo #metoo"),
    "a hashtag in punctuation": ("(#TimesUp), yes", "(#timesup times up ), yes"),
    "Mastodon's mention": (
        '<p><span class="h-card"><a href="https://x.social/@anna" class="u-url mention">@<span>anna</span></a></span> me too</p>',
        "@user me too",
    ),
    "Mastodon's link": ('<a href="https://a.org/b"><span class="invisible">https://</span>a.org/b</a> yes', "<url> yes"),
    "a link of words": ('<a href="https://a.org/b">her story</a>', "her story <url>"),
    "HTML breaks": ("one<br>two<br/>three<p>four</p><ul><li>five</li></ul>", "one two three four five"),
    "scripts and styles": ("<style>p {color: red}</style><script>alert('x')</script>me too<!-- no -->", "me too"),
    "escaped HTML": ("&lt;p&gt;me &amp;amp; you&lt;/p&gt;", "me & you"),
    "handles of all kinds": ("@jane.doe_99 @jane-doe.bsky.social @user@server.social u/janedoe /u/jane_doe hi", "@user " * 5 + "hi"),
    "handles of several words": ("@jane.is.doe @jane-my-doe @jane.to.doe!", "@user @user @user !"),
    "a redditor, and you": ("...u/john_doe, _u/jane_ thank u/him", "... @user , _ @user thank u/him"),
    "addresses of all kinds": ("mary.o'brien@x.org o'neill%a@b.co.uk 'jane@x.org' jane(at)x.org", "<email> <email> ' <email> ' <email>"),
    "links of all kinds": ("http://http:// https://localhost/a _jane.com_ 我jane.com我 jane.de", "<url> <url> <url> _ <url> 我 <url>"),
    "phone numbers as they are written": ("555 – 010 – 9999, 555•010•9999", "<phone> , <phone>"),
    "an address in a link to it": ('<a href="mailto:a@b.co">a@b.co</a> hi', "<email> hi"),
    "possessives": ("my r@pist's and r4pist’s name", "my rapist's and rapist's name"),
    "a number sign for a letter": ("he r#ped me, f#ck", "he raped me, fuck"),
    "letters apart with dots and dashes": ("he r. a. p. e. d. me, s - e - x", "he raped. me, sex"),
    "an apostrophe behind": ("i dont' and wont', 'dont'", "i don't and won't, 'don't'"),
    "an apostrophe apart": ("i didn 't", "i didn't"),
    "letters in signs": ("he r\u20e0aped a\u20dd", "he raped a"),
    "letters of Canadian syllabics": ("he ᖇᗩᑭEᗪ me", "he raped me"),
    "stretched masked words": ("shittttty, asssss", "shitty, ass"),
    "a disguised word in a hashtag": ("#GrapedByHim #r@ped", "#rapedbyhim raped by him #raped"),
    "a hashtag after underscores": ("A_man_groped_me._#metoo", "a man groped me. #metoo"),
    "a handle glued to a word": ("he groped@bobby", "he groped @user"),
    "a handle before a sentence": ("ask @jane.he said", "ask @user .he said"),
    "a link before a sentence": ("https://t.co/abc,he said (https://t.co/d). www.a.org/b? yes", "<url> ,he said ( <url> ). <url> ? yes"),
    "a link before other scripts": ("https://t.co/abc我也是", "<url> 我也是"),
}


@pytest.mark.parametrize(("raw", "expected"), READ.values(), ids=READ)
def test_words_are_read_as_they_were_meant(raw, expected):
    assert normalise(raw) == expected


ORDINARY = [
    "i <3 her & a < b, 2 > 1, <user> said <b",
    "my id, wed on wed, its, wont, ill, well, were, shed, hell",
    "covid19, mp3, 5th, 3am, 10am, h1n1, 4x4, ps4, 20s, b2b, r2d2, co2, 9/11, 24/7",
    "u.s.a., e.g., p.m., ph.d., a.m.",
    "self-esteem, co-ed, x-ray, t-shirt, e-mail, ex-husband, re-read, and/or, he/she, r&b, w/o",
    "café, fiancé, naïve, résumé, josé, são paulo, beyoncé",
    "the footnote* and *this* and **that**, 5 stars ***",
    "i love 🍇 and grapes, 🇺🇸 🇬🇧 🅰 ok",
    "$100, €5, £3, 50%, c++, a+, f#",
    "usa, fbi, nasa, lgbtq, ny, uk",
    "on 2017-10-15 10:30, 15.10.2017 10:30, 10/15/2017",
    ":) :( <3 </3 ^_^ -_- o_o t_t x_x",
    "iii, vii, viii, xiii, xiv",
    "he hit me.he/she",
    "j. r. r. tolkien, a - b - c, f.b.i., p.s. i, 2 * 3 * 4 = 24",
    "h2o, c6h12o6, 1e-5, x = y[0] + 2; # why",
    "jean-luc, o'brien, mcdonald, dos and don'ts, the a-team",
]
FOREIGN = [
    "él está aquí y yo también lo creí, qué más da",
    "même moi aussi, où était mon père, à côté de la mère",
    "für mich wäre das schön, über alles hinaus",
    "não são só elas, também eu, a mãe já não está",
    "jag också, när jag var på väg hem från jobbet",
    "ben de, iş yerinde çalışırken çok üzüldüm",
    "tôi cũng vậy, đã nhiều năm rồi",
    "я тоже, когда мне было рот нос, это сор",
    "και εγώ, όταν ήμουν μικρή",
    "ich auch, in der schule, so was",
    "私も 我也是 나도",
    "قالَ لي رَجُلٌ في الشارِعِ",
    "שָׁלוֹם עֲלֵיכֶם",
    "नमस्ते, मैं भी, हिन्दी में",
]


@pytest.mark.parametrize("text", ORDINARY + FOREIGN)
def test_ordinary_text_is_left_alone(text):
    assert normalise(text) == text


def test_single_letters_that_spell_no_word_stay():
    assert normalise("a b c d e f g h") == "a b c d e f g h"


def test_enclosed_letters_and_flags_alone_stay():
    assert normalise("i love 🍇 and 🇺🇸🇬🇧, 🅰 too") == "i love 🍇 and 🇺🇸 🇬🇧 , 🅰 too"


@given(st.sampled_from(STARTER), st.integers(1, 3))
@settings(max_examples=60, deadline=None)
def test_masks_at_the_ends_change_no_token(text, number):
    tokens = TOKENIZER([normalise(text)]).to_lists()
    for disguised in (
        "@someone " * number + text,
        "." + "@someone " * number + text,
        "RT @x: " * number + text,
        text + " https://t.co/abcdefghij" * number,
        f"{text} via @someone",
        f"RT @x: {text} https://t.co/abc @someone",
    ):
        assert TOKENIZER([normalise(disguised)]).to_lists() == tokens


@given(st.sampled_from(STARTER))
@settings(max_examples=60, deadline=None)
def test_html_around_a_post_changes_nothing(text):
    for wrap in ("<p>{}</p>", '<div class="md"><p>{}</p></div>', "<html><body>{}</body></html>", "{}<br/>", "<blockquote>{}</blockquote>"):
        assert normalise(wrap.format(text)) == normalise(text)


TOKENIZER = PostTokenizer()


@pytest.mark.parametrize("chunk", ["ID", "Wed", "wont", "its", "ill", "id", "wed", "well", "shed", "hell"])
def test_words_that_spacy_takes_for_contractions_stay_whole(chunk):
    assert TOKENIZER([normalise(f"the {chunk} is")]).to_lists() == [["the", chunk.lower(), "is"]]


@pytest.mark.parametrize(
    "raw",
    [
        "",
        " ",
        "\u200b",
        "\u3164",
        "\u2800",
        "\u2800 \u200b\ufeff",
        "\u00ad",
        "\u115f",
        "<p></p>",
        "<br>",
        "&nbsp;",
        "\u200b&#x200B;",
        "\u202e\u202c",
    ],
)
def test_text_of_which_nothing_is_seen_is_empty(raw):
    assert normalise(raw) == ""
    assert is_blank(raw)
    assert refusal("1", raw, Options()) == "text is empty"


@given(st.text("ab1. <>&;#@\t\n\x1d\u00a0\u200b\u2800\u00ad", max_size=20))
@settings(max_examples=300, deadline=None)
def test_a_blank_text_is_one_of_which_nothing_is_left(raw):
    if is_blank(raw):
        assert normalise(raw) == ""
    else:
        assert normalise(raw)


@given(st.text("<>/abp scriptyle!-=\"'#@ \n", max_size=60))
@settings(max_examples=200, deadline=None)
def test_what_is_left_of_markup_only_gets_shorter(text):
    once = strip_markup(text)
    assert len(strip_markup(once)) <= len(once)
    if "<" not in text:
        assert once == text


@pytest.mark.parametrize(
    "unit",
    [
        "<script>",
        "<!--",
        "<p ",
        "<a href=x>",
        "</a>",
        "a|",
        "a_",
        "g r ",
        "#AbCd",
        "r*",
        "4a",
        "aaa",
        "a'",
        "🅰",
        "é",
        "x",
        "=",
        "i.",
        "r - ",
        "-.",
    ],
)
def test_disguises_take_no_quadratic_time(unit):
    long = "@x," + (unit * 20_000)[:40_000]
    start = time.process_time()
    normalise(long)
    assert time.process_time() - start < 4


@pytest.mark.parametrize("letter", ["é", "2", "ß"])
def test_wildcards_before_a_letter_that_none_stands_for_take_no_exponential_time(letter):
    start = time.process_time()
    normalise(" ".join(f"{first}{'*' * 22}{letter}" for first in "abcdefgh"))
    assert time.process_time() - start < 2


def test_what_a_chunk_may_join_is_known_before_another_thread_finds_it(monkeypatch):
    chunks = _Chunks()
    seen = []
    keep = _Chunks.__setitem__
    monkeypatch.setattr(_Chunks, "__setitem__", lambda self, chunk, read: (seen.append(set(self.joining)), keep(self, chunk, read)))
    assert chunks["5551234567"] == "5551234567"
    assert seen == [{"5551234567"}]


@pytest.mark.parametrize("limit", ["_MOST_CHUNKS", "_MOST_CHARACTERS"])
def test_forgetting_chunks_changes_nothing(monkeypatch, limit):
    posts = ["#TimesUp g r o p e d call 555 010 9999 once twice", "one two #AManGropedMe", "i didn t say six seven eight"]
    expected = [normalise(post) for post in posts]
    monkeypatch.setattr(f"models.text.{limit}", 2)
    monkeypatch.setattr("models.text._chunks", _Chunks())
    assert [normalise(post) for post in posts * 2] == expected * 2
    assert len(models.text._chunks) < 10


def test_every_line_of_the_algospeak_table_is_read():
    for spelling, meaning in algospeak():
        assert normalise(f"i said {spelling} today") == f"i said {meaning} today"


def test_lists_are_lower_case_and_known():
    assert len(ranks()) >= 60_000
    assert all(word == word.lower() and word in ranks() for word in masked_words())
    assert len({*masked_words()}) == len(masked_words())


def test_runs_of_letters_that_are_no_words_are_not_divided():
    assert words_in("xyzqplm") == ()
    assert words_in("a" * 200) == ()


def test_spelled_leaves_numbers_and_codes_alone():
    assert [spelled(code) for code in ("covid19", "b2b", "5am", "4ever", "10", "mp3s", "u2", "i18n")] == [None] * 8


def test_edges_are_found_in_time_that_grows_with_length_only():
    chain = " ".join(["@user ."] * 20_000)
    start = time.process_time()

    assert without_edge_masks(f"so {chain} it {chain}") == f"so {chain} it"
    assert time.process_time() - start < 2  # a search for the end takes minutes


def test_edges_are_found_whatever_the_punctuation():
    assert without_edge_masks('.@user rt @user : "me too" (via @user ) <url> .') == '"me too" (via'
    assert without_edge_masks("@user") == without_edge_masks("<url> <url>") == ""


def test_english_is_judged_by_the_other_words():
    assert read_look_alikes("he rápéd me") == "he raped me"
    assert read_look_alikes("rápéd") == "rápéd"
