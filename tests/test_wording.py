"""Posts that were passed on: in any script, a retweet, a quotation, a hashtag or a link leaves the wording the same."""

import random
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from models.text import normalise
from pipeline.corpora.near import near_duplicates
from pipeline.corpora.wording import SHORT, count_words, fingerprint, wording

POST = "My boss at the bakery would not stop asking me out, so I left."
PASSED_ON = [
    "RT @someone: {}",
    "RT @a RT @b: {}",
    "rt {}",
    "{} https://example.org/a?b=c",
    "{} #MeToo",
    "#MeToo #TimesUp {}",
    "{} #MeToo! https://example.org #WhyIDidntReport",
    "“{}”",
    '"{}" via @someone',
    "@friend @other {} 😡😡",
    ">>> {} <<<",
    "MT @someone: «{}»",
]
SCRIPTS = {
    "Chinese": "我在公司里被经理骚扰了很多次从来没有人相信我说的话",
    "Japanese": "上司に何度も触られたのに誰も信じてくれなかった",
    "Thai": "หัวหน้าของฉันลวนลามฉันที่ทำงานและไม่มีใครเชื่อฉันเลย",
    "Korean": "상사가 회식 자리에서 저를 만졌고 아무도 믿어주지 않았어요",
    "Arabic": "مديري في العمل تحرش بي ولم يصدقني أحد هناك",
    "Hindi": "मेरे बॉस ने ऑफिस में मुझे परेशान किया और किसी ने यकीन नहीं किया",
}


@pytest.mark.parametrize("form", [*PASSED_ON, *(f"{form}   " for form in PASSED_ON[:2])])
@pytest.mark.parametrize("change", [str, str.upper, normalise])
def test_a_post_that_was_passed_on_has_the_same_fingerprint(form, change):
    assert fingerprint(wording(change(form.format(POST)))) == fingerprint(wording(POST))


@pytest.mark.parametrize("text", SCRIPTS.values(), ids=SCRIPTS)
@pytest.mark.parametrize("form", PASSED_ON)
def test_so_it_has_in_other_scripts(form, text):
    assert fingerprint(wording(form.format(text))) == fingerprint(wording(text)) is not None


def test_other_words_have_another_fingerprint():
    assert fingerprint(wording(POST.replace("bakery", "bank"))) != fingerprint(wording(POST))


@pytest.mark.parametrize(
    "text", ["", "Me too", "#MeToo #TimesUp #BelieveWomen #a #b #c me too", "我也是", "ฉันก็ด้วย", "😡 @a @b @c @d @e https://e.org"]
)
def test_what_everybody_writes_has_none(text):
    assert fingerprint(wording(text)) is None


def test_hashtags_count_where_they_are_part_of_the_sentence_or_all_there_is():
    assert wording("my #boss was a #harasser for years #MeToo") == ["my", "boss", "was", "a", "harasser", "for", "years"]
    assert wording("#MeToo #TimesUp") == ["metoo", "timesup"]


@given(st.text(max_size=80))
@example("#" * 2000)
@example("#a " * 2000 + "b")
def test_any_text_has_a_wording_that_normalising_does_not_change(text):
    words = wording(text)
    assert wording(normalise(text), normalised=True) == wording(normalise(text)) == words
    assert all(words)
    assert 0 <= count_words(words) <= max(1, len(text) * 20)


def near(*texts):
    return [(i, j) for i, j, _ in near_duplicates([wording(text) for text in texts], [["all"]] * len(texts))]


@pytest.mark.parametrize("text", SCRIPTS.values(), ids=SCRIPTS)
def test_a_character_more_makes_a_near_duplicate_in_any_script(text):
    middle = len(text) // 2
    assert near(text, "we all went to the march in town", text[:middle] + "啊" + text[middle:] if text.isalpha() else text + "啊") == [
        (0, 2)
    ]


def test_a_post_that_stands_whole_in_another_is_near_if_it_is_long_or_most_of_it():
    long = "my boss at the bakery would not stop asking me out so i left it"
    much_more = "and I want everybody here to know that this is what we heard from so many people over the years and nobody did a thing"
    assert near(long, f"Look: “{long}” {much_more}") == [(0, 1)]
    assert near("my boss would not stop it", f"my boss would not stop it {much_more}") == []
    assert near("my boss would not stop asking me out", "So true: my boss would not stop asking me out ever") == [(0, 1)]


def test_a_quotation_and_the_rest_of_a_family_are_found_in_either_order():
    assert near(f"{POST} {POST} and more", POST) == [(0, 1)]


@pytest.mark.parametrize("seed", range(3))
def test_every_copy_of_a_template_finds_an_earlier_one_in_every_split(seed):
    rng = random.Random(seed)
    names = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(3, 9))) for _ in range(600)]
    texts = [f"today i stand with {name} who told us all what happened at the office and i want all of you to know it" for name in names]
    where = ["test" if rng.random() < 0.2 else "train" for _ in texts]
    pairs = near_duplicates([text.split() for text in texts], [[split] for split in where])
    for other in ("train", "test"):
        found = {end for i, j, _ in pairs for end, partner in ((i, j), (j, i)) if where[partner] == other}
        assert len(found) == len(texts)
    assert len(pairs) <= len(texts) * 20


@pytest.mark.parametrize(
    "template", ["i stand with {} who told us what happened at that office", "RT @{}: my boss would not stop asking me out"]
)
def test_copies_of_a_template_take_time_in_proportion_to_their_number(template):
    def seconds(copies):
        rng = random.Random(0)
        words = [wording(template.format("".join(rng.choices("abcdefghij", k=7)))) for _ in range(copies)]
        start = time.process_time()
        near_duplicates(words, [["train"] if k % 3 else ["test"] for k in range(copies)])
        return time.process_time() - start

    seconds(100)
    assert seconds(4000) < 15 * max(seconds(1000), 0.1), "four times as many pairs of sixteen would take sixteen times as long"


def test_few_or_short_posts_are_no_near_duplicates():
    assert near() == near(POST) == near("me too", "me too", "me too #MeToo") == []
    assert count_words(wording("and it was me too")) == SHORT
