"""CSV files are read as the standard library reads them; whatever is wrong with one is said with line and column."""

import csv
import gzip
import io
import os
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.data.mutations import survive

import chainrule as cr
from chainrule.data import read_csv
from chainrule.errors import DataError

IRIS = """sepal,petal,species
5.1,1.4,setosa
7.0,4.7,versicolor
6.3,6.0,virginica
4.9,1.4,setosa
"""
X = [[5.1, 1.4], [7.0, 4.7], [6.3, 6.0], [4.9, 1.4]]


@pytest.fixture
def write(tmp_path):
    """A function that writes a file of this text, or these bytes."""

    def put(content, name="table.csv"):
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        return tmp_path / name

    return put


def fails(path, *words, **options):
    """The message of a DataError: one line that names the file and has these words."""
    with pytest.raises(DataError) as caught:
        read_csv(path, **options)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert message[-1] in ".?"
    assert "\n" not in message
    for word in words:
        assert word in message, message


# --- what is right


def test_a_table_with_words_as_labels(write):
    data = read_csv(write(IRIS))
    np.testing.assert_array_equal(data.inputs, X)
    assert (data.inputs.dtype, data.inputs.flags.c_contiguous) == (np.float64, True)
    assert data.targets.tolist() == [0, 1, 2, 0]
    assert (data.targets.dtype, data.classes, data.name) == (np.int64, 3, "table.csv")
    assert data.class_names == ("setosa", "versicolor", "virginica")


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("header", [True, False])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("start", ["", "\ufeff", "\n\n"], ids=["", "BOM", "empty lines"])
def test_delimiter_and_header_are_found_out(delimiter, header, end, start, write):
    text = IRIS if header else IRIS.split("\n", 1)[1]
    data = read_csv(write(start + text.replace(",", delimiter).replace("\n", end)))
    np.testing.assert_array_equal(data.inputs, X)
    assert data.targets.tolist() == [0, 1, 2, 0]


def test_they_can_be_told(write):
    text = "label|0|1\n1|2|3\n0|5|6\n"
    data = read_csv(write(text), "label", delimiter="|")
    np.testing.assert_array_equal(data.inputs, [[2, 3], [5, 6]])
    assert data.targets.tolist() == [1, 0]
    assert read_csv(write("1 2 0\n3 4 1\n"), delimiter=" ").inputs.tolist() == [[1, 2], [3, 4]]
    numbers = read_csv(write("1,2,0\n3,4,1\n"), header=True)
    assert numbers.inputs.tolist() == [[3, 4]]


@pytest.mark.parametrize("target", ["petal", 1, -2, np.int64(1)])
def test_the_target_is_any_column(target, write):
    data = read_csv(write("sepal,petal,width\n5.5,0,2\n6.5,1,3\n"), target)
    np.testing.assert_array_equal(data.inputs, [[5.5, 2], [6.5, 3]])
    assert data.targets.tolist() == [0, 1]
    assert (data.classes, data.class_names) == (2, None)


def test_compressed_or_not_is_known_by_the_content(write):
    for name in ("table.csv", "table.csv.gz"):
        np.testing.assert_array_equal(read_csv(write(gzip.compress(IRIS.encode()), name)).inputs, X)
    np.testing.assert_array_equal(read_csv(write(IRIS, "table.csv.gz")).inputs, X)


def test_floats_are_to_be_predicted_and_integers_if_that_is_said(write):
    data = read_csv(write("a,price\n1,2.5\n2,3\n3,2.5\n"))
    assert (data.targets.tolist(), data.targets.dtype, data.classes) == ([2.5, 3, 2.5], np.float64, None)
    data = read_csv(write("a,price\n1,250000\n2,-3\n"), regression=True)
    assert (data.targets.tolist(), data.targets.dtype, data.classes) == ([250000, -3], np.float64, None)


def test_a_test_file_has_the_classes_of_its_training_file(write):
    train = read_csv(write(IRIS))
    test = read_csv(write("5.1,1.4,virginica\n5.1,1.4,setosa\n", "test.csv"), classes=train.class_names)
    assert (test.targets.tolist(), test.classes, test.class_names) == ([2, 0], 3, train.class_names)
    assert read_csv(write("1,2,0\n1,2,1\n"), classes=10).classes == 10


def test_labels_that_count_otherwise_are_named(write):
    data = read_csv(write("1,2,-1\n1,2,1\n"), classes=["-1", "1"])
    assert (data.targets.tolist(), data.class_names) == ([0, 1], ("-1", "1"))


def test_quotes_and_spaces(write):
    data = read_csv(write('"a, b", c ,"d ""e"""\n" 1 ", 2 ," f, ""g"" "\n-1e-3,.5,h\n'), 'd "e"')
    np.testing.assert_array_equal(data.inputs, [[1, 2], [-0.001, 0.5]])
    assert data.class_names == ('f, "g"', "h")


@given(
    rows=st.integers(1, 4).flatmap(
        lambda n: st.lists(
            st.tuples(
                st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=n, max_size=n),
                st.text("abcé ,;'\"\t", min_size=1).filter(str.strip),
            ),
            min_size=1,
            max_size=12,
        )
    ),
    delimiter=st.sampled_from(",;\t"),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    packed=st.booleans(),
)
@settings(deadline=None)
def test_what_the_standard_library_writes_comes_back_to_the_last_bit(
    rows, delimiter, quoting, packed, tmp_path_factory
):
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, quoting=quoting)
    writer.writerow([*(f"x{i}" for i in range(len(rows[0][0]))), "y"])
    writer.writerows([*map(repr, numbers), word] for numbers, word in rows)
    path = tmp_path_factory.getbasetemp() / "written.csv"
    path.write_bytes(gzip.compress(text.getvalue().encode()) if packed else text.getvalue().encode())
    data = read_csv(path, delimiter=delimiter)
    np.testing.assert_array_equal(data.inputs, [numbers for numbers, _ in rows])
    assert [data.class_names[label] for label in data.targets] == [word.strip() for _, word in rows]


def test_a_network_trains_on_a_table(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 3))
    rows = [f"{a:.5f},{b:.5f},{c:.5f},{'up' if a + b > c else 'down'}" for a, b, c in x]
    (tmp_path / "a.csv").write_text("\n".join(rows))
    cr.manual_seed(0)
    data = read_csv(tmp_path / "a.csv")
    model = cr.nn.Linear(3, 2)
    trainer = cr.Trainer(model, cr.nn.CrossEntropyLoss(), cr.optim.SGD(model.parameters(), lr=1.0))
    trainer.fit(data, epochs=20, batch_size=20)
    assert (model(data.features()).value.argmax(axis=1) == data.targets).mean() > 0.95


# --- what is wrong

WRONG = {
    "empty": ("", {}, ["the file is empty"]),
    "empty lines": ("\n\n", {}, ["the file is empty"]),
    "header alone": ("a,b,c\n", {}, ["rows of numbers below the header, found none"]),
    "one column": ("a\n1\n2\n", {}, ["line 1 has a single column", "delimiter="]),
    "another delimiter": (IRIS, {"delimiter": "|"}, ["line 1 has a single column"]),
    "a word": (IRIS.replace("4.7", "four"), {}, ["line 3, column 'petal': expected a number, found 'four'"]),
    "a word without header": ("1,2,3\n1,x,3\n", {}, ["line 2, column 2: expected a number, found 'x'"]),
    "a decimal comma": ("a;b\n1,5;0\n", {}, ["line 2, column 'a'", "'1,5'", "a point in place of the decimal comma"]),
    "an empty feature": (IRIS.replace("4.7", ""), {}, ["line 3, column 'petal': the field is empty"]),
    "an empty label": (IRIS.replace("virginica", " "), {}, ["line 4, column 'species': the field is empty"]),
    "NaN": (IRIS.replace("6.0", "nan"), {}, ["line 4, column 'petal': expected a finite number, found 'nan'"]),
    "infinity": (IRIS.replace("6.0", "-Infinity"), {}, ["line 4, column 'petal'", "'-Infinity'"]),
    "too large": (IRIS.replace("6.0", "1e999"), {}, ["line 4, column 'petal'", "'1e999'"]),
    "an underscore": (IRIS.replace("6.0", "6_0"), {}, ["line 4, column 'petal': expected a number, found '6_0'"]),
    "digits of another script": (IRIS.replace("6.0", "٦"), {}, ["line 4, column 'petal'", "found '٦'"]),
    "a short row": (IRIS.replace("4.7,", ""), {}, ["line 3 has 2 fields; expected 3"]),
    "a long row": (IRIS.replace("4.7", "4,7"), {}, ["line 3 has 4 fields; expected 3"]),
    "a line of spaces": (IRIS.replace("\n7", "\n  \n7"), {}, ["line 3 has 1 field; expected 3"]),
    "a long header": ("a,b,c,d\n1,2,3\n1,2,3\n", {}, ["line 2 has 3 fields; expected 4"]),
    "after empty lines": ("\n" + IRIS.replace("\n7.0", "\n\n7x"), {}, ["line 5, column 'sepal'", "'7x'"]),
    "no such target": (IRIS, {"target": "class"}, ["no column 'class'", "'sepal', 'petal', 'species'"]),
    "no header for the target": ("1,2\n3,4\n", {"target": "y", "header": False}, ["'y'", "without names"]),
    "target out of range": (IRIS, {"target": 3}, ["target is 3", "from -3 to 2"]),
    "target of no kind": (IRIS, {"target": 1.0}, ["target is 1.0"]),
    "target a bool": (IRIS, {"target": True}, ["target is True"]),
    "the same name twice": ("a,b,a\n1,2,3\n", {}, ["columns 1 and 3 are both called 'a'"]),
    "header or row": ("label,0,1\n1,2,3\n", {"target": 0}, ["first line has both", "'label'", "header=True"]),
    "a gap in the first row": ("1,?,a\n1,2,a\n", {}, ["first line has both", "'?' in column 2", "header=False"]),
    "Latin-1": (IRIS.replace("virginica", "virgin\u00efca").encode("latin-1"), {}, ["line 4", "UTF-8", "0xef"]),
    "UTF-16": (IRIS.encode("utf-16"), {}, ["UTF-16", "save it as UTF-8"]),
    "a zero byte": (IRIS.replace("7.0", "7\0"), {}, ["line 3 has a zero byte"]),
    "an old Macintosh": (IRIS.replace("\n", "\r"), {}, ["line 1 is no row", "new-line character"]),
    "a huge field": ("a,b\n1,2\n" + "1" * 200_000 + ",2\n", {}, ["line 3", "a field of more than 131,072 characters"]),
    "an open quote": (IRIS.replace("versicolor", '"versicolor'), {}, ["line 5, column 'species'", "never closed"]),
    "an open quote before much": (
        'a,b\n1,x\n2,"y\n' + "3,z\n" * 50_000,
        {},
        ["characters: is a quotation mark never closed?"],
    ),
    "another open quote": (IRIS.replace("4.7", '"4.7'), {}, ["has 2 fields; expected 3"]),
    "words and numbers": ("a,b\n1,0\n2,one\n", {}, ["column 'b'", "'0' beside 'one'", "classes=[...]"]),
    "missing labels": ("a,b\n1,nan\n2,one\n", {}, ["column 'b'", "line 2", "'nan' stands for a missing value"]),
    "NaN targets": ("a,b\n1,2.5\n2,nan\n", {}, ["line 3, column 'b': expected a finite number, found 'nan'"]),
    "words for numbers": (IRIS, {"regression": True}, ["line 2, column 'species'", "'setosa'"]),
    "negative labels": ("a,b\n1,-1\n2,1\n", {}, ["labels count from 0, found -1", "classes=['-1', '1']"]),
    "prices": ("a,b\n1,250000\n2,100\n", {}, ["largest of 2 labels is 250000", "say regression=True", "classes="]),
    "labels beyond classes": ("a,b\n1,3\n2,1\n", {"classes": 3}, ["column 'b': 1 of 2 labels", "is 3 at row 0"]),
    "an unknown class": (IRIS, {"classes": ["setosa", "virginica"]}, ["'versicolor' is none of the 2 names"]),
    "other classes": (IRIS, {"classes": 4}, ["found 3 different words; expected at most 4", "classes=[...]"]),
    "float classes": ("a,b\n1,3.5\n2,1\n", {"classes": 3}, ["found '3.5'", "classes=[...]"]),
    "a word for classes": (IRIS, {"classes": "setosa"}, ["classes is 'setosa'"]),
    "classes twice": (IRIS, {"classes": ["a", "a"]}, ["a different name for each"]),
    "no kind of classes": (IRIS, {"classes": 3.5}, ["classes is 3.5"]),
    "classes of regression": (IRIS, {"classes": 3, "regression": True}, ["leave one of them out"]),
    "a long delimiter": (IRIS, {"delimiter": ", "}, ["delimiter is ', '"]),
    "an impossible delimiter": (IRIS, {"delimiter": "."}, ["delimiter is '.'"]),
    "a web page": ("<!DOCTYPE html>\n<html>\n<body>\n", {}, ["line 1 has a single column"]),
}


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize("case", WRONG)
def test_what_is_no_table(case, packed, write):
    content, options, words = WRONG[case]
    content = content if isinstance(content, bytes) else content.encode()
    fails(write(gzip.compress(content) if packed else content), *words, **options)


def test_a_thousand_words_need_no_asking(write):
    text = "a,b\n" + "".join(f"{i},w{i}\n" for i in range(1001))
    assert read_csv(write(text.rsplit("\n", 2)[0])).classes == 1000
    fails(write(text), "found 1,001 different words")
    assert read_csv(write(text), classes=[f"w{i}" for i in range(1001)]).classes == 1001


def test_no_file(tmp_path):
    fails(tmp_path / "missing.csv", "there is no such file")
    fails(tmp_path, "no regular file")
    fails(tmp_path / ("a" * 300), "File name too long")
    with pytest.raises(DataError, match="read_csv: expected the path of a file, found None"):
        read_csv(None)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        fails(tmp_path / "pipe", "no regular file")


def test_the_limit_is_the_callers(write):
    path = write(IRIS)
    assert len(read_csv(path, limit=120)) == 4
    fails(path, "line 5", "limit of 119", limit=119)


@pytest.mark.parametrize(
    "content", [b"1,2\n" * 2**22, b"1," * 2**23, b'1,"' + b"1\n" * 2**23], ids=["rows", "line", "quote"]
)
def test_of_a_gzip_bomb_no_more_is_unpacked_than_the_limit(content, write):
    path = write(gzip.compress(content, 1), "bomb.gz")
    tracemalloc.start()
    try:
        fails(path, limit=2**20)
        assert tracemalloc.get_traced_memory()[1] < 2**26
    finally:
        tracemalloc.stop()


def test_a_damaged_gzip_stream(write):
    content = gzip.compress(IRIS.encode())
    fails(write(content[:-9]), "truncated")
    fails(write(content[:-8] + bytes(8)), "damaged", "CRC")


# What read_csv gives has to be what the standard library reads.
READ = """
import csv, gzip, numpy as np
from chainrule.data import read_csv

def read(path):
    data = read_csv(path)
    content = path.read_bytes()
    content = gzip.decompress(content) if content[:2] == b"\\x1f\\x8b" else content
    lines = content.decode("utf-8-sig").splitlines(keepends=True)
    for delimiter in "\\t;,":
        rows = [row for row in csv.reader(lines, delimiter=delimiter) if row]
        if len(rows[0]) == data.inputs.shape[1] + 1:
            table = [[float(field) for field in row[:-1]] for row in rows[len(rows) - len(data):]]
            if np.array_equal(data.inputs, table):
                return data
    raise AssertionError("the standard library reads something else")
"""


def test_a_damaged_file_is_read_as_it_is_or_refused(tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "a.csv").write_text(IRIS + '\n5.1,"3",setosa\n')
    (tmp_path / "b.csv.gz").write_bytes(gzip.compress(IRIS.encode(), mtime=0))
    rows = ["\t".join(map(str, row)) for row in rng.integers(0, 3, (30, 5)).tolist()]
    (tmp_path / "c.tsv").write_text("\n".join(rows))
    (tmp_path / "d.csv").write_bytes("\ufeffa;b;é\r\n".encode() + b"1.5;2;3.5\r\n" * 20)
    outcome = survive(READ, sorted(tmp_path.iterdir()), rounds=1000)
    assert min(outcome.refused, outcome.unchanged, outcome.changed) > 50


@pytest.mark.parametrize("word", ["NA", "?", "nan", "NaN", "null", "None", "N/A", "-"])
def test_a_missing_value_is_no_class(word, write):
    path = write(f"x,species\n1,setosa\n2,virginica\n3,{word}\n")
    fails(path, "line 4, column 'species'", f"'{word}' stands for a missing value; remove the row")
    assert read_csv(path, classes=["setosa", "virginica", word]).targets.tolist() == [0, 1, 2]


def test_a_first_line_that_counts_is_asked_about(write):
    path = write("0,1,2\n5.1,1.4,0\n7.0,4.7,1\n")
    fails(path, "the first line counts from 0 to 2", "say header=True or header=False")
    assert len(read_csv(path, header=True)) == 2
    assert len(read_csv(path, header=False)) == 3


def test_a_comma_between_thousands(write):
    fails(write("a;y\n1,234;0\n2,5;1\n"), "line 2, column 'a'", "leave out the comma between thousands, or write a")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("sep=;", ["line 1 only tells a spreadsheet program the delimiter; remove the line"]),
        ("Measured in May", ["line 1 has a single column", "remove a title or comment"]),
        ("# measured, in May", ["line 2 has 3 fields; expected 2", "If that is a title or a comment, remove it"]),
    ],
)
def test_a_line_above_the_table(line, words, write):
    fails(write(f"{line}\na;b;y\n1;2;0\n3;4;1\n".replace(";", "," if "#" in line else ";")), *words)
