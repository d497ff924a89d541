"""The download against a folder, and against a server on this machine that speaks the hub's protocol."""

import hashlib
import http.server
import io
import json
import os
import re
import subprocess
import sys
import threading
import zipfile
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import yaml

from curr_reft.data.download.__main__ import download, main
from curr_reft.data.download.released_files import EXPECTED
from curr_reft.errors import InputError
from curr_reft.files.journal import sole_writer

COUNTING = "grpo_data/test/superclever/superclevr_test200_counting_problems.jsonl"
DETECTION = "grpo_data/train/open/coco_3k_2task/detection_coco_test.jsonl"
REJECT = "SFT_data/reject/cat_all_formatted.jsonl"
PREFIX = "/mnt/tenant-home_speed/AIM/data"


def row(image, **more) -> dict:
    return {
        "problem": "Where?",
        "image": image,
        "solution": "<answer>é 1</answer>",
        "task": "detection",
    } | more


def lines(*rows: dict) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def released() -> dict[str, bytes]:
    """A small release: every expected row file, images loose and in archives."""
    files = {file.path: lines(row(f"{PREFIX}/coco/train2014/1.jpg")) for file in EXPECTED}
    files["grpo_data/test/Refgta/refgta_subsample_resize.json"] = json.dumps(
        [row(f"{PREFIX}/RefGTA/images/gta_1.png", solution=[1, 2, 3, 4], resize_solution=[0, 1, 1, 2])]
    ).encode()
    files[COUNTING] = lines(
        {"image": f"{PREFIX}/Superclever/images/superCLEVR_new_025000.png", "problem": "?", "solution": 4}
    )
    files[REJECT] = lines(
        {"messages": [{"role": "user", "content": "text only"}]},
        {"messages": [{"role": "user", "content": "<image>"}], "images": [f"{PREFIX}/geo/images/2.png"]},
    )
    files["grpo_data/images.zip"] = make_zip({"images/coco/train2014/1.jpg": b"one"})
    files["SFT_data/images/geo/images/2.png"] = b"two"
    files["README.md"] = b"card"
    return files


def make_zip(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def write(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def read_rows(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def state(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Time of change and content of everything below a folder but the working folder and the record."""
    return {
        path.relative_to(folder).as_posix(): (path.stat().st_mtime_ns, path.read_bytes())
        for path in folder.rglob("*")
        if path.is_file() and ".download" not in path.parts and path.name != "download.json"
    }


@pytest.fixture
def source(tmp_path) -> Path:
    return write(tmp_path / "mirror", released())


@pytest.fixture
def data_root(tmp_path) -> Path:
    return tmp_path / "grpo_sft_data"


@pytest.fixture
def command(source, data_root, monkeypatch):
    """Runs the command in this process and returns its exit code."""

    def run_with(*flags: str) -> int:
        given = ["--source", str(source), "--output_dir", str(data_root), *flags]
        monkeypatch.setattr(sys, "argv", ["download", *given])
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        with pytest.raises(SystemExit) as stopped:
            main()
        return stopped.value.code

    return run_with


def test_every_file_of_the_mixtures_is_expected(root):
    configured = {
        f"grpo_data/{dataset['json_path']}"
        for path in (root / "configs/data").glob("*/*.yaml")
        if path.name != "shapes.yaml"
        for datasets in yaml.safe_load(path.read_text()).values()
        for dataset in datasets
    }
    assert configured <= {file.path for file in EXPECTED}


def test_a_folder_becomes_the_layout(source, data_root, capsys, command):
    assert command() == 0
    assert read_rows(data_root / DETECTION) == [row("images/coco/train2014/1.jpg")]
    assert (data_root / "grpo_data/images/coco/train2014/1.jpg").read_bytes() == b"one"
    assert read_rows(data_root / REJECT)[1]["images"] == ["images/geo/images/2.png"]
    assert (data_root / "SFT_data/images/geo/images/2.png").read_bytes() == b"two"
    counting = read_rows(data_root / COUNTING)
    assert counting[0]["image"] == "images/Superclever/images/superCLEVR_new_025000.png"
    assert list(counting[0]) == ["image", "problem", "solution"]
    report = capsys.readouterr().out
    assert "1 images of SuperCLEVR, which are not on the hub: get https://www.cs.jhu.edu/" in report
    assert "1 images of RefGTA, which are not on the hub: get https://drive.google.com/" in report
    assert re.search(r"detection_coco_test.jsonl +1 +1000 +1 +0\b", report)
    assert f"not taken, being neither rows nor images: {source / 'README.md'};" in report
    record = json.loads((data_root / "download.json").read_text())
    assert record["rows"][DETECTION] == {"rows": 1, "found": 1, "missing": 0}
    assert record["written"][DETECTION] == hashlib.sha256((data_root / DETECTION).read_bytes()).hexdigest()
    assert not (data_root / "README.md").exists()


def test_again_changes_nothing_and_images_that_came_are_found(source, data_root):
    download(str(source), None, data_root, rows_only=False)
    before = state(data_root)
    download(str(source), None, data_root, rows_only=False)
    assert state(data_root) == before
    write(data_root / "grpo_data/images", {"clevr/superCLEVR_new_025000.png": b"3"})
    outcome = download(str(source), None, data_root, rows_only=False)
    assert read_rows(data_root / COUNTING)[0]["image"] == "images/clevr/superCLEVR_new_025000.png"
    assert {name for name, _ in outcome.missing()} == {"RefGTA"}


def test_deleted_images_come_again(source, data_root):
    download(str(source), None, data_root, rows_only=False)
    image = data_root / "grpo_data/images/coco/train2014/1.jpg"
    image.unlink()
    download(str(source), None, data_root, rows_only=False)
    assert image.read_bytes() == b"one"


def test_only_rows_takes_no_images(source, data_root):
    outcome = download(str(source), None, data_root, rows_only=True)
    assert not outcome.absent
    assert len(outcome.missing()["", ""]) == 2
    assert not [name for name in state(data_root) if not name.endswith((".json", ".jsonl"))]


def test_rows_in_archives_and_under_other_folders_are_found(tmp_path, data_root):
    files = released()
    judge = files.pop("grpo_data/train/judge/judge_math_train.jsonl")
    moved = {
        "grpo_data/train/stage1/judge_math_train.jsonl": judge,
        "grpo_data/train/stage1/extra.jsonl": judge,
    }
    trained = {name: files.pop(name) for name in list(files) if "/choice/" in name}
    packed = {name.removeprefix("grpo_data/"): content for name, content in trained.items()}
    source = write(tmp_path / "mirror", files | moved | {"grpo_data.zip": make_zip(packed)})
    for _ in range(2):
        assert not download(str(source), None, data_root, rows_only=False).absent
    for name in [
        *trained,
        "grpo_data/train/judge/judge_math_train.jsonl",
        "grpo_data/train/stage1/extra.jsonl",
    ]:
        assert read_rows(data_root / name) == [row("images/coco/train2014/1.jpg")]


def test_absent_rows_are_named_with_exit_code_1(source, capsys, command):
    (source / DETECTION).unlink()
    assert command() == 1
    assert re.search(r"detection_coco_test.jsonl +absent", capsys.readouterr().out)


@pytest.mark.parametrize(
    ("images", "image", "expected"),
    [
        (["images/coco/1.jpg"], f"{PREFIX}/coco/1.jpg", "images/coco/1.jpg"),
        (["images/1.jpg"], f"{PREFIX}/coco/1.jpg", "images/1.jpg"),
        (["images/a/x/1.jpg", "images/b/x/1.jpg"], "/elsewhere/b/x/1.jpg", "images/b/x/1.jpg"),
        (["images/a/1.jpg", "images/b/1.jpg"], f"{PREFIX}/c/1.jpg", "images/c/1.jpg"),
        (["images/1.jpg"], "D:\\data\\images\\1.jpg", "images/1.jpg"),
        ([], f"{PREFIX}/coco/1.jpg", "images/coco/1.jpg"),
        ([], "/elsewhere/../1.jpg", "images/elsewhere/1.jpg"),
        ([], "images/1.jpg", "images/1.jpg"),
        ([], "https://example.org/1.jpg", "https://example.org/1.jpg"),
        (["images/1.jpg"], ["/x/images/1.jpg"], ["images/1.jpg"]),
        ([], "", ""),
        ([], None, None),
    ],
)
def test_image_paths(tmp_path, data_root, images, image, expected):
    files = {DETECTION: lines(row(image, extra=[1, {"a": None}]))}
    source = write(tmp_path / "mirror", files | {f"grpo_data/{name}": b"x" for name in images})
    for _ in range(2):
        download(str(source), None, data_root, rows_only=False)
        assert read_rows(data_root / DETECTION) == [row(expected, extra=[1, {"a": None}])]


def test_of_namesakes_that_match_as_well_none_is_chosen(tmp_path, data_root):
    files = {DETECTION: lines(row(f"{PREFIX}/c/1.jpg"), row(f"{PREFIX}/c/2.jpg"))}
    images = {f"grpo_data/images/{name}": b"x" for name in ("a/1.jpg", "b/1.jpg", "a/2.jpg")}
    download(str(write(tmp_path / "mirror", files | images)), None, data_root, rows_only=False)
    rows = json.loads((data_root / "download.json").read_text())["rows"][DETECTION]
    assert rows == {"rows": 2, "found": 1, "missing": 1}


@pytest.mark.parametrize(
    ("name", "content", "rows"),
    [
        ("a.jsonl", b'\xef\xbb\xbf{"image": "1.jpg"}\r\n\n{"b": "\xe2\x80\xa8"}', 2),
        ("refgta_subsample_resize.json", b'[{"image": "1.jpg"}]', 1),
        ("a.jsonl", b"", 0),
    ],
)
def test_forms_of_row_files(tmp_path, data_root, name, content, rows):
    source = write(tmp_path / "mirror", {f"grpo_data/test/Refgta/{name}": content})
    outcome = download(str(source), None, data_root, rows_only=True)
    assert [found.rows for found in outcome.rows.values()] == [rows]
    written = (data_root / "grpo_data/test/Refgta" / name).read_text(encoding="utf-8")
    found = (
        json.loads(written) if name.endswith(".json") else [json.loads(x) for x in written.split("\n")[:-1]]
    )
    assert len(found) == rows


def test_a_json_file_of_another_name_is_no_row_file(tmp_path, data_root):
    source = write(tmp_path / "mirror", {"grpo_data/info.json": b'{"images": {}}'})
    outcome = download(str(source), None, data_root, rows_only=False)
    assert (outcome.rows, outcome.broken) == ({}, {})
    assert outcome.not_taken == [source / "grpo_data/info.json"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"image": "1.jpg"}\n{"image": \n', ":2: broken JSON: "),
        (b"[" * 100_000, ":1: broken JSON: "),
        (b"3\n", ":1: expected an object, found a number"),
        (b"\x89PNG", ": not UTF-8 text"),
        ('{"b": "é", "c": "\\ud800"}\n'.encode(), ":1: unpaired surrogate"),
        (b'{}\n{"image": "\\ud800.jpg"}\n', ":2: unpaired surrogate"),
        (b'{"image": "\\ud800/1.jpg"}\n', ":1: unpaired surrogate"),
    ],
)
def test_broken_rows_are_named_and_overwrite_nothing(source, data_root, capsys, command, content, message):
    download(str(source), None, data_root, rows_only=True)
    before = (data_root / DETECTION).read_bytes()
    (source / DETECTION).write_bytes(content)
    assert command("--only", "rows") == 2
    captured = capsys.readouterr()
    assert f"error: {source / DETECTION}{message}" in captured.err
    assert re.search(r"detection_coco_test.jsonl +broken", captured.out)
    assert (data_root / DETECTION).read_bytes() == before
    assert read_rows(data_root / REJECT)
    write(source, released())
    assert not download(str(source), None, data_root, rows_only=False).broken


@pytest.mark.parametrize("recorded", [True, False])
def test_a_row_file_that_was_edited_stays(source, data_root, capsys, command, recorded):
    edited = data_root / DETECTION
    if recorded:
        download(str(source), None, data_root, rows_only=False)
    write(data_root, {DETECTION: b"{}\n"})
    for _ in range(2):
        assert command() == 2
        captured = capsys.readouterr()
        assert f"error: {edited}: kept: edited, or not from this command; --overwrite" in captured.err
        assert re.search(r"detection_coco_test.jsonl +kept", captured.out)
        assert edited.read_bytes() == b"{}\n"
    assert command("--overwrite") == 0
    assert read_rows(edited) == [row("images/coco/train2014/1.jpg")]


def test_without_a_record_only_files_that_would_change_stay(source, data_root):
    download(str(source), None, data_root, rows_only=False)
    (data_root / "download.json").write_text("[")
    assert not download(str(source), None, data_root, rows_only=False).broken
    (source / DETECTION).write_bytes(lines(row("2.jpg")))
    assert not download(str(source), None, data_root, rows_only=False).broken
    assert read_rows(data_root / DETECTION) == [row("images/2.jpg")]


def test_optional_row_files_are_listed_only_when_there(source, capsys, command):
    optional = [file.path for file in EXPECTED if file.optional]
    for name in optional[1:]:
        (source / name).unlink()
    (source / "grpo_data/test/broken.jsonl").write_bytes(b"{")
    command()
    report = capsys.readouterr().out
    assert "judge_math_test.jsonl" in report
    assert re.search(r"broken.jsonl +broken", report)
    assert "absent" not in report


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--revision", "v1"], "--revision: "),
        (["--output_dir", "{source}/out"], "--output_dir .*: is in the folder"),
        (["--source", "no/such/folder"], "no such folder, and no name of a dataset"),
        (["--output_dir", "{source}/../file"], "cannot be made"),
    ],
)
def test_bad_flags_are_one_line(source, capsys, command, flags, message):
    (source.parent / "file").touch()
    assert command(*(flag.format(source=source) for flag in flags)) == 2
    assert re.search(f"error: .*{message}", capsys.readouterr().err)


def test_two_commands_do_not_share_a_data_root(source, data_root):
    with sole_writer(data_root / ".download"), pytest.raises(InputError, match="another command is writing"):
        download(str(source), None, data_root, rows_only=True)


NAME, COMMIT, TOKEN = "ZTE-AIM/Curr-ReFT-data", "c0ffee" + "0" * 34, "hf_secret0123456789"
LARGE = "grpo_data/images.zip"
API = f"/api/datasets/{NAME}"


class Hub(http.server.ThreadingHTTPServer):
    """The four endpoints of the hub that a snapshot needs, for one dataset of a few files."""

    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), HubHandler)
        self.files = files
        self.listed = dict(files)
        """What the listing gives digests of."""
        self.answers: dict[str, tuple[int, str]] = {}
        """Status and `X-Error-Code` that a path is answered with, for ever."""
        self.sent: list[str] = []
        """Files that were transferred."""


class HubHandler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        hub: Hub = self.server
        name = path.removeprefix(f"/datasets/{NAME}/resolve/{COMMIT}/")
        for start, (status, code) in hub.answers.items():
            if path.startswith(start) or name == start:
                return self._answer(b"{}", status, {"X-Error-Code": code})
        if path in (API, f"{API}/revision/{COMMIT}"):
            return self._json({"id": NAME, "sha": COMMIT, "siblings": []})
        if path == f"{API}/tree/{COMMIT}":
            return self._json([entry(name, content) for name, content in hub.listed.items()])
        if name in hub.files:
            return self._file(name, hub.files[name])
        return self._answer(b"{}", 404, {"X-Error-Code": "RevisionNotFound"})

    def do_HEAD(self) -> None:
        self.do_GET()

    def _file(self, name: str, content: bytes) -> None:
        hub: Hub = self.server
        if self.command == "GET":
            hub.sent.append(name)
        etag = entry(name, hub.listed[name])["etag"]
        self._answer(content, 200, {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT})

    def _json(self, value: object) -> None:
        self._answer(json.dumps(value).encode(), 200, {"Content-Type": "application/json"})

    def _answer(self, body: bytes, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


def entry(name: str, content: bytes) -> dict:
    blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    listed = {"type": "file", "path": name, "size": len(content), "oid": blob, "etag": blob}
    if name.endswith((".zip", ".png")):
        sha256 = hashlib.sha256(content).hexdigest()
        listed |= {"lfs": {"oid": sha256, "size": len(content), "pointerSize": 130}, "etag": sha256}
    return listed


@pytest.fixture
def hub():
    server = Hub(released())
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def run(hub, tmp_path, data_root):
    """Runs the command as a user does, with this hub."""

    def command(*flags: str, **environment: str) -> subprocess.CompletedProcess:
        kept = {key: os.environ[key] for key in ("PATH", "PYTHONPATH", "LANG") if key in os.environ}
        address = f"http://127.0.0.1:{hub.server_address[1]}"
        return subprocess.run(
            [sys.executable, "-m", "curr_reft.data.download", "--output_dir", str(data_root), *flags],
            env=kept | {"HF_ENDPOINT": address, "HF_HOME": str(tmp_path / "home")} | environment,
            capture_output=True,
            text=True,
            timeout=60,
        )

    return command


def assert_one_line_error(result: subprocess.CompletedProcess, message: str) -> None:
    assert result.returncode == 2, result.stderr
    assert "Traceback" not in result.stderr
    assert re.search(f"error: .*{message}", result.stderr.strip().splitlines()[-1])
    assert TOKEN not in result.stdout + result.stderr


def test_the_hub_is_fetched_once(run, hub, data_root):
    result = run()
    assert result.returncode == 0, result.stderr
    assert read_rows(data_root / DETECTION) == [row("images/coco/train2014/1.jpg")]
    assert json.loads((data_root / "download.json").read_text())["commit"] == COMMIT
    assert sorted(hub.sent) == sorted(hub.files)
    hub.sent.clear()
    before = state(data_root)
    assert run("--revision", COMMIT).returncode == 0
    assert not hub.sent
    assert state(data_root) == before


def test_only_rows_fetches_rows_only(run, hub):
    result = run("--only", "rows")
    assert result.returncode == 0, result.stderr
    assert {Path(name).suffix for name in hub.sent} == {".json", ".jsonl"}
    assert "2 other images (left out by --only rows)" in result.stdout


def test_the_same_command_goes_on(run, hub, data_root):
    hub.answers = {LARGE: (403, "")}
    result = run()
    assert_one_line_error(result, r"could not be fetched whole \(HTTP 403\); .*run the same command again")
    assert not (data_root / "download.json").exists()
    finished = {name for name in hub.files if (data_root / ".download/hub" / name).is_file()}
    hub.answers = {}
    hub.sent.clear()
    assert run().returncode == 0
    assert finished
    assert set(hub.sent) == hub.files.keys() - finished


@pytest.mark.parametrize("name", [LARGE, COUNTING])
def test_a_digest_that_differs_is_fatal(run, hub, data_root, name):
    hub.files[name] = bytes(reversed(hub.files[name]))
    assert_one_line_error(run(), rf"{name}: not as released, by the digest \(1 files\); delete them and run")
    assert not (data_root / "grpo_data").exists()


@pytest.mark.parametrize(
    ("answers", "flags", "message"),
    [
        ({API: (401, "RepoNotFound")}, [], "not found; check --source and HF_ENDPOINT, and set HF_TOKEN"),
        ({API: (403, "GatedRepo")}, [], "gated; accept its terms there, and set HF_TOKEN"),
        ({}, ["--revision", "v9"], "has no such branch, tag or commit; check --revision"),
        ({f"{API}/tree": (403, "")}, [], r"could not be fetched whole \(HTTP 403\)"),
    ],
)
def test_answers_of_the_hub_are_one_line(run, hub, answers, flags, message):
    hub.answers = answers
    assert_one_line_error(run(*flags, HF_TOKEN=TOKEN), message)


def test_no_hub_is_one_line(run):
    assert_one_line_error(run(HF_ENDPOINT="http://127.0.0.1:9"), "could not be fetched whole")
    assert_one_line_error(run(HF_HUB_OFFLINE="1"), "HF_HUB_OFFLINE is set; unset it, or give a folder")
