"""Archives among the released files: what they hold is put into place, and nothing else happens."""

import bz2
import io
import tarfile
import zipfile
from contextlib import suppress
from pathlib import Path

import pytest

from curr_reft.data.download.layout import lay_out
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


def lay_out_archive(folder: Path, name: str, content: bytes):
    """Lays out a release of one archive; all that is written is below `folder`."""
    archive = folder / "release" / name
    archive.parent.mkdir(parents=True)
    archive.write_bytes(content)
    return lay_out(folder / "release", folder / "root", folder / "work/unpacked", rows_only=False)


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def assert_refused(folder: Path, name: str, content: bytes, reason: str) -> None:
    with pytest.raises(InputError) as raised:
        lay_out_archive(folder, name, content)
    message = str(raised.value)
    assert message.startswith(f"{folder / 'release' / name}: cannot be unpacked (")
    assert reason in message
    assert "\n" not in message
    assert list(files(folder)) == [f"release/{name}"]


@pytest.mark.parametrize("suffix", ["zip", *TAR_MODES])
def test_images_are_put_into_place_without_the_junk_of_a_mac(tmp_path, suffix):
    junk = {"__MACOSX/images/._a.png": b"x", "images/.DS_Store": b"x", "images/._a.png": b"x"}
    lay_out_archive(tmp_path, f"grpo_data/images.{suffix}", make(suffix, {**IMAGES, **junk}))
    assert files(tmp_path / "root/grpo_data") == IMAGES


@pytest.mark.parametrize(
    ("archive", "member", "place"),
    [
        ("grpo_data/images.zip", "images/a.png", "grpo_data/images/a.png"),
        ("grpo_data/images.tar.gz", "a.png", "grpo_data/images/a.png"),
        ("grpo_data.zip", "images/a.png", "grpo_data/images/a.png"),
        ("coco.zip", "train2014/a.png", "grpo_data/images/coco/train2014/a.png"),
    ],
)
def test_members_go_into_a_folder_of_the_archives_name(tmp_path, archive, member, place):
    content = make("zip" if archive.endswith("zip") else "tar.gz", {member: b"A"})
    lay_out_archive(tmp_path, archive, content)
    assert files(tmp_path / "root") == {place: b"A"}


LEAVING = ["../evil.png", "images/../../evil.png", "/evil.png", "..\\evil.png", "C:\\evil.png"]


@pytest.mark.parametrize("name", LEAVING)
@pytest.mark.parametrize("suffix", ["zip", "tar", "tar.gz"])
def test_no_path_leaves_the_folders(tmp_path, suffix, name):
    # zipfile takes such steps out, tarfile refuses the archive; either will do.
    with suppress(InputError):
        lay_out_archive(tmp_path / "box", f"images.{suffix}", make(suffix, {**IMAGES, name: b"evil"}))
    inside = ("box/release/", "box/root/grpo_data/images/", "box/work/unpacked/")
    assert all(path.startswith(inside) for path in files(tmp_path))
    assert not Path("/evil.png").exists()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
@pytest.mark.parametrize("target", ["../../..", "a.png"])
def test_tar_links_and_devices_refuse_the_archive(tmp_path, kind, target):
    content = make_tar({"images/link": b""}, type=kind, linkname=target)
    assert_refused(tmp_path, "images.tar", content, "'images/link' is a special file")


def test_a_link_in_a_zip_makes_no_link(tmp_path):
    info = zipfile.ZipInfo("images/link.png")
    info.create_system = 3
    info.external_attr = 0o120777 << 16
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(info, "/etc/passwd")
    lay_out_archive(tmp_path, "images.zip", buffer.getvalue())
    assert files(tmp_path / "root") == {"grpo_data/images/link.png": b"/etc/passwd"}
    assert not any(path.is_symlink() for path in tmp_path.rglob("*"))


def test_an_encrypted_zip_is_refused(tmp_path):
    content = bytearray(make_zip({"images/a.png": b"A" * 100}))
    content[6] |= 1
    content[content.index(b"PK\x01\x02") + 8] |= 1
    assert_refused(tmp_path, "images.zip", bytes(content), "is encrypted")


def test_an_unknown_compression_is_refused(tmp_path):
    content = bytearray(make_zip({"images/a.png": b"A" * 100}))
    content[content.index(b"PK\x01\x02") + 10] = content[8] = 9  # deflate64
    assert_refused(tmp_path, "images.zip", bytes(content), "compression")


@pytest.mark.parametrize("suffix", ["zip", "tar.gz", "tar.bz2", "tar.xz"])
@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.9])
def test_a_truncated_archive_leaves_nothing(tmp_path, suffix, share):
    content = make(suffix, {**IMAGES, "images/noise.png": bz2.compress(bytes(range(256)) * 99)})
    assert_refused(tmp_path, f"a.{suffix}", content[: int(len(content) * share)], "")


@pytest.mark.parametrize("suffix", ["zip", "tar.xz"])
def test_a_changed_byte_in_an_image_is_found(tmp_path, suffix):
    content = bytearray(make(suffix, {"images/a.png": bz2.compress(bytes(range(256)) * 99)}))
    content[len(content) // 3] ^= 0x10
    assert_refused(tmp_path, f"a.{suffix}", bytes(content), "")


def test_a_file_in_the_way_of_a_folder_is_reported(tmp_path):
    assert_refused(tmp_path, "a.zip", make_zip({"images": b"A", "images/a.png": b"A"}), "")


@pytest.mark.parametrize("name", ["a.7z", "images.zip.part-aa", "images.tar.001", "images.z01"])
def test_other_archives_and_pieces_are_not_taken(tmp_path, name):
    assert lay_out_archive(tmp_path, name, b"x") == ({}, [tmp_path / "release" / name])


def test_archives_within_archives_are_not_taken(tmp_path):
    _, (inner,) = lay_out_archive(tmp_path, "outer.zip", make_zip({"inner.zip": make_zip(IMAGES)}))
    assert inner.name == "inner.zip"
    assert inner.is_file()
