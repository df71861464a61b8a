"""Split normalised text into spaCy tokens, dictionary-encoded."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, filterfalse
from operator import attrgetter
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from models.arrays import Int64s
from models.chunks import read_chunk
from models.errors import InputError
from models.hashtags import MARK
from models.reading import ChunkTable, facts, pack, runs
from models.spacy_import import import_spacy
from models.spelling import THRICE, meanings
from models.text import EMOJI, PLACEHOLDER, easily_repaired, normalise, without_edge_masks

if TYPE_CHECKING:
    from spacy.language import Language
    from spacy.tokenizer import Tokenizer
    from spacy.tokens import Token

Attribute = Literal["ORTH", "NORM", "LEMMA"]


@dataclass(frozen=True, slots=True)
class TokenBatch:
    """Tokenised posts, dictionary-encoded.

    Attributes
    ----------
    types : list of str
        The distinct tokens of the batch.
    codes : ndarray of int64, shape (n_tokens,)
        The tokens of all posts, in order, as indices into `types`.
    offsets : ndarray of int64, shape (n_posts + 1,)
        Post ``i`` is ``codes[offsets[i]:offsets[i + 1]]``.

    Examples
    --------
    >>> batch = TokenBatch.from_lists([["i", "believe", "her"], ["i", "do"]])
    >>> batch.types, batch.codes.tolist(), batch.offsets.tolist()
    (['i', 'believe', 'her', 'do'], [0, 1, 2, 0, 3], [0, 3, 5])
    """

    types: list[str]
    codes: NDArray[np.int64]
    offsets: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @classmethod
    def from_lists(cls, posts: Iterable[Sequence[str]]) -> "TokenBatch":
        """Encode posts that are already split into tokens."""
        index: dict[str, int] = {}
        lengths, codes = [0], list[int]()
        for post in posts:
            codes.extend(index.setdefault(token, len(index)) for token in post)
            lengths.append(len(post))
        return cls(list(index), np.array(codes, np.int64), np.cumsum(lengths, dtype=np.int64))

    def to_lists(self) -> list[list[str]]:
        """Return one list of tokens per post."""
        tokens = [self.types[code] for code in self.codes]
        return [tokens[start:stop] for start, stop in zip(self.offsets[:-1], self.offsets[1:], strict=True)]

    def take(self, posts: NDArray[np.int64]) -> "TokenBatch":
        """Select posts by index; `types` stays unchanged.

        Parameters
        ----------
        posts : ndarray of int64, shape (n_selected,)
            Indices of the posts to return, in this order.
        """
        lengths = np.diff(self.offsets)[posts]
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        return TokenBatch(self.types, self.codes[runs(self.offsets[:-1][posts], lengths)], offsets)


_WHOLE = re.compile(
    r"[^\W\d_]+"  # words
    rf"|[#@]\w+|{PLACEHOLDER.pattern}"  # hashtags, handles, placeholders
    r"|[^\W\d_]+(?:[*@$0-9]+[^\W\d_]+)+[*@$]?|[^\W\d_]+[*$]+[^\W\d_]*|[^\W\d_]{1,2}![^\W\d_]+"  # r*pe, a$$ault, s3xual, sh!t
    rf"|{EMOJI}"
    r"|:'?[()dp]|<3+|[:;]-[()dp]"  # emoticons
)

_INFIXES = [
    r"/",
    r"(?<=\w)[^\w\s#]*(?=#\w)",  # before a hashtag
    r"""(?<=[^\W\d_]{2})[.,!?;|+&()"]+(?=i\b|[^\W\d_]{2})""",  # no space after a sentence; spaCy's own rule needs a capital
]


_LONGEST_SUFFIX = 16  # spaCy's longest suffixes have five characters in English, and nine in other languages
_LONGEST_CHUNK = 1000
_PIECE = re.compile(rf"\S{{1,{_LONGEST_CHUNK}}}")


def _without_long_chunks(text: str) -> str:
    return text if len(text) <= _LONGEST_CHUNK else " ".join(_PIECE.findall(text))


def _is_ambiguous(word: str) -> bool:
    """Return whether one of spaCy's exceptions splits what, in lower case, is also a word of its own ("ID", "Wed", "wont").

    Where an apostrophe is clearly missing ("dont"), `models.spelling` has put it back already.
    """
    return word.isalpha() and word not in {"cannot", "gonna", "gotta"}


def _post_tokenizer(nlp: "Language") -> "Tokenizer":
    """Make a spaCy tokenizer with rules for posts: nothing that matches `_WHOLE` is split, and links are already masked.

    spaCy removes suffixes one by one. We search only the end of a chunk for them, because searching the whole rest each time makes
    10 kB of ``()()()`` take 12 s.
    """
    from spacy.tokenizer import Tokenizer
    from spacy.util import compile_infix_regex, compile_prefix_regex, compile_suffix_regex

    defaults = nlp.Defaults
    suffixes = compile_suffix_regex(defaults.suffixes or ())
    prefixes = [r"#(?!\w)" if rule == "#" else rule for rule in defaults.prefixes or ()]
    return Tokenizer(
        nlp.vocab,
        rules={word: tokens for word, tokens in (defaults.tokenizer_exceptions or {}).items() if not _is_ambiguous(word)},
        prefix_search=compile_prefix_regex(prefixes).match,
        suffix_search=lambda chunk: suffixes.search(chunk, max(0, len(chunk) - _LONGEST_SUFFIX)),
        infix_finditer=compile_infix_regex([*(defaults.infixes or ()), *_INFIXES]).finditer,
        token_match=_WHOLE.fullmatch,
        url_match=None,
    )


_USUAL_LENGTH = 200  # in characters, which hardly any chunk exceeds where words have spaces between them
_FEW = 16  # number of posts for which reading with a table takes longer
_SOME_WORD = "qzwxqz"  # none of spaCy's exceptions matches this word
_WORDS = re.compile(r"""^(["(]?)([a-z]{3,99})([.,!?;:)"]{0,3})$|^.+$""", re.MULTILINE)
_LONG_WORD = re.compile("[a-z]{3,}")
_NO_DIGITS = re.compile(r"[!-/:;=?@\[-~]+")  # leaves out digits, and the "<" of placeholders
_BEGINNING = {chr(code): pack(chr(code)) for code in range(127)} | {"": 0}


class _Codes(dict[str, int]):
    """The code of each token; a new one gets the next, which is its place in `tokens`."""

    def __init__(self) -> None:
        self.tokens = list[str]()

    def __missing__(self, token: str) -> int:
        code = self[token] = len(self)
        self.tokens.append(token)
        return code


class PostTokenizer:
    """Tokenise normalised posts with spaCy.

    Parameters
    ----------
    pipeline : str
        ``"blank"`` for spaCy's blank English, or the name of an installed spaCy pipeline. Its tokenizer is replaced by the one for
        posts; its other components run, too.
    attribute : {"ORTH", "NORM", "LEMMA"}
        Which attribute to use as the token: the text, the norm ("not" for "n't"), or the lemma (or else the text, if the pipeline sets
        no lemma).
    max_strings : int
        The spaCy pipeline is loaded again once its string store, which only grows, holds this many strings, or this many different
        chunks, or chunks of 200 times as many characters, were seen. This bounds memory in a stream of any length.

    Raises
    ------
    InputError
        When the pipeline is not installed, or lemmas are requested from a blank pipeline.

    Examples
    --------
    >>> PostTokenizer()(["@user i didn't sleep <url>"]).to_lists()
    [['i', 'did', "n't", 'sleep']]
    """

    def __init__(self, pipeline: str = "blank", attribute: Attribute = "ORTH", max_strings: int = 100_000) -> None:
        if pipeline == "blank" and attribute == "LEMMA":
            raise InputError("text.attribute LEMMA needs a trained pipeline; set text.spacy_pipeline, or use ORTH or NORM")
        self.pipeline = pipeline
        self.attribute: Attribute = attribute
        self.max_strings = max_strings
        self._read: Callable[[Token], str] = attrgetter(f"{attribute.lower()}_")
        self._lock = Lock()  # guards what was learned, because threads may share a model
        self._load()

    def _load(self) -> None:
        spacy = import_spacy()
        from spacy.lang.en import English

        self._nlp: Language
        if self.pipeline != "blank":
            try:
                self._nlp = spacy.load(self.pipeline)
            except OSError:
                message = f"spaCy pipeline {self.pipeline!r} is not installed; install it, or set text.spacy_pipeline: blank"
                raise InputError(message) from None
            self._nlp.tokenizer = _post_tokenizer(self._nlp)
        else:
            self._nlp = English(create_tokenizer=_post_tokenizer)  # spacy.blank("en") first makes its own tokenizer, which doubles the time
            # The other twenty attributes are not used, and computing them for a new word takes longer than splitting it.
            vocab: Any = self._nlp.vocab
            norm = vocab.strings["NORM"]
            vocab.lex_attr_getters = {norm: vocab.lex_attr_getters[norm]}
        tokenizer: Any = self._nlp.tokenizer
        self._exceptions = tokenizer.rules if self.pipeline == "blank" else {}
        self._special = {"via", *chain.from_iterable(re.findall(r"[^\W_]+", rule) for rule in self._exceptions)}
        self._tokens = _Codes()  # code of each token seen so far
        self._codes: dict[str, Sequence[int]] = {}  # codes of the tokens of each chunk of normalised posts seen so far
        self._table = ChunkTable()  # the same for chunks of raw posts
        self._templates: dict[str, list[int | tuple[str, str]] | None] = {}

    def __call__(self, texts: Sequence[str]) -> TokenBatch:
        """Tokenise posts.

        Parameters
        ----------
        texts : sequence of str, length n_posts
            Normalised posts (see `normalise`).

        Returns
        -------
        TokenBatch
            The posts without white-space tokens, and without the masks at their beginning and end. A run of more than 1,000
            characters without a space is split into pieces of 1,000, because spaCy's time grows with the square of its length.
        """
        with self._lock:
            self._make_room()
            if self.pipeline == "blank":
                return self._batch(*self._by_chunk(texts))
            texts = [_without_long_chunks(without_edge_masks(text)) for text in texts]
            docs = self._nlp.pipe(text[: self._nlp.max_length] for text in texts)  # spaCy raises an error for longer texts
            return TokenBatch.from_lists([self._read(token) or token.text for token in doc if not token.is_space] for doc in docs)

    def read(self, texts: Sequence[str]) -> TokenBatch:
        """Normalise and tokenise raw posts: return the same as ``self([normalise(text) for text in texts])``, in less time.

        Parameters
        ----------
        texts : sequence of str, length n_posts
            Raw posts.
        """
        by_table = self.pipeline == "blank" and len(texts) >= _FEW
        easy = [easily_repaired(text) for text in texts] if by_table else []
        at = np.array([number for number, text in enumerate(easy) if text is not None], np.int64)
        if not len(at):
            return self([normalise(text) for text in texts])
        with self._lock:
            self._make_room()
            codes, lengths, odd = self._by_table([text for text in easy if text is not None])
            whole = np.ones(len(texts), bool)
            whole[at] = odd
            others = np.flatnonzero(whole)
            place = np.empty(len(texts), np.int64)  # place of each post: those read by the table come first, then the others
            place[at] = np.arange(len(at))
            place[others] = len(at) + np.arange(len(others))
            more, more_lengths = self._by_chunk([normalise(texts[number]) for number in others.tolist()])
            return self._batch(np.concatenate([codes, more]), np.concatenate([lengths, more_lengths])).take(place)

    def _make_room(self) -> None:
        """Forget everything if there is too much of it, or if learning was interrupted."""
        table = self._table
        strings = max(len(self._nlp.vocab.strings), len(self._codes), len(table), table.rows.characters // _USUAL_LENGTH)
        if strings > self.max_strings or len(table) != len(table.rows):
            self._load()

    def _by_table(self, posts: list[str]) -> tuple[Int64s, Int64s, NDArray[np.bool_]]:
        """Return codes and lengths of easily repaired posts, and which of them must be normalised as a whole (see `ChunkTable.read`)."""
        rows = self._table.find(posts)
        if new := self._table.rows.take_new():
            self._learn_raw(new)
        return self._table.read(rows)

    def _learn_raw(self, chunks: list[str]) -> None:
        """Learn chunks of raw posts: words with the usual punctuation around them by themselves, others as they are read."""
        codes, known, others = list[Sequence[int]](), list[int](), dict[int, str]()
        tokens, meant, special, bare = self._tokens, meanings(), self._special, self.attribute == "ORTH"
        for before, word, after in _WORDS.findall("\n".join(chunks).lower()):
            found: Sequence[int] | None = None
            if word and word not in meant and word not in special and not THRICE.search(word):
                found = [tokens[word]] if bare and not (before or after) else self._by_template(f"{before}{_SOME_WORD}{after}", [word])
            if found is None:
                others[len(codes)] = read_chunk(chunks[len(codes)])
            codes.append(found or ())
            known.append(_BEGINNING[before or word[:1]])
        pieces = [reading.replace(MARK, " ").split() for reading in others.values()]
        self._learn(chain.from_iterable(pieces))
        for (number, reading), split in zip(others.items(), pieces, strict=True):
            codes[number] = tuple(chain.from_iterable(map(self._codes.__getitem__, split)))
            known[number] = facts(reading)
        self._table.add(codes, known)

    def _by_template(self, template: str, words: list[str]) -> Sequence[int] | None:
        """Return the codes of a chunk without asking spaCy, or None if that is not safe.

        spaCy's rules treat all words of three letters or more alike, except those in its exceptions. So it splits
        chunks that differ only in such words in the same way.

        Parameters
        ----------
        template : str
            The chunk with `_SOME_WORD` in place of each such word.
        words : list of str
            These words, none of them in `_special`.
        """
        if template not in self._templates:
            tokens = [token.text for token in self._nlp.tokenizer(template)]
            apart = self.attribute == "ORTH" and sum(_SOME_WORD in token for token in tokens) == len(words)
            parts = [token.partition(_SOME_WORD) for token in tokens]
            self._templates[template] = (
                [(before, after) if word else self._tokens[before] for before, word, after in parts] if apart else None
            )
        if (codes := self._templates[template]) is None:
            return None
        following = iter(words)
        return [code if isinstance(code, int) else self._tokens[f"{code[0]}{next(following)}{code[1]}"] for code in codes]

    def _by_chunk(self, texts: Iterable[str]) -> tuple[Int64s, Int64s]:
        """Return the codes of normalised posts, and the number of tokens of each.

        The tokenizer never looks beyond a chunk between white space, so chunks can be remembered.
        """
        posts = [_without_long_chunks(without_edge_masks(text)).split() for text in texts]
        self._learn(chain.from_iterable(posts))
        chunks = [[*chain.from_iterable(map(self._codes.__getitem__, post))] for post in posts]
        return np.fromiter(chain.from_iterable(chunks), np.int64), np.fromiter(map(len, chunks), np.int64)

    def _batch(self, codes: Int64s, lengths: Int64s) -> TokenBatch:
        """Turn codes of all tokens seen so far to codes of this batch."""
        seen = np.zeros(len(self._tokens), bool)
        seen[codes] = True
        types = np.flatnonzero(seen)
        tokens = self._tokens.tokens
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        return TokenBatch([tokens[number] for number in types.tolist()], (np.cumsum(seen) - 1)[codes], offsets)

    def _learn(self, chunks: Iterable[str]) -> None:
        """Tokenise chunks that are new, each by itself, because spaCy's exceptions may match across spaces."""
        for chunk in filterfalse(self._codes.__contains__, chunks):
            found = self._without_spacy(chunk) or (self._tokens[self._read(token)] for token in self._nlp.tokenizer(chunk))
            self._codes[chunk] = tuple(found)

    def _without_spacy(self, chunk: str) -> Sequence[int] | None:
        """Return the codes of a chunk of a normalised post if it is certain how spaCy would split it, or None."""
        if self.attribute != "ORTH":
            return None
        if _WHOLE.fullmatch(chunk):  # spaCy looks up its exceptions first, and splits nothing else that matches
            return None if chunk in self._exceptions else [self._tokens[chunk]]
        words = _LONG_WORD.findall(chunk)
        if words and _NO_DIGITS.fullmatch(chunk) and self._special.isdisjoint(words):
            return self._by_template(_LONG_WORD.sub(_SOME_WORD, chunk), words)
        return None
