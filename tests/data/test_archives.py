import bz2
import io
import tarfile
import zipfile
from pathlib import Path, PurePosixPath

import pytest

from curr_reft.data.download.archives import Archive, find_archives, unpack
from curr_reft.errors import InputError

IMAGES = {"images/a.png": b"A" * 700, "images/deep/b.png": bytes(range(256)) * 3}
TAR_MODES = {"tar": "w", "tar.gz": "w:gz", "tar.bz2": "w:bz2", "tar.xz": "w:xz"}


def make_zip(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def make_tar(members: dict[str, bytes], mode: str = "w", **header) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            for key, value in header.items():
                setattr(info, key, value)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def make(suffix: str, members: dict[str, bytes]) -> bytes:
    return make_zip(members) if suffix == "zip" else make_tar(members, TAR_MODES[suffix])


def unpack_bytes(folder: Path, name: str, content: bytes) -> Path:
    (folder / name).write_bytes(content)
    unpack(Archive(PurePosixPath(name), (PurePosixPath(name),)), folder, folder / "out/target")
    return folder / "out/target"


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def assert_refused(folder: Path, name: str, content: bytes, reason: str) -> None:
    with pytest.raises(InputError) as raised:
        unpack_bytes(folder, name, content)
    message = str(raised.value)
    assert message.startswith(f"{folder / name}: ")
    assert reason in message
    assert "\n" not in message
    assert list(files(folder)) == [name]
    assert not (folder / "out/target").exists()


@pytest.mark.parametrize("suffix", ["zip", *TAR_MODES])
def test_unpacks_without_the_junk_of_a_mac(tmp_path, suffix):
    junk = {"__MACOSX/images/._a.png": b"x", "images/.DS_Store": b"x", "images/._a.png": b"x"}
    target = unpack_bytes(tmp_path, f"images.{suffix}", make(suffix, {**IMAGES, **junk}))
    assert files(target) == IMAGES


LEAVING = [
    "../evil.png",
    "images/../../evil.png",
    "/tmp/evil.png",
    "..\\evil.png",
    "C:\\evil.png",
    "\\evil.png",
]


@pytest.mark.parametrize("name", LEAVING)
@pytest.mark.parametrize("suffix", ["zip", "tar", "tar.gz"])
def test_a_path_that_leaves_the_target_refuses_the_archive(tmp_path, suffix, name):
    content = make(suffix, {**IMAGES, name: b"evil"})
    assert_refused(tmp_path, f"images.{suffix}", content, "would leave the folder")


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_tar_links_and_devices_refuse_the_archive(tmp_path, kind):
    content = make_tar({"images/link": b""}, type=kind, linkname="../../..")
    assert_refused(tmp_path, "images.tar", content, "'images/link' is a link or a device")


def test_a_link_in_a_zip_refuses_the_archive(tmp_path):
    info = zipfile.ZipInfo("images/link")
    info.create_system = 3
    info.external_attr = 0o120777 << 16
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("images/a.png", b"A")
        archive.writestr(info, "/etc")
    assert_refused(tmp_path, "images.zip", buffer.getvalue(), "'images/link' is a link or a device")


def test_an_encrypted_zip_is_refused(tmp_path):
    content = bytearray(make_zip({"images/a.png": b"A" * 100}))
    content[6] |= 1
    content[content.index(b"PK\x01\x02") + 8] |= 1
    assert_refused(tmp_path, "images.zip", bytes(content), "'images/a.png' is encrypted")


def test_an_unknown_compression_is_refused(tmp_path):
    content = bytearray(make_zip({"images/a.png": b"A" * 100}))
    content[content.index(b"PK\x01\x02") + 10] = content[8] = 9  # deflate64
    assert_refused(tmp_path, "images.zip", bytes(content), "unpack it with another program")


@pytest.mark.parametrize("suffix", ["zip", "tar.gz", "tar.bz2", "tar.xz"])
def test_a_bomb_is_refused(tmp_path, suffix):
    content = make(suffix, {"images/zeros.png": bytes(30 * 2**20)})
    assert_refused(tmp_path, f"bomb.{suffix}", content, "like a bomb")


def test_more_than_the_disk_holds_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 1000})())
    assert_refused(tmp_path, "images.zip", make_zip(IMAGES), "it needs 1,468 bytes and the disk has 1,000")


@pytest.mark.parametrize("suffix", ["zip", *TAR_MODES])
@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.9])
def test_a_truncated_archive_leaves_nothing(tmp_path, suffix, share):
    content = make(suffix, {**IMAGES, "images/noise.png": bz2.compress(bytes(range(256)) * 99)})
    end = content.rindex(b"BZh") + 100 if suffix == "tar" else len(content)
    assert_refused(tmp_path, f"a.{suffix}", content[: int(end * share)], "truncated or corrupt")


def test_a_tar_cut_between_two_members_is_truncated(tmp_path):
    assert_refused(tmp_path, "a.tar", make_tar(IMAGES)[: 512 + 1024], "the end of the archive is missing")


@pytest.mark.parametrize("suffix", ["zip", "tar.gz", "tar.xz"])
def test_a_changed_byte_in_an_image_is_found(tmp_path, suffix):
    content = bytearray(make(suffix, {"images/a.png": bz2.compress(bytes(range(256)) * 99)}))
    content[len(content) // 3] ^= 0x10
    assert_refused(tmp_path, f"a.{suffix}", bytes(content), "truncated or corrupt")


def test_a_file_in_the_way_of_a_folder_is_reported(tmp_path):
    assert_refused(tmp_path, "a.zip", make_zip({"images": b"A", "images/a.png": b"A"}), "cannot be unpacked")


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("again", ["images/a.png", "images//a.png", "images\\a.png"])
def test_two_members_of_one_path_refuse_the_archive(tmp_path, again):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("images/a.png", b"A")
        archive.writestr(again, b"B")
    assert_refused(tmp_path, "images.zip", buffer.getvalue(), "has the path of an earlier member")


def test_finds_archives_pieces_and_what_it_cannot_unpack():
    names = [
        "README.md",
        "a/rows.jsonl",
        "a/images.tar.gz",
        "b/images.zip.part-ab",
        "b/images.zip.part-aa",
        "c/images.tar.2",
        "c/images.tar.10",
        "c/images.tar.1",
        "d/images.zip",
        "d/images.z01",
        "e/images.7z",
    ]
    archives, unsupported = find_archives(map(PurePosixPath, names))
    assert {str(archive.path): [piece.name for piece in archive.pieces] for archive in archives} == {
        "a/images.tar.gz": ["images.tar.gz"],
        "b/images.zip": ["images.zip.part-aa", "images.zip.part-ab"],
        "c/images.tar": ["images.tar.1", "images.tar.2", "images.tar.10"],
    }
    assert sorted(map(str, unsupported)) == ["d/images.z01", "d/images.zip", "e/images.7z"]


@pytest.mark.parametrize("suffix", ["zip", "tar.gz"])
def test_pieces_are_joined(tmp_path, suffix):
    content = make(suffix, IMAGES)
    names = [PurePosixPath(f"images.{suffix}.part-{letters}") for letters in ("aa", "ab", "ac")]
    for index, name in enumerate(names):
        (tmp_path / name).write_bytes(content[index * 150 : (index + 1) * 150 if index < 2 else None])
    archives, _ = find_archives(names)
    unpack(archives[0], tmp_path, tmp_path / "target")
    assert files(tmp_path / "target") == IMAGES


def test_a_lost_piece_is_named(tmp_path):
    content = make_zip(IMAGES)
    (tmp_path / "images.zip.001").write_bytes(content[:100])
    (tmp_path / "images.zip.002").write_bytes(content[100:200])
    archives, _ = find_archives(map(PurePosixPath, ["images.zip.001", "images.zip.002"]))
    with pytest.raises(InputError, match=r"images.zip.001 and 1 more pieces: truncated or corrupt"):
        unpack(archives[0], tmp_path, tmp_path / "target")


@pytest.mark.parametrize(
    ("archive", "member", "place"),
    [
        ("grpo_data/images.zip", "images/a.png", "grpo_data/images/a.png"),
        ("grpo_data/images.tar.gz", "a.png", "grpo_data/images/a.png"),
        ("grpo_data.zip", "train/judge/a.jsonl", "grpo_data/train/judge/a.jsonl"),
    ],
)
def test_members_go_into_a_folder_of_the_archives_name(archive, member, place):
    path = PurePosixPath(archive)
    assert Archive(path, (path,)).place(PurePosixPath(member)) == PurePosixPath(place)
