"""Pickles of plain data, read without running anything they say.

The refer data sets come as pickles, and `pickle.load` runs whatever code a pickle names. This reader is a
stack machine of its own over the opcodes that build dicts, lists, tuples, texts, bytes, numbers and None, all
protocols. It cannot import or call anything, and believes no size that a file declares.
"""

import logging
import pickletools
from pathlib import Path
from typing import Any

from curr_reft.errors import InputError

logger = logging.getLogger(__name__)

_MAX_INTEGER_BITS = 64

_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_INTEGERS = {"INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4"}
_VALUES = {
    *("FLOAT", "BINFLOAT", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
    *("SHORT_BINBYTES", "BINBYTES", "BINBYTES8"),
}
_PYTHON_2_STRINGS = {"STRING", "BINSTRING", "SHORT_BINSTRING"}
_EMPTY = {"EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_TUPLE": tuple}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_PUTS, _GETS = {"PUT", "BINPUT", "LONG_BINPUT"}, {"GET", "BINGET", "LONG_BINGET"}
_IGNORED = {"PROTO", "FRAME"}


class _PickleError(ValueError):
    """The pickle is more than plain data."""


def read_plain_pickle(path: Path) -> Any:
    """The one value of a pickle file. A Python 2 string becomes text if it is UTF-8, else it stays bytes.

    Raises:
        InputError: when the file cannot be read, is cut off or no pickle, or holds anything but plain data.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    logger.info("%s: reading, some 10 seconds for each 30 MB", path)
    try:
        return _Machine().run(data)
    except _PickleError as error:
        raise InputError(f"{path}: refused: {error}") from error
    # What a damaged file makes genops and the machine raise.
    except (ValueError, LookupError, TypeError) as error:
        raise InputError(f"{path}: broken pickle ({_one_line(error)})") from error


class _Machine:
    def __init__(self) -> None:
        self._stack: list[Any] = []
        self._below_marks: list[list[Any]] = []
        self._memo: dict[int, Any] = {}

    def run(self, data: bytes) -> Any:
        for opcode, argument, position in pickletools.genops(data):
            if opcode.name == "STOP":
                break
            self._step(opcode.name, argument, position)
        return self._stack.pop()

    def _step(self, name: str, argument: Any, position: int) -> None:
        stack = self._stack
        if name in _VALUES:
            stack.append(argument)
        elif name in _PUTS:
            self._memo[argument] = stack[-1]
        elif name == "MEMOIZE":
            self._memo[len(self._memo)] = stack[-1]
        elif name in _GETS:
            stack.append(self._memo[argument])
        elif name in _INTEGERS:
            # A larger one is no id or pixel, and Python refuses to write it out in a message.
            if argument.bit_length() > _MAX_INTEGER_BITS:
                raise _PickleError(f"an integer of {argument.bit_length()} bits at byte {position}")
            stack.append(argument)
        elif name in _PYTHON_2_STRINGS:
            stack.append(_python_2_text(argument))
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in _EMPTY:
            stack.append(_EMPTY[name]())
        elif name == "MARK":
            self._below_marks.append(stack)
            self._stack = []
        elif name in ("LIST", "TUPLE", "DICT", "APPENDS", "SETITEMS"):
            self._step_on_marked(name)
        elif name == "APPEND":
            value = stack.pop()
            _appended(stack[-1], [value])
        elif name == "SETITEM":
            pair = [stack.pop(), stack.pop()][::-1]
            _updated(stack[-1], pair)
        elif name in _TUPLES:
            count = _TUPLES[name]
            if len(stack) < count:
                raise IndexError("stack underflow")
            stack[-count:] = [tuple(stack[-count:])]
        elif name not in _IGNORED:
            shown = "" if argument is None else f" {str(argument)[:60]!r}"
            raise _PickleError(f"opcode {name}{shown} at byte {position} is no plain data, it could run code")

    def _step_on_marked(self, name: str) -> None:
        items, self._stack = self._stack, self._below_marks.pop()
        if name == "APPENDS":
            _appended(self._stack[-1], items)
        elif name == "SETITEMS":
            _updated(self._stack[-1], items)
        elif name == "DICT":
            self._stack.append(_updated({}, items))
        else:
            self._stack.append(items if name == "LIST" else tuple(items))


def _appended(target: Any, items: list[Any]) -> None:
    if type(target) is not list:
        raise TypeError("items for what is no list")
    target.extend(items)


def _updated(target: Any, items: list[Any]) -> dict[Any, Any]:
    if type(target) is not dict:
        raise TypeError("items for what is no dict")
    for key, value in zip(items[::2], items[1::2], strict=True):
        # A tuple of tuples of one shared tuple takes ages to hash.
        if type(key) not in (str, int, float, bytes, bool, type(None)):
            raise TypeError("a key that is no text, number or None")
        target[key] = value
    return target


def _python_2_text(argument: str) -> str | bytes:
    # genops hands the bytes over as Latin-1 text.
    data = argument.encode("latin-1")
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:120]
