"""Raw posts to normalised text to spaCy tokens."""

import html
import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain, groupby
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Literal

import emoji
import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InputError

if TYPE_CHECKING:
    from spacy.language import Language
    from spacy.tokenizer import Tokenizer
    from spacy.tokens import Token

Attribute = Literal["ORTH", "NORM", "LEMMA"]

MAX_CHARS = 100_000  # of a post, unless a job is told otherwise

URL, EMAIL, USER, PHONE = "<url>", "<email>", "@user", "<phone>"

_ROUNDS = 8  # of repair, at most

# What ftfy takes for mojibake holds one of these; its own check is ten times slower.
_MOJIBAKE = re.compile("[\x80-\x9f]|[^\x00-\x7f]{2}|[\u0152\u0153\u00c2\u00c3]")
_STRAIGHT = (
    dict.fromkeys("`\u00b4\u02bb\u02bc‘’‚‛′‹›", "'") | dict.fromkeys("“”„‟«»″〝〞", '"') | dict.fromkeys("\u2010\u2011‒–—―\u2212", "-")
)
_CURLY = re.compile(f"[{''.join(_STRAIGHT)}]")
# Control characters that are no white space; format characters and Default_Ignorable_Code_Points less ZERO WIDTH JOINER.
_HIDDEN = re.compile(
    "[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\u00ad\u034f\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u115f\u1160\u17b4\u17b5"
    "\u180b-\u180f\u200b\u200c\u200e\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U000110bd\U000110cd"
    "\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
_MAYBE_MARKS = re.compile("[\u0300-\U0001efff]{31}")  # more than stream-safe text has in a row (UAX #15)
_FOREIGN = re.compile(r"[^\W\x00-\u02ff]")
_MIXED_WORD = re.compile(rf"\b(?=\w*[a-zA-Z])\w*{_FOREIGN.pattern}\w*\b")


def _ranges(characters: Iterable[str]) -> str:
    """A regular expression's set of the characters; beyond U+FFFF it tries every range, so they are as few as can be."""
    parts = []
    for _, pairs in groupby(enumerate(sorted(characters)), lambda pair: ord(pair[1]) - pair[0]):
        run = [character for _, character in pairs]
        parts.append(f"{run[0]}-{run[-1]}")
    return "".join(parts)


_SINGLE = _ranges(found for found in emoji.EMOJI_DATA if len(found) == 1)
_NEAR_EMOJI = "[\u00a9\u00ae\u200d-\u3299\U0001f000-\U0001faff]"  # ruled out first: most characters are none
_JOINER = "\u200d"
_EMOJI = (
    r"(?:[0-9#*]\u20e3|[\U0001f1e6-\U0001f1ff]{2}"  # keycaps, flags
    rf"|(?={_NEAR_EMOJI})[{_SINGLE}][\U0001f3fb-\U0001f3ff]?(?:{_JOINER}[{_SINGLE}][\U0001f3fb-\U0001f3ff]?)*)"  # coloured, joined
)
_MAYBE_EMOJI = re.compile(_NEAR_EMOJI)
_EMOJI_OR_JOINER = re.compile(f"({_EMOJI})|{_JOINER}")

_RUN = re.compile(r"(.)\1\1\1")  # faster than {3}
_ELONGATED = re.compile(r"([^\W\d]|[^\w\s])\1{3,}")

_PLACEHOLDER = re.compile(f"{URL}|{EMAIL}|{PHONE}")
_MAYBE_LINK = re.compile(r"\.\w|:/")
_LINK = re.compile(
    r"(?:https?|ftp)://[^\s<>]+|(?<!\w)www\.\w[^\s<>]*"
    r"|(?P<email>(?<![\w.+-])[\w.+-]+@[\w-]+(?:\.\w[\w-]*)+)"
    r"|(?<![\w@-])(?<!\w\.)(?:[\w-]+\.)+(?:[a-z]{2,6}/[^\s<>]*"
    r"|(?:com|org|net|edu|gov|info|io|ly|me|tv|co|uk|ca|us|be|gl)(?:\.[a-z]{2})?(?:[:?#]\w[^\s<>]*|(?![\w@-]|\.\w)))"
)
# After a letter "@" is rather an "a" (h@rass), unless a hashtag stands before it or no such word after it.
_HANDLE = re.compile(r"(#\w+)(?:@\w+)+|@(?:(?<!\w@)\w+|\w{10,}|\w*_\w*)(?:@\w+)*")
_YEARS = r"(?:19|20)\d\d ?- ?(?:19|20)\d\d\b"
_PHONE = re.compile(rf"[+(]{{0,2}}(?<!\d)(?!{_YEARS})\d(?:[ ().-]{{0,2}}\d){{6,}}")
_MAYBE_PHONE = re.compile(r"\d(?:[ ().-]{0,2}\d){6}")


@cache
def _look_alikes() -> dict[int, str]:
    """Letters of other scripts that look like one ASCII letter (Unicode TR39 confusables)."""
    from confusable_homoglyphs.confusables import confusables_data

    table: dict[int, str] = {}
    for letter in "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ":
        for entry in confusables_data[letter]:
            look_alike = entry["c"]
            if len(look_alike) == 1 and look_alike.isalpha() and ord(look_alike) > 0x2FF:
                table.setdefault(ord(look_alike), letter)
    return table


@cache
def _many_marks() -> re.Pattern[str]:
    """Thirty combining marks and those after them; NFKC sorts marks in quadratic time."""
    marks = _ranges(filter(unicodedata.combining, map(chr, range(0x300, 0x1F000))))
    return re.compile(f"([{marks}]{{30}})[{marks}]+")


def _is_plain(text: str) -> bool:
    """Whether there is nothing for `_repair` to do."""
    return text.isascii() and text.isprintable() and ("&" not in text or html.unescape(text) == text)


def _repair(text: str) -> str:
    """Take steps 1 to 4 of `normalise` once."""
    text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if _MOJIBAKE.search(text):
        import ftfy

        text = ftfy.fix_encoding(text)
    text = html.unescape(text)
    text = _CURLY.sub(lambda found: _STRAIGHT[found[0]], text)
    if _MAYBE_MARKS.search(text):
        text = _many_marks().sub(r"\1", text)
    text = _HIDDEN.sub("", unicodedata.normalize("NFKC", text))
    if _FOREIGN.search(text):
        text = _MIXED_WORD.sub(lambda word: word[0].translate(_look_alikes()), text)
    if _MAYBE_EMOJI.search(text):
        text = _EMOJI_OR_JOINER.sub(lambda found: f" {found[1]} " if found[1] else "", text)
    return text


def _mask(text: str) -> str:
    """Take step 7 of `normalise`."""
    before = text
    if "<" in text:
        text = _PLACEHOLDER.sub(r" \g<0> ", text)
    if _MAYBE_LINK.search(text):
        text = _LINK.sub(lambda found: f" {EMAIL if found['email'] else URL} ", text)
    if "@" in text:
        text = _HANDLE.sub(rf"\1 {USER} ", text)
    if _MAYBE_PHONE.search(text):
        text = _PHONE.sub(f" {PHONE} ", text)
    return text if text is before else " ".join(text.split())


def _finish(text: str) -> str:
    """Take steps 5 to 7 of `normalise`."""
    text = " ".join(text.lower().replace("`", "'").split())
    if _RUN.search(text):
        text = _ELONGATED.sub(r"\1\1\1", text)
    # A mask can bare the beginning of another; each leaves less that is unmasked, so this ends.
    while (masked := _mask(text)) != text:
        text = masked
    return text


def normalise(text: str) -> str:
    """Bring a post into the form that every later step sees.

    1. Repair: lone surrogates become U+FFFD; mojibake is decoded again (ftfy); HTML entities are unescaped.
    2. Unicode: quotes and dashes become ASCII; of combining marks in a row thirty stay; NFKC; zero-width, bidirectional
       and control characters go.
    3. Look-alikes (Unicode TR39) inside words that also hold a Latin letter become that ASCII letter.
    4. Emoji stand alone, a sequence as one; joiners stay nowhere else.
    5. Lower case; white space becomes single spaces.
    6. Letters and punctuation repeated more than three times are cut to three.
    7. Links become ``<url>``, e-mail addresses ``<email>``, handles ``@user``, phone numbers and other runs of seven or
       more digits ``<phone>``.

    All of it repeats until nothing changes. Text that has not settled after eight rounds was made to confuse: it is
    reduced to ASCII without ampersands, where steps 1 to 4 have nothing to do.

    Parameters
    ----------
    text : str
        A post as it came.

    Returns
    -------
    str
        Normalised text without leading or trailing space; ``normalise(normalise(t)) == normalise(t)``.
    """
    if _is_plain(text) and _is_plain(text := _finish(text)):
        return text
    finished = False
    for _ in range(_ROUNDS):
        repaired = _repair(text)
        if finished and " ".join(repaired.split()) == text:
            return text
        text, finished = _finish(repaired), True
        if _is_plain(text):
            return text
    return _finish(text.encode("ascii", "ignore").decode().replace("&", ""))


@dataclass(frozen=True, slots=True)
class TokenBatch:
    """Posts as token sequences, dictionary-encoded.

    Attributes
    ----------
    types : list of str
        The distinct tokens of the batch.
    codes : ndarray of int64, shape (n_tokens,)
        All posts' tokens in order, each the index of its type.
    offsets : ndarray of int64, shape (n_posts + 1,)
        Post ``i`` is ``codes[offsets[i]:offsets[i + 1]]``.
    """

    types: list[str]
    codes: NDArray[np.int64]
    offsets: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @classmethod
    def from_lists(cls, posts: Iterable[Sequence[str]]) -> "TokenBatch":
        """Encode posts that are tokenised already."""
        index: dict[str, int] = {}
        lengths, codes = [0], list[int]()
        for post in posts:
            codes.extend(index.setdefault(token, len(index)) for token in post)
            lengths.append(len(post))
        return cls(list(index), np.array(codes, np.int64), np.cumsum(lengths, dtype=np.int64))

    def to_lists(self) -> list[list[str]]:
        """Decode to one list of tokens a post."""
        tokens = [self.types[code] for code in self.codes]
        return [tokens[start:stop] for start, stop in zip(self.offsets[:-1], self.offsets[1:], strict=True)]

    def take(self, posts: NDArray[np.int64]) -> "TokenBatch":
        """Select posts by index; the types stay as they are.

        Parameters
        ----------
        posts : ndarray of int64, shape (n_selected,)
            Indices of posts, in the order wanted.
        """
        lengths = np.diff(self.offsets)[posts]
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        source = np.repeat(self.offsets[:-1][posts] - offsets[:-1], lengths) + np.arange(offsets[-1])
        return TokenBatch(self.types, self.codes[source], offsets)


_WHOLE = re.compile(
    r"[^\W\d_]+"  # words
    rf"|[#@]\w+|{_PLACEHOLDER.pattern}"  # hashtags, handles, placeholders
    r"|[^\W\d_]+(?:[*@$0-9]+[^\W\d_]+)+[*@$]?|[^\W\d_]+[*$]+[^\W\d_]*|[^\W\d_]{1,2}![^\W\d_]+"  # r*pe, a$$ault, s3xual, sh!t
    rf"|{_EMOJI}"
    r"|:'?[()dp]|<3+|[:;]-[()dp]"  # emoticons
)

_INFIXES = [
    r"/",
    r"(?<=\w)[^\w\s#]*(?=#\w)",  # before a hashtag
    r"""(?<=[^\W\d_]{2})[.,!?;|+&()"]+(?=i\b|[^\W\d_]{2})""",  # no space after a sentence; spaCy's own rule asks for a capital
]


_LONGEST_SUFFIX = 16  # spaCy's longest have five characters in English, nine in other languages
_LONGEST_CHUNK = 1000
_PIECE = re.compile(rf"\S{{1,{_LONGEST_CHUNK}}}")


def _post_tokenizer(nlp: "Language") -> "Tokenizer":
    """Spacy's own tokenizer with rules for posts: nothing in `_WHOLE` is split, links are masked already.

    It takes suffixes off one by one; to look for each in the whole rest of a chunk makes 10 kB of ``()()()`` take 12 s.
    """
    from spacy.tokenizer import Tokenizer
    from spacy.util import compile_infix_regex, compile_prefix_regex, compile_suffix_regex

    defaults = nlp.Defaults
    suffixes = compile_suffix_regex(defaults.suffixes or ())
    prefixes = [r"#(?!\w)" if rule == "#" else rule for rule in defaults.prefixes or ()]
    return Tokenizer(
        nlp.vocab,
        rules=defaults.tokenizer_exceptions,
        prefix_search=compile_prefix_regex(prefixes).match,
        suffix_search=lambda chunk: suffixes.search(chunk, max(0, len(chunk) - _LONGEST_SUFFIX)),
        infix_finditer=compile_infix_regex([*(defaults.infixes or ()), *_INFIXES]).finditer,
        token_match=_WHOLE.fullmatch,
        url_match=None,
    )


class PostTokenizer:
    """Tokenise normalised posts with spaCy.

    Parameters
    ----------
    pipeline : str
        ``"blank"`` for spaCy's blank English, or the name of an installed spaCy pipeline, whose later
        components then run too (its own tokenizer is replaced by the one for posts).
    attribute : {"ORTH", "NORM", "LEMMA"}
        The token attribute that becomes the token: its text, its spelling norm ("n't" is "not"), or its lemma
        (its text where the pipeline gives none).
    max_strings : int
        The spaCy pipeline is loaded anew once its string store holds this many strings, since it never
        forgets one, or so many chunks were seen; memory stays bounded however long the stream.

    Raises
    ------
    InputError
        When the pipeline is not installed, or lemmas are asked of a blank pipeline.
    """

    def __init__(self, pipeline: str = "blank", attribute: Attribute = "ORTH", max_strings: int = 100_000) -> None:
        if pipeline == "blank" and attribute == "LEMMA":
            raise InputError("text.attribute LEMMA needs a trained pipeline: set text.spacy_pipeline or use ORTH or NORM")
        self.pipeline = pipeline
        self.attribute: Attribute = attribute
        self.max_strings = max_strings
        self._read: Callable[[Token], str] = attrgetter(f"{attribute.lower()}_")
        self._load()

    def _load(self) -> None:
        import spacy
        from spacy.lang.en import English

        self._nlp: Language
        if self.pipeline != "blank":
            try:
                self._nlp = spacy.load(self.pipeline)
            except OSError:
                message = f"spaCy pipeline {self.pipeline!r} is not installed: install it or set text.spacy_pipeline: blank"
                raise InputError(message) from None
            self._nlp.tokenizer = _post_tokenizer(self._nlp)
        else:
            self._nlp = English(create_tokenizer=_post_tokenizer)  # spacy.blank("en") makes its own first, which takes as long again
            # Nobody reads the other twenty attributes, and computing them for a new word takes longer than splitting it.
            vocab: Any = self._nlp.vocab
            norm = vocab.strings["NORM"]
            vocab.lex_attr_getters = {norm: vocab.lex_attr_getters[norm]}
        self._tokens: dict[str, int] = {}  # each token ever seen, and its code
        self._codes: dict[str, list[int]] = {}  # of the tokens of each chunk ever seen

    def __call__(self, texts: Sequence[str]) -> TokenBatch:
        """Tokenise posts.

        Parameters
        ----------
        texts : sequence of str, length n_posts
            Normalised posts (see `normalise`).

        Returns
        -------
        TokenBatch
            Of length n_posts; white-space tokens are left out. A run of more than 1,000 characters without a space is
            taken for several of 1,000, since spaCy's time grows with its square.
        """
        texts = [text if len(text) <= _LONGEST_CHUNK else " ".join(_PIECE.findall(text)) for text in texts]
        if max(len(self._nlp.vocab.strings), len(self._codes)) > self.max_strings:
            self._load()
        if self.pipeline == "blank":
            return self._by_chunk(texts)
        docs = self._nlp.pipe(text[: self._nlp.max_length] for text in texts)  # it refuses longer ones
        return TokenBatch.from_lists([self._read(token) or token.text for token in doc if not token.is_space] for doc in docs)

    def _by_chunk(self, texts: Sequence[str]) -> TokenBatch:
        """Tokens of posts from those of their chunks between white space: the tokenizer never looks beyond one."""
        posts = [text.split() for text in texts]
        self._learn(sorted(set().union(*posts) - self._codes.keys()))
        chunks = [self._codes[chunk] for chunk in chain.from_iterable(posts)]
        codes = np.fromiter(chain.from_iterable(chunks), np.int64)
        tokens_before = np.concatenate([[0], np.cumsum(np.fromiter(map(len, chunks), np.int64))])
        chunks_before = np.concatenate([[0], np.cumsum(np.fromiter(map(len, posts), np.int64))])
        # From the codes of all tokens ever seen to those of this batch.
        seen = np.zeros(len(self._tokens), bool)
        seen[codes] = True
        types = np.flatnonzero(seen)
        code = np.cumsum(seen) - 1
        tokens = list(self._tokens)
        return TokenBatch([tokens[number] for number in types.tolist()], code[codes], tokens_before[chunks_before])

    def _learn(self, chunks: Sequence[str]) -> None:
        """Tokenise chunks that were never seen."""
        waiting, codes = iter(chunks), list[int]()
        for token in self._nlp.tokenizer(" ".join([*chunks, ""])):
            codes.append(self._tokens.setdefault(self._read(token), len(self._tokens)))
            if token.whitespace_:
                self._codes[next(waiting)], codes = codes, []
