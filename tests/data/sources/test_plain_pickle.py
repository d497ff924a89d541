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

KEYS = st.one_of(st.text(), st.integers(-(2**63), 2**63), st.binary(), st.none(), st.booleans())
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


@given(PLAIN, st.integers(0, pickle.HIGHEST_PROTOCOL))
def test_plain_data_comes_back(read, value, protocol):
    data = pickle.dumps(value, protocol)
    if any(opcode.name == "GLOBAL" for opcode, _, _ in pickletools.genops(data)):
        # Before protocol 3, bytes are pickled as a call of codecs.encode.
        with pytest.raises(InputError, match="refused: opcode GLOBAL"):
            read(data)
    else:
        assert read(data) == value
        assert repr(read(data)) == repr(value)


def test_shared_parts_stay_shared(read):
    tokens = ["blue", "shirt"]
    first, second = read(pickle.dumps([tokens, tokens], 2))
    assert first is second


# What Python 2.7 writes for {'sent': 'caf\xc3\xa9', 'raw': u'caf\xe9', 'n': 7L}, protocols 0 and 2.
PYTHON_2 = [
    b"(dp0\nS'sent'\np1\nS'cafe'\np2\nsS'raw'\np3\nVcaf\xe9\np4\nsS'n'\np5\nL7L\ns.",
    b"\x80\x02}q\x00(U\x04sentq\x01U\x05caf\xc3\xa9q\x02U\x03rawq\x03X\x05\x00\x00\x00caf\xc3\xa9q\x04U\x01nq\x05"
    b"\x8a\x01\x07u.",
]


@pytest.mark.parametrize(("data", "sent"), list(zip(PYTHON_2, ["cafe", "café"], strict=True)))
def test_python_2_strings_are_text(read, data, sent):
    assert read(data) == {"sent": sent, "raw": "café", "n": 7}


def test_python_2_string_that_is_no_text_stays_bytes(read):
    assert read(b"\x80\x02U\x02\xff\xfe.") == b"\xff\xfe"


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
    with pytest.raises(InputError, match=r"refused: opcode (STACK_)?GLOBAL") as raised:
        read(poisoned)
    assert "\n" not in str(raised.value)
    assert not target.exists()
    pickle.loads(poisoned)
    assert target.exists()


@pytest.mark.parametrize(
    ("data", "opcode"),
    [
        (b"cos\nsystem\n(S'true'\ntR.", "GLOBAL 'os system'"),
        (b"(ios\nsystem\n.", "INST"),
        (b"(S'true'\nos\nsystem\n.", "OBJ"),
        (b"Pos\n.", "PERSID"),
        (b"\x80\x02K\x01Q.", "BINPERSID"),
        (b"\x80\x02\x82\x01.", "EXT1"),
        (b"\x80\x02}}b.", "BUILD"),
        (b"\x80\x02]]R.", "REDUCE"),
        (b"\x80\x02])\x81.", "NEWOBJ"),
        (b"\x80\x04\x8f.", "EMPTY_SET"),
        (b"\x80\x05\x97.", "NEXT_BUFFER"),
        (b"\x80\x02\x8a\x09" + bytes(8) + b"\x01.", "an integer of 65 bits"),
    ],
)
def test_anything_but_plain_data_is_refused(read, data, opcode):
    with pytest.raises(InputError, match=f"refused: (opcode )?{opcode}"):
        read(data)


@pytest.mark.parametrize("value", [decimal.Decimal(1), datetime.date(2020, 1, 1), {1}, 1j, bytearray(2)])
def test_other_types_are_refused(read, value):
    with pytest.raises(InputError, match="is no plain data"):
        read(pickle.dumps(value))


HUGE = 2**62


@pytest.mark.parametrize(
    "data",
    [
        *(b"", b"\x80\x02", b"not a pickle", b"{}", b'[{"ref_id": 1}]', b"\x80\x02."),
        b"\x80\x02]a.",
        b"\x80\x02]q\x01h\x02.",
        b"\x80\x02K\x01K\x02a.",
        b"\x80\x02]K\x01K\x02s.",
        b"\x80\x02}(K\x01u.",
        b"\x80\x02}](K\x01su.",
        b"\x80\x02}]K\x01s.",
        b"\x80\x02e.",
        b"\x80\x02K\x01\x86.",
        b"\x80\x02X\x02\x00\x00\x00\xff\xfe.",
        b"\x80\x04\x8d" + struct.pack("<Q", HUGE) + b"x.",
        b"\x80\x04\x8e" + struct.pack("<Q", HUGE) + b"x.",
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


def test_key_that_takes_for_ever_to_hash_is_refused(read):
    pair_of_the_same = b"q\x00h\x00\x86"
    with pytest.raises(InputError, match="a key that is no text, number or None"):
        read(b"\x80\x02})" + pair_of_the_same * 60 + b"Ns.")


def test_every_cut_of_a_pickle_is_one_line(read):
    data = pickle.dumps([{"ref_id": 1, "sentences": [{"sent": "blue shirt", "tokens": ("a", 1.5)}]}], 2)
    for end in range(len(data)):
        with pytest.raises(InputError, match="broken pickle"):
            read(data[:end])


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
