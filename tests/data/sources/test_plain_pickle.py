import datetime
import decimal
import os
import pickle
import pickletools
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curr_reft.data.sources.plain_pickle import read_plain_pickle
from curr_reft.errors import InputError

KEYS = st.one_of(st.text(), st.integers(-(2**70), 2**70), st.binary(), st.none(), st.booleans())
LEAVES = st.one_of(KEYS, st.floats(allow_nan=False))
PLAIN = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner), st.dictionaries(KEYS, inner), st.tuples(inner), st.lists(inner).map(tuple)
    ),
    max_leaves=20,
)


@pytest.fixture(scope="session")
def read(tmp_path_factory):
    path = tmp_path_factory.mktemp("pickle") / "refs.p"

    def read_bytes(data: bytes):
        path.write_bytes(data)
        return read_plain_pickle(path)

    return read_bytes


def listed(value):
    """The value with lists for tuples."""
    if isinstance(value, dict):
        return {key: listed(inner) for key, inner in value.items()}
    return [listed(inner) for inner in value] if isinstance(value, list | tuple) else value


@given(PLAIN, st.integers(0, pickle.HIGHEST_PROTOCOL))
def test_plain_data_comes_back(read, value, protocol):
    data = pickle.dumps(value, protocol)
    if any(opcode.name == "GLOBAL" for opcode, _, _ in pickletools.genops(data)):
        # Before protocol 3, bytes are pickled as a call of codecs.encode.
        with pytest.raises(InputError, match="refused: it names"):
            read(data)
    else:
        assert read(data) == listed(value)
        assert repr(read(data)) == repr(listed(value))


def test_shared_parts_stay_shared(read):
    tokens = ["blue", "shirt"]
    first, second = read(pickle.dumps([tokens, tokens], 2))
    assert first is second


# What Python 2.7 writes for {'sent': 'caf\xc3\xa9', 'raw': u'caf\xe9', 'n': 7L}, protocols 0 and 2.
PYTHON_2 = [
    b"(dp0\nS'sent'\np1\nS'caf\\xc3\\xa9'\np2\nsS'raw'\np3\nVcaf\xe9\np4\nsS'n'\np5\nL7L\ns.",
    b"\x80\x02}q\x00(U\x04sentq\x01U\x05caf\xc3\xa9q\x02U\x03rawq\x03X\x05\x00\x00\x00caf\xc3\xa9q\x04U\x01nq\x05"
    b"\x8a\x01\x07u.",
]


@pytest.mark.parametrize("data", PYTHON_2)
def test_python_2_strings_are_text(read, data):
    assert read(data) == {"sent": "café", "raw": "café", "n": 7}


def test_python_2_string_that_is_no_text_spoils_itself_alone(read):
    assert read(b"\x80\x02]U\x02\xff\xfeaU\x01xa.") == ["\udcff\udcfe", "x"]


class Call:
    """Pickles as a call, as a poisoned file does."""

    def __init__(self, function, *arguments):
        self._call = function, arguments

    def __reduce__(self):
        return self._call


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_code_in_a_pickle_does_not_run(read, tmp_path, protocol):
    target = tmp_path / "made_by_the_pickle"
    poisoned = pickle.dumps([{"ref_id": 1}, Call(os.mkdir, str(target))], protocol)
    with pytest.raises(InputError, match=r"refused: it names 'posix\.mkdir'") as raised:
        read(poisoned)
    assert "\n" not in str(raised.value)
    assert not target.exists()
    pickle.loads(poisoned)
    assert target.exists()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"cos\nsystem\n(S'true'\ntR.", "it names 'os.system'"),
        (b"\x80\x04\x8c\x02o\n\x8c\x06system\x93.", r"it names 'o\\n.system'"),
        (b"(ios\nsystem\n.", "opcode INST"),
        (b"(S'true'\no.", "opcode OBJ"),
        (b"Pos\n.", "opcode PERSID"),
        (b"\x80\x02K\x01Q.", "opcode BINPERSID"),
        (b"\x80\x02\x82\x01.", "opcode EXT1"),
        (b"\x80\x02}}b.", "opcode BUILD"),
        (b"\x80\x02]]R.", "opcode REDUCE"),
        (b"\x80\x02])\x81.", "opcode NEWOBJ"),
        (b"\x80\x04\x8f.", "opcode EMPTY_SET"),
        (b"\x80\x05\x97.", "opcode NEXT_BUFFER"),
        (b"\x80\x05\x96" + struct.pack("<Q", 2**40) + b"x.", "opcode BYTEARRAY8"),
        (b'{"refs": []}', "opcode 0x7b"),
    ],
)
def test_anything_but_plain_data_is_refused(read, data, reason):
    with pytest.raises(InputError, match=f"refused: {reason}") as raised:
        read(data)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("value", [decimal.Decimal(1), datetime.date(2020, 1, 1), {1}, 1j, bytearray(2)])
def test_other_types_are_refused(read, value):
    with pytest.raises(InputError, match="refused"):
        read(pickle.dumps(value))


HUGE = 2**62


@pytest.mark.parametrize(
    "data",
    [
        *(b"", b"\x80\x02", b"not a pickle", b"{}", b'[{"ref_id": 1}]', b"\x80\x02."),
        *(b"\x80\x02]a.", b"\x80\x02]q\x01h\x02.", b"\x80\x02K\x01K\x02a.", b"\x80\x02]K\x01K\x02s."),
        *(b"\x80\x02}(K\x01u.", b"\x80\x02}](K\x01su.", b"\x80\x02}]K\x01s.", b"\x80\x02e."),
        b"\x80\x02X\x02\x00\x00\x00\xff\xfe.",
        b"\x80\x04\x8d" + struct.pack("<Q", HUGE) + b"x.",
        b"\x80\x04\x8e" + struct.pack("<Q", HUGE) + b"x.",
        b"\x80\x04\x95" + struct.pack("<Q", HUGE) + b"]x.",
        b"\x80\x04\x8b" + struct.pack("<i", 2**31 - 1) + b"x.",
        b"T" + struct.pack("<i", -1) + b"x.",
        b"I" + b"9" * 10_000 + b"\n.",
    ],
)
def test_nonsense_is_one_line(read, data):
    with pytest.raises(InputError, match=r"broken pickle|refused") as raised:
        read(data)
    assert "\n" not in str(raised.value)


def test_declared_memo_index_takes_no_memory(read):
    assert read(b"\x80\x02]r\xff\xff\xff\x7f.") == []


@pytest.mark.parametrize("nested", [b"q\x00h\x00\x86" * 60, b"\x85" * 200_000])
def test_tuples_that_cannot_be_hashed_are_no_keys(read, nested):
    with pytest.raises(InputError, match=r"broken pickle \(unhashable type: 'list'"):
        read(b"\x80\x02})" + nested + b"Ns.")


def test_deep_nesting_is_read(read):
    depth = 100_000
    value = read(b"\x80\x02" + b"]" * depth + b"a" * (depth - 1) + b".")
    for _ in range(depth - 1):
        (value,) = value
    assert value == []


def test_every_cut_of_a_pickle_is_one_line(read):
    data = pickle.dumps([{"ref_id": 1, "sentences": [{"sent": "blue shirt", "tokens": ("a", 1.5)}]}], 2)
    for end in range(len(data)):
        with pytest.raises(InputError, match="broken pickle"):
            read(data[:end])


def test_what_follows_the_value_is_not_read(read):
    assert read(b"\x80\x02K\x01.cos\nsystem\n(S'true'\ntR.") == 1


@given(st.binary(max_size=60))
def test_no_bytes_crash(read, data):
    message = ""
    try:
        read(b"\x80\x02" + data)
    except InputError as error:
        message = str(error)
    assert "\n" not in message


def test_missing_file(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        read_plain_pickle(tmp_path / "refs.p")
