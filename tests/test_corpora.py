"""Labelled corpora: where they come from, what is checked, how they are split."""

import json
import math
from collections import Counter

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.config import Label, LabelSet
from models.errors import InputError
from pipeline.config import Columns, Data, Split
from pipeline.config_files import load_config
from pipeline.corpora import Overlap, load_corpus, load_training_corpus

LABELS = LabelSet(
    name="three",
    labels=[Label(name=name, definition=name) for name in ("assault", "support", "street")],
    auxiliary=["other"],
    ignored=["spam"],
)


def row(number, labels=(), **fields):
    return {"id": f"p{number}", "text": f"post number {number} says something", "labels": list(labels), **fields}


def rows(start, stop, **fields):
    return [row(number, **fields) for number in range(start, stop)]


def load(*sources, seed=0, cut=True, columns=None, labels=LABELS, **data):
    return load_corpus(Data(sources=[str(source) for source in sources], columns=columns or Columns(), **data), labels, seed=seed, cut=cut)


def sizes(corpus):
    return dict(corpus.splits.num_rows)


class TestSources:
    def test_folder_with_a_file_a_split(self, jsonl, tmp_path):
        for name, start in (("train", 0), ("dev", 5), ("test", 7)):
            jsonl(f"{name}.jsonl", rows(start, start + 2))
        corpus = load(tmp_path)
        assert sizes(corpus) == {"train": 2, "validation": 2, "test": 2}
        assert corpus.splits["validation"]["id"] == ["p5", "p6"]

    @pytest.mark.parametrize("name", ["valid", "val", "dev", "validation", "Dev", "validation-00000-of-00001"])
    def test_names_of_a_validation_file(self, jsonl, tmp_path, name):
        jsonl("train.jsonl", rows(0, 2))
        jsonl(f"{name}.jsonl", rows(5, 7))
        assert sizes(load(tmp_path)) == {"train": 2, "validation": 2}

    def test_file_of_a_folder_that_is_no_split_is_passed_over(self, jsonl, tmp_path):
        jsonl("train.jsonl", rows(0, 2))
        unlabeled = jsonl("unlabeled.jsonl", [{"no": "columns"}])
        (tmp_path / "README.md").write_text("about")
        corpus = load(tmp_path)
        assert sizes(corpus) == {"train": 2}
        assert corpus.passed_over == [str(unlabeled)]

    def test_formats_mix(self, jsonl, tmp_path):
        jsonl("train.jsonl", rows(0, 2))
        (tmp_path / "dev.csv").write_text("id,text,labels\nc1,hello,assault; street\nc2,bye,\n")
        pq.write_table(pa.Table.from_pylist(rows(3, 4, labels=["support"])), tmp_path / "test.parquet")
        corpus = load(tmp_path)
        assert corpus.splits["validation"]["labels"] == [["assault", "street"], []]
        assert corpus.splits["test"]["labels"] == [["support"]]

    def test_roles_and_several_sources(self, jsonl, tmp_path):
        jsonl("a/train.jsonl", rows(0, 2))
        jsonl("a/test.jsonl", rows(2, 4))
        more, dev = jsonl("more.jsonl", rows(5, 8)), jsonl("held.jsonl", rows(8, 9))
        corpus = load(tmp_path / "a", f"train={more}", f"dev={dev}")
        assert sizes(corpus) == {"train": 5, "validation": 1, "test": 2}

    def test_a_file_of_a_folder_that_has_a_role_is_not_said_to_be_skipped(self, jsonl, tmp_path):
        for name, numbers in (("train", range(3)), ("extra", range(3, 5))):
            jsonl(f"{name}.jsonl", [row(number) for number in numbers])
        corpus = load(tmp_path, f"train={tmp_path}/./extra.jsonl")
        assert corpus.passed_over == []
        assert sizes(corpus) == {"train": 5}

    def test_file_whose_name_holds_an_equals_sign(self, jsonl):
        assert sizes(load(jsonl("lang=en.jsonl", rows(0, 2)), cut=False)) == {"all": 2}

    def test_saved_data_set(self, tmp_path):
        datasets.Dataset.from_list(rows(0, 3)).save_to_disk(str(tmp_path / "saved"))
        assert load(tmp_path / "saved", cut=False).splits["all"]["id"] == ["p0", "p1", "p2"]

    def test_saved_data_set_with_splits(self, tmp_path):
        splits = {"train": rows(0, 3), "valid": rows(3, 4), "unsupervised": rows(4, 9)}
        datasets.DatasetDict({name: datasets.Dataset.from_list(each) for name, each in splits.items()}).save_to_disk(
            str(tmp_path / "saved")
        )
        corpus = load(tmp_path / "saved")
        assert sizes(corpus) == {"train": 3, "validation": 1}
        assert corpus.passed_over == [f"{tmp_path / 'saved'}[unsupervised]"]

    def test_saved_data_set_that_cannot_serve(self, tmp_path, refused):
        saved = tmp_path / "saved"
        datasets.DatasetDict({"a": datasets.Dataset.from_list(rows(0, 3))}).save_to_disk(str(saved))
        with refused(saved, "no split is named train, validation or test; found a"):
            load(f"train={saved}")
        datasets.Dataset.from_list([{"id": "1", "words": "x", "labels": []}]).save_to_disk(str(tmp_path / "column"))
        with refused(tmp_path / "column", "no column 'text'; found 'id', 'words', 'labels'", "--set data.columns.text="):
            load(tmp_path / "column")
        datasets.Dataset.from_list(rows(0, 1)).select([]).save_to_disk(str(tmp_path / "empty"))
        with refused(tmp_path / "empty", "not a readable saved data set"):
            load(tmp_path / "empty")
        datasets.Dataset.from_list([row(1), row(2, ["asault"])]).save_to_disk(str(tmp_path / "label"))
        with refused(f"{tmp_path / 'label'}, row 2", "did you mean 'assault'?"):
            load(tmp_path / "label")

    def test_damaged_saved_data_set(self, tmp_path, refused):
        saved = tmp_path / "saved"
        datasets.Dataset.from_list(rows(0, 3)).save_to_disk(str(saved))
        (arrow,) = saved.glob("*.arrow")
        arrow.write_bytes(arrow.read_bytes()[:20])
        with refused(saved, "not a readable saved data set"):
            load(saved)

    def test_hub(self, monkeypatch, refused):
        splits = {"train": rows(0, 3), "test": rows(3, 4)}
        on_hub = datasets.DatasetDict({name: datasets.Dataset.from_list(each) for name, each in splits.items()})
        monkeypatch.setattr(datasets, "load_dataset", {"some/posts": on_hub}.__getitem__)
        assert sizes(load("hub:some/posts")) == {"train": 3, "test": 1}
        on_hub["test"] = on_hub["test"].select([])
        with refused("hub:some/posts[test]: has no rows"):
            load("hub:some/posts")

    def test_hub_without_network(self, refused):
        with refused("hub:nobody/no-such-data-set: cannot be loaded from the hub", "check the name and the network"):
            load("hub:nobody/no-such-data-set")

    def test_folder_without_splits(self, jsonl, tmp_path, refused):
        jsonl("posts.jsonl", rows(0, 2))
        with refused(tmp_path, "no file named train, validation or test", "train=FILE"):
            load(tmp_path)

    def test_splits_and_loose_files_do_not_mix(self, jsonl, refused):
        jsonl("a/train.jsonl", rows(0, 2))
        loose = jsonl("loose.jsonl", rows(2, 4))
        with refused("assign those without to a split, as in train=FILE"):
            load(loose.parent / "a", loose)

    def test_one_role_for_several_splits(self, jsonl, tmp_path, refused):
        jsonl("train.jsonl", rows(0, 2))
        jsonl("test.jsonl", rows(2, 4))
        with refused(f"train={tmp_path}", "holds several splits"):
            load(f"train={tmp_path}")

    def test_missing_source(self, tmp_path, refused):
        with refused(tmp_path / "none", "no such file"):
            load(f"train={tmp_path / 'none'}")


class TestRows:
    @pytest.mark.parametrize(
        ("fields", "parts"),
        [
            ({"text": None}, ["the text must be a string, not NoneType", "correct or delete the row"]),
            ({"text": 5}, ["the text must be a string, not int"]),
            ({"text": ["a"]}, ["the text must be a string, not list"]),
            ({"text": " \n"}, ["the text is empty"]),
            ({"id": None}, ["id is None", "data.columns.id=null"]),
            ({"id": ""}, ["id is ''"]),
            ({"id": 1.5}, ["id is 1.5"]),
            (
                {"labels": [1]},
                ["column 'labels' holds a number, which is not a label; ", "numbers do not say which label they mean"],
            ),
            ({"labels": ["asault"]}, ["column 'labels' holds 'asault', which is not a label; did you mean 'assault'?", "labels.ignored"]),
            (
                {"labels": ["xyz"]},
                [
                    "column 'labels' holds a text of 3 characters, which is not a label (it is not shown, because it may be a post); ",
                    "the labels are assault, support, street, other",
                ],
            ),
        ],
    )
    def test_bad_value_names_file_row_and_remedy(self, jsonl, refused, fields, parts):
        path = jsonl("bad.jsonl", [row(0), row(1) | fields])
        with refused(f"{path}, row 2: ", *parts):
            load(path)

    def test_column_missing_in_a_later_row(self, jsonl, refused):
        path = jsonl("gap.jsonl", [row(0), {"id": "x", "labels": []}])
        with refused(f"{path}, row 2: no column 'text'"):
            load(path)

    def test_broken_row(self, tmp_path, refused):
        path = tmp_path / "broken.jsonl"
        path.write_text(json.dumps(row(0)) + "\n" + json.dumps(row(1))[:-9])
        with refused(f"{path}, row 2: not valid JSON", "correct or delete the row"):
            load(path)

    def test_duplicate_id_names_both_places(self, jsonl, refused):
        first, second = jsonl("a.jsonl", [row(0), row(7)]), jsonl("b.jsonl", [row(7)])
        with refused(f"{second}, row 1: id 'p7' is already used at {first}, row 2"):
            load(f"train={first}", f"test={second}")

    def test_number_and_text_are_the_same_id(self, jsonl, refused):
        with refused("row 2: id '1' is already used"):
            load(jsonl("ids.jsonl", [row(0) | {"id": "1"}, row(1) | {"id": 1}]))

    def test_rows_without_ids_are_numbered_apart_from_those_of_like_named_files(self, jsonl):
        paths = [jsonl(f"{folder}/train.jsonl", rows(number, number + 2)) for number, folder in enumerate("acd")]
        corpus = load(*(f"train={path}" for path in paths), columns=Columns(id=None), drop_overlap=False)
        assert corpus.splits["train"]["id"] == ["train-1", "train-2", "train2-1", "train2-2", "train3-1", "train3-2"]

    def test_columns_can_be_named(self, jsonl):
        columns = Columns(id="tweet", text="body", labels="tags", author="who", source=None)
        path = jsonl("named.jsonl", [{"tweet": 5, "body": "words", "tags": ["other"], "who": 9, "source": "left out"}])
        (record,) = load(path, cut=False, columns=columns).splits["all"]
        named = {"id": "5", "text": "words", "labels": ["other"], "author": "9", "created_at": None, "source": None, "weight": 1}
        assert record == named

    def test_labels_are_ordered_as_the_set_and_given_once(self, jsonl):
        corpus = load(jsonl("order.jsonl", [row(0, ["other", "street", "assault", "street"])]), cut=False)
        assert corpus.splits["all"]["labels"] == [["assault", "street", "other"]]

    def test_ignored_labels_are_counted_and_left_out(self, jsonl):
        corpus = load(jsonl("spam.jsonl", [row(0, ["spam", "street"]), row(1, ["spam"])]), cut=False)
        assert corpus.ignored == {"spam": 2}
        assert corpus.splits["all"]["labels"] == [["street"], []]

    def test_one_column_a_label(self, tmp_path, refused):
        columns = Columns(id=None, text="Description", labels={"street": "Commenting", "assault": "Touching /Groping"})
        path = tmp_path / "city.csv"
        path.write_text("Description,Commenting,Touching /Groping\nhe whistled,1,0\nhe grabbed,1,1\nnothing,0,0\n")
        corpus = load(path, cut=False, columns=columns)
        assert corpus.targets("all", corpus.labels).tolist() == [[0, 0, 1], [1, 0, 1], [0, 0, 0]]
        assert corpus.splits["all"]["id"] == ["city-1", "city-2", "city-3"]
        path.write_text("Description,Commenting,Touching /Groping\nhe whistled,2,0\n")
        with refused(f"{path}, row 1: column 'Commenting' holds a text of 1 character, but cells must be 1 or 0, yes or no"):
            load(path, cut=False, columns=columns)
        path.write_text("Description,Commenting\nhe whistled,1\n")
        with refused(f"{path}: no column 'Touching /Groping'"):
            load(path, cut=False, columns=columns)

    def test_flag_columns_may_be_booleans(self, tmp_path):
        pq.write_table(
            pa.Table.from_pylist([{"id": "1", "text": "x", "s": True}, {"id": "2", "text": "y", "s": False}]), tmp_path / "b.parquet"
        )
        assert load(tmp_path / "b.parquet", cut=False, columns=Columns(labels={"street": "s"})).splits["all"]["labels"] == [["street"], []]

    @pytest.mark.parametrize("author", [pa.array([math.nan, math.nan, 7.0]), pa.array([None, None, "a"]), pa.array(["", "", "a"])])
    def test_missing_authors_are_nobody_rather_than_one_person(self, tmp_path, author):
        table = pa.Table.from_pylist(rows(0, 3)).append_column("author", author)
        pq.write_table(table, tmp_path / "authors.parquet")
        corpus = load(tmp_path / "authors.parquet", cut=False)
        assert corpus.splits["all"]["author"][:2] == [None, None]
        assert len(set(corpus.groups("all"))) == 3

    def test_half_an_emoji_loads(self, tmp_path):
        (tmp_path / "half.jsonl").write_text('{"id": "1", "text": "cut \\ud83d", "labels": []}\n')
        assert load(tmp_path / "half.jsonl", cut=False).splits["all"]["text"] == ["cut \ufffd"]


class TestSplits:
    @given(authors=st.lists(st.sampled_from([None, *"abcdefghijklmnop"]), min_size=40, max_size=60), seed=st.integers(0, 9))
    def test_cut_is_author_disjoint_whole_and_decided_by_the_seed(self, tmp_path_factory, authors, seed):
        path = tmp_path_factory.mktemp("cut") / "posts.jsonl"
        path.write_text("".join(json.dumps(row(number, author=author)) + "\n" for number, author in enumerate(authors)))
        corpus = load(path, seed=seed)
        ids = [each for split in corpus.splits.values() for each in split["id"]]
        assert sorted(ids) == sorted(f"p{number}" for number in range(len(authors)))
        where = {author: name for name, split in corpus.splits.items() for author in split["author"]}
        assert all(where[author] == name for name, split in corpus.splits.items() for author in split["author"] if author)
        assert list(corpus.splits) == ["train", "validation", "test"]
        assert load(path, seed=seed).sha256 == corpus.sha256

    def test_cut_follows_seed_and_shares(self, jsonl):
        path = jsonl("posts.jsonl", rows(0, 100))
        assert sizes(load(path)) == {"train": 70, "validation": 10, "test": 20}
        assert sizes(load(path, split=Split(validation=0, test=0.5))) == {"train": 50, "test": 50}
        assert load(path, seed=1).splits["test"]["id"] != load(path, seed=2).splits["test"]["id"]

    def test_too_few_authors_to_cut(self, jsonl, refused):
        with refused("too few authors (1) to set some aside for test"):
            load(jsonl("lone.jsonl", rows(0, 9, author="a")))

    def test_without_cut_the_file_is_whole(self, jsonl):
        corpus = load(jsonl("posts.jsonl", rows(0, 9)), cut=False)
        assert sizes(corpus) == {"all": 9}
        assert corpus.overlap is None
        assert corpus.is_new("all").all()

    @pytest.fixture
    def overlapping(self, jsonl, tmp_path):
        train = [
            row(0, ["assault"], author="a"),
            row(1, ["street"]) | {"text": "POST   number 0 says\u200b something"},  # repeats p0 with other labels
            row(2) | {"text": "held out words"},
            row(3, author="b"),
            row(4, author="b") | {"text": "Held OUT words"},  # all three at once
            row(5),
        ]
        jsonl("train.jsonl", train)
        jsonl("test.jsonl", [row(10, author="b"), row(11) | {"text": "held  out words"}])
        return tmp_path

    def test_overlap_is_counted_and_dropped_from_train(self, overlapping):
        corpus = load(overlapping)
        assert corpus.overlap == Overlap(repeated=2, conflicting=1, leaked_texts=2, leaked_nearly=0, leaked_authors=2, dropped=4)
        assert corpus.splits["train"]["id"] == ["p0", "p5"]
        assert corpus.splits["test"]["id"] == ["p10", "p11"]
        assert corpus.is_new("test").all()

    def test_overlap_can_stay(self, overlapping):
        corpus = load(overlapping, drop_overlap=False)
        assert corpus.overlap == Overlap(repeated=2, conflicting=1, leaked_texts=2, leaked_nearly=0, leaked_authors=2, dropped=0)
        assert sizes(corpus)["train"] == 6
        assert corpus.overlapping.tolist() == [False, True, True, True, True, False]
        assert corpus.is_new("test").tolist() == [True, False]

    def test_overlap_that_stayed_can_be_taken_out_later(self, overlapping):
        dropped, later = load(overlapping), load(overlapping, drop_overlap=False).without_overlap()
        assert (later.overlap, later.sha256) == (dropped.overlap, dropped.sha256)
        assert {name: posts.to_list() for name, posts in later.splits.items()} == {
            name: posts.to_list() for name, posts in dropped.splits.items()
        }
        assert later.overlapping.tolist() == dropped.overlapping.tolist() == [False, False]
        assert later.without_overlap() is later

    def test_only_train_knows_nothing_of_other_splits(self, overlapping, jsonl):
        alone = load(overlapping, drop_overlap=False).only_train()
        assert sizes(alone) == {"train": 6}
        jsonl("test.jsonl", [row(20, ["assault"])])
        assert load(overlapping, drop_overlap=False).only_train().sha256 == alone.sha256
        jsonl("train.jsonl", rows(0, 6))
        assert load(overlapping, drop_overlap=False).only_train().sha256 != alone.sha256

    def test_targets_and_groups(self, jsonl):
        posts = [row(0, ["street", "other"], author="a"), row(1), row(2, ["assault"], author="a"), row(3)]
        corpus = load(jsonl("posts.jsonl", posts), cut=False)
        assert corpus.labels == ["assault", "support", "street"]
        assert corpus.auxiliary == ["other"]
        assert corpus.targets("all", corpus.labels).tolist() == [[0, 0, 1], [0, 0, 0], [1, 0, 0], [0, 0, 0]]
        assert corpus.targets("all", corpus.auxiliary).tolist() == [[1], [0], [0], [0]]
        assert corpus.targets("all", []).shape == (4, 0)
        first, alone, again, lone = corpus.groups("all")
        assert first == again
        assert len({first, alone, lone}) == 3


def bare(number, **fields):
    """Return a row without labels."""
    return {"id": f"u{number}", "text": f"unlabelled post number {number}", **fields}


class TestUnlabelled:
    @pytest.fixture
    def labelled(self, jsonl):
        """Three train posts, and one post of each other split, as sources."""
        rows_of = {
            "train": [row(0, ["assault"], author="a"), row(1), row(2, author="b")],
            "validation": [row(3, author="v", text="Post number 3 SAYS something")],
            "test": [row(4, author="t")],
        }
        return [f"{split}={jsonl(f'{split}.jsonl', each)}" for split, each in rows_of.items()]

    def test_posts_need_no_labels_there_and_those_they_have_are_not_read(self, jsonl, labelled):
        more = jsonl("more.jsonl", [bare(0), bare(1, labels=["asault"]), bare(2, labels=5, author="a", source="web")])
        corpus = load(*labelled, f"unlabelled={more}")
        assert sizes(corpus) == {"train": 3, "validation": 1, "test": 1}
        assert corpus.unlabelled["id"] == ["u0", "u1", "u2"]
        assert corpus.unlabelled["labels"] == [[], [], []]
        assert corpus.unlabelled["author"] == [None, None, "a"]
        assert corpus.unlabelled.column_names == corpus.splits["train"].column_names
        assert corpus.passed_over == []

    def test_file_beside_the_splits_is_not_passed_over_where_it_is_named(self, jsonl, tmp_path):
        jsonl("train.jsonl", rows(0, 2))
        more = jsonl("more.jsonl", [bare(0)])
        corpus = load(tmp_path, f"unlabelled={tmp_path}/./{more.name}")
        assert corpus.passed_over == []
        assert corpus.unlabelled["id"] == ["u0"]

    def test_a_file_of_the_repository_is_found_from_any_folder(self, labelled, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        assert load(*labelled, "unlabelled=data/starter/validation.jsonl").unlabelled.num_rows > 200

    def test_posts_elsewhere_need_labels(self, jsonl, labelled, refused):
        more = jsonl("more.jsonl", [bare(0)])
        config = load_config((), (), [*labelled, f"train={more}"])
        with refused(f"{more}: no column 'labels'; found 'id', 'text'", "(for posts without labels: --data unlabelled=FILE)"):
            load_training_corpus(config)

    def test_corpus_without_them_has_none(self, labelled):
        assert load(*labelled).unlabelled.num_rows == 0

    @pytest.mark.parametrize("drop_overlap", [True, False])
    @pytest.mark.parametrize("unlabelled_first", [True, False])
    def test_known_texts_repeats_and_authors_held_out_are_dropped(self, jsonl, labelled, drop_overlap, unlabelled_first):
        rows = [
            *(bare(number, text=f"POST  number {number} says\u200b something") for number in (0, 3, 4)),  # known in every split
            bare(5, author="v"),
            bare(6, author="t"),
            bare(7, author="a"),  # by an author of train, so it may stay
            bare(8, author=None),
            bare(9, text="Unlabelled POST number 8"),
        ]
        source = f"unlabelled={jsonl('more.jsonl', rows)}"
        sources = [source, *labelled] if unlabelled_first else [*labelled, source]
        corpus = load(*sources, drop_overlap=drop_overlap)
        assert corpus.unlabelled["id"] == ["u7", "u8"]
        assert sizes(corpus)["train"] == 3
        assert corpus.overlap == Overlap(repeated=0, conflicting=0, leaked_texts=0, leaked_nearly=0, leaked_authors=0, dropped=0)

    def test_what_passes_on_a_held_out_post_is_dropped(self, jsonl):
        told = "He followed me from the station to my door and would not leave, and nobody on our street looked out"
        test = jsonl("test.jsonl", [row(0, ["assault"], text=told)])
        train = jsonl("train.jsonl", [row(1), row(2, ["assault"], text=f"{told} #MeToo")])
        more = jsonl("more.jsonl", [bare(0, text=f"{told} #MeToo"), bare(1, text=f"RT @someone: {told}"), bare(2)])
        corpus = load(f"train={train}", f"test={test}", f"unlabelled={more}")
        assert corpus.unlabelled["id"] == ["u2"]

    def test_files_are_read_in_order_and_repeat_each_other_once(self, jsonl, labelled):
        first, second = jsonl("b.jsonl", [bare(0), bare(1)]), jsonl("a.jsonl", [bare(2, text="unlabelled post number 0"), bare(3)])
        corpus = load(f"unlabelled={first}", *labelled, f"unlabelled={second}")
        assert corpus.unlabelled["id"] == ["u0", "u1", "u3"]

    def test_authors_that_are_cut_off_are_held_out(self, jsonl):
        posts = jsonl("posts.jsonl", [row(number, author=f"a{number}") for number in range(30)])
        more = jsonl("more.jsonl", [bare(number, author=f"a{number}") for number in range(30)])
        corpus = load(posts, f"unlabelled={more}")
        assert sizes(corpus) == {"train": 21, "validation": 3, "test": 6}
        assert sorted(corpus.unlabelled["author"]) == sorted(corpus.splits["train"]["author"])

    def test_what_is_learned_from_is_train_and_then_they(self, jsonl, labelled):
        more = jsonl("more.jsonl", [bare(0, text="LOUD &amp; clear", author="b"), bare(1), bare(2, author="c"), bare(3)])
        corpus = load(*labelled, f"unlabelled={more}")
        posts = corpus.to_learn_from()
        texts, groups = posts.texts, posts.groups
        assert texts[:4] == [*(f"post number {number} says something" for number in range(3)), "LOUD &amp; clear"]
        assert len(texts) == len(groups) == 7
        assert groups[2] == groups[3]
        assert len(set(groups)) == 6
        assert groups[:3].tolist() == corpus.groups("train").tolist()
        for found, names in ((posts.Y, corpus.labels), (posts.auxiliary, corpus.auxiliary)):
            np.testing.assert_array_equal(found, corpus.targets("train", names))
            assert found.shape == (3, len(names))

    @pytest.mark.parametrize(
        ("rows", "parts"),
        [
            ([bare(0), {"id": "u1"}], ["row 2: no column 'text'"]),
            ([bare(0, text=" ")], ["row 1: the text is empty"]),
            ([bare(0), bare(0)], ["row 2: id 'u0' is already used at"]),
            ([bare(0, id="p1")], ["row 1: id 'p1' is already used at", "train.jsonl, row 2"]),
        ],
    )
    def test_bad_rows_are_refused_there_too(self, jsonl, labelled, refused, rows, parts):
        more = jsonl("more.jsonl", rows)
        with refused(more, *parts):
            load(*labelled, f"unlabelled={more}")

    def test_missing_file_and_folder_are_refused(self, labelled, tmp_path, refused):
        with refused(tmp_path / "none.jsonl", "no such file"):
            load(*labelled, f"unlabelled={tmp_path / 'none.jsonl'}")
        with refused(tmp_path):
            load(*labelled, f"unlabelled={tmp_path}")

    def test_file_of_a_folder_that_is_given_a_role_is_not_passed_over(self, jsonl, tmp_path):
        jsonl("train.jsonl", [row(0)])
        more, other = jsonl("unlabeled.jsonl", [bare(0)]), jsonl("other.jsonl", [bare(1)])
        corpus = load(tmp_path, f"unlabelled={more}")
        assert corpus.unlabelled["id"] == ["u0"]
        assert corpus.passed_over == [str(other)]

    def test_nothing_else_is_no_corpus(self, jsonl, refused):
        with refused("unlabelled posts only", "add a source with labelled posts"):
            load(f"unlabelled={jsonl('more.jsonl', [bare(0)])}")

    def test_digest_follows_those_that_are_kept(self, jsonl, labelled):
        sources = {
            name: f"unlabelled={jsonl(f'{name}.jsonl', rows)}"
            for name, rows in {
                "known": [bare(0, text="post number 4 says something")],
                "one": [bare(0)],
                "other": [bare(1)],
                "both": [bare(0), bare(1)],
            }.items()
        }
        digests = {name: load(*labelled, source).sha256 for name, source in sources.items()}
        assert digests.pop("known") == load(*labelled).sha256
        assert len({*digests.values(), load(*labelled).sha256}) == 4


class TestDigest:
    BASE = (row(0, ["street"], author="a"), row(1))

    def digest(self, jsonl, posts, name="train.jsonl", **options):
        return load(f"train={jsonl(name, list(posts))}", **options).sha256

    @pytest.mark.parametrize("change", [{"id": "q"}, {"text": "other words"}, {"labels": ["street", "other"]}, {"labels": []}])
    def test_follows_ids_texts_and_labels(self, jsonl, change):
        first, second = self.BASE
        assert self.digest(jsonl, [first | change, second]) != self.digest(jsonl, self.BASE)

    def test_follows_split_and_order(self, jsonl):
        path = jsonl("posts.jsonl", list(self.BASE))
        assert len({load(f"{role}={path}").sha256 for role in ("train", "validation", "test")}) == 3
        assert self.digest(jsonl, self.BASE[::-1]) != self.digest(jsonl, self.BASE)

    @pytest.mark.parametrize("change", [{"author": "z"}, {"author": None}, {"source": "s"}, {"created_at": "2017-10-15"}])
    def test_does_not_follow_the_rest(self, jsonl, change):
        first, second = self.BASE
        assert self.digest(jsonl, [first | change, second]) == self.digest(jsonl, self.BASE)
        assert self.digest(jsonl, self.BASE, "elsewhere/posts.jsonl") == self.digest(jsonl, self.BASE)


def test_records_of_a_split_have_all_columns(jsonl):
    corpus = load(
        jsonl("posts.jsonl", [row(0, ["street"], author="a", created_at="2017-10-15", source="web", stratum="left out")]), cut=False
    )
    assert corpus.splits["all"][0] == row(0, ["street"], author="a", created_at="2017-10-15", source="web", weight=1)
    assert Counter(corpus.splits["all"].column_names) == Counter(["id", "text", "labels", "author", "created_at", "source", "weight"])


@pytest.mark.parametrize("field", ["id", "labels"])
def test_mixed_up_columns_show_no_post(jsonl, field):
    path = jsonl("mixed.jsonl", [row(0) | {"text": "my boss did that"}, row(1) | {"text": "my boss did that"}])
    with pytest.raises(InputError, match="row") as caught:
        load(path, columns=Columns(**{field: "text"}))
    assert "boss" not in str(caught.value)
    assert "a text of 16 characters" in str(caught.value)


class TestWeights:
    def test_posts_count_by_their_column_their_source_and_whether_they_are_unsure(self, jsonl):
        first = jsonl("first.jsonl", [row(0, weight=2), row(1, unsure=True), row(2, weight="0.5", unsure=False), row(3, weight=None)])
        second = jsonl("second.jsonl", [row(4, source="forum"), row(5, unsure=True, weight=4, source="forum"), row(6, source="web")])
        corpus = load(f"train={first}", f"train={second}", weights={"forum": 0.25, "none": 3}, unsure=0.5)
        assert corpus.splits["train"]["weight"] == [6, 1.5, 1.5, 3, 0.25, 0.5, 1]
        np.testing.assert_array_equal(corpus.to_learn_from().weights, [6, 1.5, 1.5, 3, 0.25, 0.5, 1])

    def test_weights_are_part_of_the_digest(self, jsonl):
        digests = {load(f"train={jsonl('a.jsonl', [row(0, weight=weight), row(1)])}").sha256 for weight in (1, 2, None)}
        assert len(digests) == 2

    @pytest.mark.parametrize("weight", [0, -1, "heavy", "nan", "inf"])
    def test_weight_that_is_no_number_above_zero_is_refused(self, jsonl, refused, weight):
        file = jsonl("a.jsonl", [row(0), row(1, weight=weight)])
        with refused(file, "row 2", "weight", "--set data.columns.weight=null"):
            load(f"train={file}")

    def test_weight_of_no_source_is_refused(self, jsonl, refused):
        file = jsonl("a.jsonl", [row(0, source="forum"), row(1)])
        config = load_config((), ["data.weights={form: 0.25}"], [f"train={file}"])
        with refused("data.weights", "'form'", "forum, none"):
            load_training_corpus(config)

    def test_a_source_whose_posts_are_all_dropped_may_have_a_weight(self, jsonl):
        train, test = jsonl("a.jsonl", [row(0, source="forum"), row(1)]), jsonl("b.jsonl", [row(2, text=row(0)["text"])])
        config = load_config((), ["data.weights={forum: 0.25}"], [f"train={train}", f"test={test}"])
        assert load_training_corpus(config).splits["train"]["id"] == ["p1"]

    def test_a_corpus_to_measure_on_needs_no_source_that_training_weighs(self, jsonl):
        assert sizes(load(f"test={jsonl('fresh.jsonl', rows(0, 3))}", weights={"forum": 0.25})) == {"test": 3}

    @pytest.mark.parametrize("unsure", ["x", "Y", "yes", True, 1])
    def test_unsure_is_written_like_any_other_flag(self, jsonl, unsure):
        file = jsonl("a.jsonl", [row(0, unsure=unsure), row(1, unsure=None)])
        assert load(f"train={file}", unsure=0.5).splits["train"]["weight"] == [0.5, 1]

    def test_unsure_that_says_neither_is_refused(self, jsonl, refused):
        file = jsonl("a.jsonl", [row(0), row(1, unsure="maybe")])
        with refused(file, "row 2: column 'unsure' holds a text of 5 characters", "yes or no", "--set data.columns.unsure=null"):
            load(f"train={file}")
