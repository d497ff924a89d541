"""Pickles of plain data, read without running anything they say.

The refer data sets come as pickles of Python 2, and `pickle.load` runs whatever code a pickle names. The
published ones (https://github.com/lichengunc/refer) hold lists, dicts, texts and numbers alone.
"""

import io
import pickle
import pickletools
import struct
from pathlib import Path
from typing import Any, ClassVar, NoReturn

from curr_reft.errors import InputError

_PLAIN = {
    *(pickle.PROTO, pickle.FRAME, pickle.MARK, pickle.STOP, pickle.NONE, pickle.NEWTRUE, pickle.NEWFALSE),
    *(pickle.INT, pickle.BININT, pickle.BININT1, pickle.BININT2),
    *(pickle.LONG, pickle.LONG1, pickle.LONG4, pickle.FLOAT, pickle.BINFLOAT),
    *(pickle.STRING, pickle.BINSTRING, pickle.SHORT_BINSTRING),
    *(pickle.UNICODE, pickle.SHORT_BINUNICODE, pickle.BINUNICODE, pickle.BINUNICODE8),
    *(pickle.SHORT_BINBYTES, pickle.BINBYTES, pickle.BINBYTES8),
    *(pickle.EMPTY_LIST, pickle.LIST, pickle.APPEND, pickle.APPENDS),
    *(pickle.EMPTY_DICT, pickle.DICT, pickle.SETITEM, pickle.SETITEMS),
    *(pickle.PUT, pickle.BINPUT, pickle.LONG_BINPUT, pickle.MEMOIZE),
    *(pickle.GET, pickle.BINGET, pickle.LONG_BINGET),
    *(pickle.GLOBAL, pickle.STACK_GLOBAL),  # they end in `find_class`
}


class _RefusedError(Exception):
    """The pickle is more than plain data."""


# The unpickler in Python: the one in C takes gigabytes for a memo index that five bytes declare.
class _PlainUnpickler(pickle._Unpickler):
    # A tuple becomes a list: as a key, tuples of tuples overflow the stack or take ages to hash.
    dispatch: ClassVar = {
        **{code[0]: pickle._Unpickler.dispatch[code[0]] for code in _PLAIN},
        pickle.EMPTY_TUPLE[0]: pickle._Unpickler.load_empty_list,
        pickle.TUPLE[0]: pickle._Unpickler.load_list,
        pickle.TUPLE1[0]: lambda self: self._list_last(1),
        pickle.TUPLE2[0]: lambda self: self._list_last(2),
        pickle.TUPLE3[0]: lambda self: self._list_last(3),
    }

    def _list_last(self, count: int) -> None:
        self.stack[-count:] = [self.stack[-count:]]

    def find_class(self, module: str, name: str) -> NoReturn:
        raise _RefusedError(f"it names {f'{module}.{name}'[:80]!r}, which could be code that runs")


def read_plain_pickle(path: Path) -> Any:
    """The one value of a pickle file, its tuples as lists.

    A Python 2 string is read as UTF-8; bytes that are none come as half characters (`surrogateescape`).

    Raises:
        InputError: when the file cannot be read, is cut off or no pickle, or holds anything but plain data.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    try:
        return _PlainUnpickler(io.BytesIO(data), encoding="utf-8", errors="surrogateescape").load()
    except _RefusedError as error:
        raise InputError(f"{path}: refused: {error}") from error
    except KeyError as error:
        opcode = pickletools.code2op.get(chr(error.args[0]))
        name = opcode.name if opcode else f"{error.args[0]:#04x}"
        raise InputError(f"{path}: refused: opcode {name} is no plain data") from error
    # What a damaged file makes an unpickler raise.
    except (
        *(pickle.UnpicklingError, struct.error, EOFError),
        *(ValueError, IndexError, TypeError, AttributeError),
    ) as error:
        raise InputError(f"{path}: broken pickle ({error})") from error
