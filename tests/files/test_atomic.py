import errno
import os
import signal
import subprocess
import sys

import pytest

from curr_reft.errors import InputError
from curr_reft.files.atomic import replacing

WRITER = """
import sys, time
from pathlib import Path
from curr_reft.files.atomic import replacing
with replacing(Path(sys.argv[1])) as file:
    file.write("half")
    file.flush()
    print("written", flush=True)
    time.sleep(60)
"""


def write_and_raise(path, error):
    with replacing(path) as file:
        file.write("half")
        raise error


def test_a_file_appears_whole_in_folders_that_are_made(tmp_path):
    path = tmp_path / "a" / "b" / "rows.jsonl"
    with replacing(path) as file:
        file.write("naïve\n")
        assert not path.exists()
    assert path.read_bytes() == "naïve\n".encode()
    assert os.listdir(path.parent) == ["rows.jsonl"]


@pytest.mark.parametrize("error", [ValueError("stop"), KeyboardInterrupt(), InputError("stop")])
def test_an_exception_leaves_the_old_file_and_nothing_else(tmp_path, error):
    path = tmp_path / "rows.jsonl"
    path.write_text("old")
    with pytest.raises(type(error)):
        write_and_raise(path, error)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["rows.jsonl"]


def test_a_kill_leaves_the_old_file_and_the_next_writer_minds_no_remains(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("old")
    command = [sys.executable, "-c", WRITER, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout.readline() == "written\n"
        writer.send_signal(signal.SIGKILL)
    assert path.read_text() == "old"
    assert sorted(os.listdir(tmp_path)) == [f".rows.jsonl.{writer.pid}.part", "rows.jsonl"]
    with replacing(path) as file:
        file.write("new")
    assert path.read_text() == "new"


def test_two_writers_do_not_mix(tmp_path):
    path = tmp_path / "rows.jsonl"
    command = [sys.executable, "-c", WRITER.replace("60", "0"), str(path)]
    with replacing(path) as file:
        file.write("long, and longer than the other's\n" * 1000)
        subprocess.run(command, check=True, capture_output=True)
        assert path.read_text() == "half"
    assert path.read_text() == "long, and longer than the other's\n" * 1000


def test_what_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.jsonl").mkdir()
    for path in (tmp_path / "file" / "rows.jsonl", tmp_path / "folder.jsonl", tmp_path / ("n" * 300)):
        with pytest.raises(InputError, match=r"cannot be written \(\w") as raised, replacing(path) as file:
            file.write("text")
        assert str(raised.value).startswith(f"{path}: ")
        assert "\n" not in str(raised.value)
    assert sorted(os.listdir(tmp_path)) == ["file", "folder.jsonl"]


def test_a_full_disk_is_one_line(tmp_path):
    path = tmp_path / "rows.jsonl"
    with pytest.raises(InputError, match=r"rows.jsonl: cannot be written \(No space left on device\)"):
        write_and_raise(path, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    assert os.listdir(tmp_path) == []


def test_another_file_that_is_missing_is_not_blamed_on_this_one(tmp_path):
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "rows.jsonl"):
        (tmp_path / "source.json").read_text()
    assert os.listdir(tmp_path) == []


def test_a_binary_file_is_replaced_too(tmp_path):
    with replacing(tmp_path / "a.bin", binary=True) as file:
        file.write(b"\x00\xff")
    assert (tmp_path / "a.bin").read_bytes() == b"\x00\xff"
