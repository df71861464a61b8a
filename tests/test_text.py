import json
import random
import re
import time
import unicodedata
from pathlib import Path

import emoji
import ftfy.badness
import numpy as np
import pytest
import spacy
from hypothesis import example, given, settings
from hypothesis import strategies as st

from models import text
from models.errors import InputError
from models.text import normalise
from models.tokens import _FEW, PostTokenizer, TokenBatch, _post_tokenizer

# What the steps of `normalise` look for, whole or in part, so that random posts show whether steps disturb each other.
# fmt: off
PIECES = [
    *"#@./:+()-_<>&;!?'\"`|^~*$ \t\n\x00\x1c\x7f\x85\xa0", "http://", "https://t.co/a", "www.", "x.com", "bit.ly/x", "a@b.co", "@user",
    "<url>", "<email>", "<phone>", "user", "1", "7654321", "2016-2017", "aaaa", "!!!!", "B", "&amp;", "&lt;", "&gggg;", "&#64;", "&#x200d;",
    "amp;", *"\u200d\u200b\u202e\u200f\u2060\ufeff\ufe0f\u3164\u06dd\ud800\udc00\ud83d\ude00\ufffd", *"👩👍🏽❤🏴🇺🇸\u20e3\U000e0067",
    "â€™", "Ã©", *"ÃÂâ€™ðŸ˜œß", *"İΣςаеоЯΑ中がکﷺﬁ²①ʼ´‘’“”«…—\u0301\u0308",
]
# fmt: on


def between(post):
    """Return a normalised post between two other words, so that no mask is at its beginning or end."""
    return " ".join(["x", *normalise(post).split(), "x"])


posts = st.lists(st.sampled_from(PIECES) | st.characters(exclude_categories=[]), max_size=14).map("".join)
breaks = st.sampled_from([" ", "\n", "(", '"', "…", ", ", "’ "])

STARTER_WORDS = sorted(
    {
        word
        for path in Path(__file__).parents[1].glob("data/starter/*.jsonl")
        for line in path.read_text(encoding="utf-8").splitlines()
        for word in json.loads(line)["text"].split()
        if word.isalpha() and word.isascii()
    }
)[::5]

STEPS = {
    "1. lone surrogates": ("me \ud83d too", "me \ufffd too"),
    "1. surrogate pairs": ("\ud83d\ude00", "😀"),
    "1. mojibake": ("I donâ€™t know, cafÃ©", "i don't know, café"),
    "1. mojibake, twice": ("cafÃƒÂ©", "café"),
    "1. HTML entities": ("you &amp; me &lt;3 &#39;ok&#39;", "you & me <3 'ok'"),
    "1. HTML entities, twice": ("you &amp;amp; me", "you & me"),
    "2. quotes": ("“don’t” ‘can´t’ won`t donʼt «so»", "\"don't\" 'can't' won't don't \"so\""),
    "2. dashes": ("he – she — it − they", "he - she - it - they"),
    "2. NFKC": ("ｆｕｌｌ ﬁt ² …", "full fit 2 ..."),
    "2. composed": ("cafe\u0301", "café"),
    "2. zero width": ("ra\u200bpe as\u00adsault \ufeffme\u2060too", "rape assault metoo"),
    "2. bidirectional": ("\u202eem\u202c \u200ftoo", "me too"),
    "2. control characters": ("me\x00 t\x07oo\x7f", "me too"),
    "3. look-alikes": ("r\u0430pe h\u0430r\u0430ssment", "rape harassment"),
    "3. whole words of another script stay": ("я тоже", "я тоже"),
    "4. emoji": ("no😀no😀😀", "no 😀 no 😀 😀"),
    "4. emoji, coloured": ("👍🏽👍🏽ok", "👍🏽 👍🏽 ok"),
    "4. emoji, joined": ("us👩\u200d👩\u200d👧too", "us 👩\u200d👩\u200d👧 too"),
    "4. emoji, with variation selector": ("love❤\ufe0f❤\ufe0f\u200d🔥", "love ❤ ❤\u200d🔥"),
    "4. flags and keycaps": ("🇺🇸🇬🇧1\ufe0f\u20e3", "🇺🇸 🇬🇧 1\u20e3"),
    "4. joiners elsewhere": ("me\u200dtoo 😀\u200d", "metoo 😀"),
    "5. case": ("MeToo #MeToo İ", "metoo #metoo i\u0307"),
    "5. white space": ("  me\t\ntoo\xa0 now\r\n", "me too now"),
    "6. letters": ("Sooooooo goooood", "so good"),
    "6. punctuation": ("why?!?!????? _____", "why?!?!??? ___"),
    "6. digits stay": ("100000", "100000"),
    "7. links": ("see https://t.co/aB1?x=y#z and (HTTP://x.org/a_(b)", "see <url> and ( <url>"),
    "7. links without a scheme": ("www.x.fr/y, cnn.it/2z x.co.uk. said x.com? aww.so", "<url> , <url> <url> . said <url> ? aww.so"),
    "7. links, glued": ("seehttp://x.org", "see <url>"),
    "7. full stops without a space": ("ok.then at 5 p.m. e.g. 2.5", "ok.then at 5 p.m. e.g. 2.5"),
    "7. e-mail addresses": ("to a.b+c@mail.x.org, now", "to <email> , now"),
    "7. handles": ("RT @Some_One: .@x @a@b", "rt @user : . @user @user"),
    "7. handles, glued": ("#metoo@someone card@some_one via@anewspaperonline", "#metoo @user card @user via @user"),
    "7. at signs that are no handle": ("h@rass @ 5", "harass @ 5"),
    "7. phone numbers": ("call +1 (555) 010-9999 or 555.010.9999x", "call <phone> or <phone> x"),
    "7. runs of digits": ("id12345678901234567890", "id <phone>"),
    "7. years stay": ("2010-2017, (1986 - 1987) 1 in 3", "2010-2017, (1986 - 1987) 1 in 3"),
    "7. placeholders that came with the text": ("#metoo<url><phone>", "#metoo <url> <phone>"),
}


@pytest.mark.parametrize(("raw", "expected"), STEPS.values(), ids=STEPS)
def test_normalise_takes_each_step_of_its_docstring(raw, expected):
    assert normalise(raw) == expected


@given(posts)
@settings(max_examples=600, deadline=None)
@example("&gggg;")  # an elongation cut to the entity &ggg;
@example("1234567@someone")
@example("1234567+890-1234")
@example("#a@b@c@d")
@example("www.中文.com cafÃ©")
@example("#metooİ")
@example("(#TimesUpme_d")
@example("1_u/heé#")
@example("#i.co&#64;a")
@example("@o#gr0pe\x85_")
@example("#rxpeA_d")
@example("she$")
@example("http://http://")
def test_normalise_is_idempotent_and_leaves_nothing_it_promises_to_take_away(raw):
    clean = normalise(raw)

    assert normalise(clean) == clean
    assert clean == " ".join(clean.split()).lower()
    assert not re.search(r"(?:https?|ftp)://[^\s<>]", clean)
    assert not re.search(r"(?<![\w.+-])[\w.+-]+@[\w-]+\.\w", clean)
    assert set(re.findall(r"(?<!\w)@\w+", clean)) <= {"@user"}
    assert not re.search(r"\d{7}", clean)
    assert not {unicodedata.category(character) for character in clean.replace("\u200d", "")} & {"Cc", "Cf", "Cs"}
    assert not set(clean) & set("\u034f\u115f\u1160\u3164\uffa0\ufe00\ufe0f\U000e0100")
    for joiner in re.finditer("\u200d", clean):
        before, after = clean[joiner.start() - 1 : joiner.start()], clean[joiner.end() : joiner.end() + 1]
        assert before in emoji.EMOJI_DATA
        assert after in emoji.EMOJI_DATA


@given(before=posts, opening=breaks, closing=breaks, after=posts)
@pytest.mark.parametrize(
    "private",
    [
        *("@xq7z", "@xq7z_xq7z", "#metoo@xq7z", "xq7z@x.org", "a.xq7z+xq7z@mail.x.co.uk", "https://xq7z.example/xq7z"),
        *("www.xq7z.fr", "xq7z.com/xq7z?xq7z=1", "xq7z.co.uk", "bit.ly/xq7z"),
    ],
)
@settings(max_examples=60, deadline=None)
def test_handles_addresses_and_links_are_masked_wherever_they_stand(private, before, opening, closing, after):
    assert "xq7z" not in normalise(before + opening + private + closing + after)


@pytest.mark.parametrize(
    "unit", ["&amp;", "&", "amp;", "@a", "#a@b", "a.", "é.", "a@b.", "1234567@a", "1-", "2016-2017-", "Ã", "r\u0430", "👩\u200d"]
)
def test_time_grows_with_length_only(unit):
    long = (unit * 20_000)[:20_000]
    start = time.process_time()

    clean = normalise("&" + long)

    assert time.process_time() - start < 2  # a quadratic pass over this takes several times as long
    assert normalise(clean) == clean


@pytest.mark.parametrize(
    "characters",
    ["()", "'\"", ".,", "._", "+(", ":)-", "*,;", "a*", "ab,.!", "1.,", "a", "ab'#", "qwertz", "中文", "😀", "a\u0301\u0323", "\ufdfa"],
)
def test_a_post_without_spaces_stops_nobody(tokenizer, characters):
    long = "".join(random.Random(0).choices(characters, k=20_000))
    start = time.process_time()

    tokens = tokenizer([normalise(long)]).to_lists()[0]

    assert time.process_time() - start < 2  # this would take minutes if time were quadratic in the length
    assert max(map(len, tokens)) <= 1000


@pytest.mark.parametrize(("given", "kept"), [(20, 20), (30, 30), (31, 30), (60, 30)])
@pytest.mark.parametrize("between", ["", "\u200b"])
def test_of_many_combining_marks_in_a_row_thirty_stay(given, kept, between):
    clean = normalise("\u05d0" + between.join(chr(0x0300 + number) for number in range(given)))

    assert normalise(clean) == clean
    assert sum(unicodedata.combining(character) > 0 for character in unicodedata.normalize("NFD", clean)) == kept


def test_every_emoji_of_one_character_stands_alone():
    singles = [found for found in emoji.EMOJI_DATA if len(found) == 1 and unicodedata.normalize("NFKC", found) == found]
    singles = sorted(set(singles) - set("🅰🅱🅾🅿"))  # inside a word, these are letters

    assert len(singles) > 1000
    assert [found for found in singles if normalise(f"no{found}no") != f"no {found} no"] == []


def test_text_that_does_not_settle_is_reduced_to_ascii():
    nested = "&" + "amp;" * 50 + "lt;é me too"

    assert normalise(nested) == "amp;" * 42 + "lt; me too"


@given(
    st.lists(st.sampled_from("".join(ftfy.badness.MOJIBAKE_CATEGORIES.values()) + "aA 1вЂÃÂœ"), max_size=8).map("".join)
    | st.from_regex(ftfy.badness.BADNESS_RE, fullmatch=True)
)
@settings(max_examples=800, deadline=None)
def test_mojibake_for_ftfy_passes_the_gate_before_it(raw):
    assert text._MOJIBAKE.search(raw) or not ftfy.badness.is_bad(raw)


token_lists = st.lists(st.lists(st.text(max_size=4), max_size=5), max_size=6)


@given(token_lists)
def test_token_batch_gives_back_what_it_was_made_of(posts):
    batch = TokenBatch.from_lists(posts)

    assert batch.to_lists() == posts
    assert len(batch) == len(posts)
    assert len(set(batch.types)) == len(batch.types)


@given(token_lists.filter(len), st.data())
def test_take_selects_posts_in_the_order_asked(posts, data):
    order = data.draw(st.lists(st.integers(0, len(posts) - 1)))

    taken = TokenBatch.from_lists(posts).take(np.array(order, np.int64))

    assert taken.to_lists() == [posts[number] for number in order]


TOKENS = {
    "hashtags": ("#metoo #ibelieveher2 #1in3", ["#metoo", "#ibelieveher2", "#1in3"]),
    "hashtags in punctuation": ('(#metoo), "#metoo". #metoo!', ["(", "#metoo", ")", ",", '"', "#metoo", '"', ".", "#metoo", "!"]),
    "hashtags in a row": (
        "#metoo#timesup,#metoo/#timesup",
        ["#metoo", "#timesup", "times", "up", ",", "#metoo", "/", "#timesup", "times", "up"],
    ),
    "hashtags in words": ("#metoo's pre-#metoo", ["#metoo", "'s", "pre", "-", "#metoo"]),
    "a number sign alone": ("# 1", ["#", "1"]),
    "handles": ("so rt @user : .@user's it", ["so", "rt", "@user", ":", ".", "@user", "'s", "it"]),
    "placeholders": ("me (<url> , <email>. <phone> too", ["me", "(", "<url>", ",", "<email>", ".", "<phone>", "too"]),
    "masks at an end": ("rt @user : .@user me too via @user <url>. <url>", ["me", "too"]),
    "emoji": ("😀 👍🏽 👩\u200d👩\u200d👧 ❤\u200d🔥 🇺🇸 1\u20e3", ["😀", "👍🏽", "👩\u200d👩\u200d👧", "❤\u200d🔥", "🇺🇸", "1\u20e3"]),
    "emoticons": (":) :'( ;-) <3 <33", [":)", ":'(", ";-)", "<3", "<33"]),
    "obfuscated words": (
        "r*pe f**k a$$ault a$$ s3xual sh!t h@rass r@pe",
        ["rape", "fuck", "assault", "ass", "sexual", "shit", "harass", "rape"],
    ),
    "obfuscated words in punctuation": ("(r*pe), f**k! s3xual.", ["(", "rape", ")", ",", "fuck", "!", "sexual", "."]),
    "prices": ("$100", ["$", "100"]),
    "numbers and words": ("3rd 2017 8:30 50,000 2.5", ["3rd", "2017", "8:30", "50,000", "2.5"]),
    "contractions": ("i'm don't cannot dont they've", ["i", "'m", "do", "n't", "can", "not", "do", "n't", "they", "'ve"]),
    "slashes": ("he/she rape/assault", ["he", "/", "she", "rape", "/", "assault"]),
    "no space after a sentence": (
        "him.i ran!he why?then 5 p.m. r&b",
        ["him", ".", "i", "ran", "!", "he", "why", "?", "then", "5", "p.m.", "r&b"],
    ),
    "other scripts": ("я тоже #我也是", ["я", "тоже", "#我也是"]),
    "nothing": ("", []),
}


@pytest.fixture(scope="module")
def tokenizer():
    return PostTokenizer()


@pytest.mark.parametrize(("post", "expected"), TOKENS.values(), ids=TOKENS)
def test_tokenizer_keeps_together_what_belongs_together(tokenizer, post, expected):
    assert tokenizer([normalise(post)]).to_lists() == [expected]


@given(st.lists(posts.map(between), max_size=5))
@settings(max_examples=200, deadline=None)
def test_tokens_are_the_post_without_its_spaces_and_those_of_spacy_on_whole_posts(tokenizer, posts):
    found = tokenizer(posts).to_lists()

    assert ["".join(tokens) for tokens in found] == [post.replace(" ", "") for post in posts]
    assert found == [[token.text for token in doc] for doc in tokenizer._nlp.tokenizer.pipe(posts)]


suffixes = st.sampled_from(["5km", "3m²", "10اكواب", "5us$", "...", "'s", "°c.", "e.g.", "a.", "!?", "--", "中", "1.", "wort", " "])


@pytest.fixture(scope="module")
def thorough():
    nlp = spacy.blank("en")
    nlp.tokenizer = _post_tokenizer(nlp)
    nlp.tokenizer.suffix_search = spacy.util.compile_suffix_regex(nlp.Defaults.suffixes).search
    return nlp


@given(st.lists(suffixes | st.sampled_from(PIECES), max_size=14).map("".join).map(between))
@settings(max_examples=300, deadline=None)
def test_suffixes_looked_for_at_the_end_only_are_those_of_the_whole_chunk(tokenizer, thorough, post):
    assert tokenizer([post]).to_lists() == [[token.text for token in thorough(post)]]


@given(st.lists(st.text("ab1.,!😀中", min_size=1).map(lambda piece: piece * 300), max_size=3).map(" ".join))
def test_long_chunks_are_tokenised_in_pieces_of_a_thousand(tokenizer, post):
    pieces = [chunk[start : start + 1000] for chunk in post.split() for start in range(0, len(chunk), 1000)]

    assert tokenizer([post]).to_lists() == [[token for piece in pieces for token in tokenizer([piece]).to_lists()[0]]]


# What may depend on what stands beside it, as one line each.
EDGES = """
@user <url> <email> @bob: .@bob rt RT via h/t cc . ( " : , ? - ' a i u a/b w/ 's t m re n't i'm 555 010 9999 #TimesUp times up #IBelieveYou
I Believe soooo dont gr0ped he/she self-esteem, word's word... (word) "word" me.i don't it's #me_too #aManSaidx x|y '' ''שמיכה <3 :) a.b.c
$100 5km 😀 ❤\ufe0f 👍🏽 👩\u200d👩\u200d👧 \u200d 🅰 🍇d ® 1\u20e3 • \u2800 mr. o'clock <b>bold</b> &amp; … ’s
""".split()  # noqa: SIM905 - a list would take one line per piece
edges = st.sampled_from([*EDGES, "\n", "\t"])


@given(st.lists(st.lists(edges | posts | st.sampled_from(STARTER_WORDS), max_size=9).map(" ".join), max_size=4))
@settings(max_examples=60, deadline=None)
@example(["via @user . #metoo", "hi #ByVia @bob", "she helped me #AboutMe", "she helped me <3"])
@example(["i'm a i a 5", "s a y 5", "m - a - i - a #TimesUp", "it's e x", '("s e x', "##s e x", "that's e. x."])
@example(["@user h/t @user", "h/t @user", "x h/t @user", "x via @user"])
@example(["@user ; ) x", "@user :x", '" rt @user x', ". rt @user", '"rt @bob hi', "rt .@bob hi", "@bob's hi"])
@example(["@user hi !", "hi @user !", "hi ! @user", "@user : hi", ": hi", "! !", "hi groped@user !", "hi x@bob : !", "hi groped@bob"])
@example(["call 555 010 9999", "555 010 x 9999", "555 010 - 9999", "555 x", "010 9999", "555 - 010 - x - 9999"])
@example(["so😀&am\u200dp; <😀b>", "#TimesUp😀times up", "ra\u200dped", "me\ntoo\r\n@user\n", "&•amp; •me 5•5", "abc" * 400])
@example(["#TimesUp times up", "#TimesUp Times", "#TimesUp ' times up", "#TimesUp"])
def test_raw_posts_are_read_as_if_they_had_been_normalised_first(tokenizer, posts):
    many = [*posts, *[""] * _FEW]

    together = tokenizer.read(many).to_lists()

    assert together == tokenizer([normalise(post) for post in many]).to_lists()
    assert together[: len(posts)] == [tokens for post in posts for tokens in tokenizer.read([post]).to_lists()]


@given(st.lists(edges | st.sampled_from(sorted(text._EASY)) | st.sampled_from(["a", "b", "#", "\ufe0f"]), max_size=9).map("".join))
@settings(max_examples=300, deadline=None)
def test_an_easy_repair_is_what_the_whole_repair_gives(post):
    easy = text.easily_repaired(post.replace("`", "'"))

    assert easy is None or easy.split() == text._repair(post.replace("`", "'")).split()


def test_every_character_that_is_easily_repaired_is_left_as_it_is_or_set_off():
    assert [found for found in text._EASY if text._repair(f"a {found} b").split() != text.easily_repaired(f"a {found} b").split()] == []
    assert text.easily_repaired("it was 🅰 ㊙ 🍇 to me") is None


def test_words_are_split_as_spacy_splits_them(tokenizer):
    """All words of spaCy's exceptions, and some others, with all that stands around words."""
    alone = tokenizer._nlp.tokenizer
    exceptions = sorted({run for rule in alone.rules for run in re.findall("[a-z]{3,}", rule)})
    words = [*exceptions, *STARTER_WORDS, "kmh", "user", "url", "phone", "xxx", "dpd"]
    around = [("", ""), ('"', '."'), ("(", "?!)"), ("'", "'"), ("#", "."), ("", "'s"), ("", "-other"), ("other/", "..."), ("", ".other,")]
    post = " ".join(["x", *(before + word + after for word in words for before, after in around), "x"])

    assert tokenizer([post]).to_lists() == [[token.text for chunk in post.split() for token in alone(chunk)]]


def test_tokens_of_a_chunk_do_not_depend_on_its_neighbours():
    post = "x ''שמיכה x"

    assert PostTokenizer()(["a'", post]).to_lists()[1] == PostTokenizer()([post]).to_lists()[0]


def test_learning_that_was_interrupted_is_begun_again(monkeypatch):
    tokenizer = PostTokenizer()
    with monkeypatch.context() as interrupted, pytest.raises(KeyboardInterrupt):
        interrupted.setattr("models.tokens.read_chunk", lambda chunk: (_ for _ in ()).throw(KeyboardInterrupt))
        tokenizer.read(["me too #MeToo"] * _FEW)

    assert tokenizer.read(["me too #MeToo"] * _FEW).to_lists() == [["me", "too", "#metoo"]] * _FEW


def test_words_after_the_first_batch_are_those_of_a_fresh_tokenizer(tokenizer):
    batches = [["me too", ""], [], ["too late, me"], ["me too"]]

    assert [tokenizer(batch).to_lists() for batch in batches] == [PostTokenizer()(batch).to_lists() for batch in batches]


def test_a_batch_holds_only_its_own_types(tokenizer):
    tokenizer(["elsewhere"])

    assert set(tokenizer(["me too me"]).types) == {"me", "too"}


def test_strings_beyond_the_limit_are_forgotten_and_tokens_stay_the_same(tokenizer):
    forgetful = PostTokenizer(max_strings=1)
    batches = [["it isn't qzx"], ["#metoo, qzy"], ["it isn't qzx"]]

    assert [forgetful(batch).to_lists() for batch in batches] == [tokenizer(batch).to_lists() for batch in batches]
    assert [forgetful.read(batch * _FEW).to_lists() for batch in batches] == [tokenizer.read(batch * _FEW).to_lists() for batch in batches]
    assert "qzx" in forgetful._tokens
    assert "qzy" not in forgetful._tokens
    assert len(forgetful._table) < 5


def test_a_stream_without_spaces_is_forgotten_by_its_length():
    tokenizer = PostTokenizer(max_strings=50)
    for number in range(20):
        tokenizer.read([f"{chr(0x4E00 + number)}{'中文' * 1000}"] * _FEW)
        assert tokenizer._table.rows.characters < 50 * 200 + 2 * 2001


def test_norm_gives_the_spelling_norm():
    assert PostTokenizer(attribute="NORM")(["he isn't, i'm"]).to_lists() == [["he", "is", "not", ",", "i", "am"]]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    nlp = spacy.blank("en")
    nlp.add_pipe("attribute_ruler").add([[{"ORTH": "women"}]], {"LEMMA": "woman"})
    path = tmp_path_factory.mktemp("pipelines") / "lemmas"
    nlp.to_disk(path)
    return str(path)


def test_a_trained_pipeline_gives_lemmas_on_the_tokens_for_posts(trained):
    assert PostTokenizer(trained, "LEMMA")(["women said #metoo,", "", "a$$ault"]).to_lists() == [
        ["woman", "said", "#metoo", ","],
        [],
        ["a$$ault"],
    ]


def test_a_trained_pipeline_gives_the_same_text_as_the_blank_one(trained, tokenizer):
    posts = [normalise(post) for post, _ in TOKENS.values()]

    assert PostTokenizer(trained)(posts).to_lists() == tokenizer(posts).to_lists()


def test_a_pipeline_that_is_not_installed_is_an_input_error():
    with pytest.raises(InputError, match=r"'en_absent' is not installed; install it, or set text.spacy_pipeline: blank"):
        PostTokenizer("en_absent")


def test_lemmas_of_the_blank_pipeline_are_an_input_error():
    with pytest.raises(InputError, match=r"LEMMA needs a trained pipeline; set text.spacy_pipeline, or use ORTH or NORM"):
        PostTokenizer(attribute="LEMMA")
