"""Images, audio and files by reference: the same bytes have one name, and what is sent is what was read."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from offramp import media
from offramp.errors import DatasetError

PNG = b"\x89PNG\r\n\x1a\nrest"
WAV = b"RIFF\x00\x00\x00\x00WAVEfmt "
PDF = b"%PDF-1.7 rest"


@pytest.mark.parametrize(
    ("data", "name", "type_"),
    [
        (PNG, "", "image/png"), (b"\xff\xd8\xff\xe0", "x.png", "image/jpeg"), (b"GIF89a", "", "image/gif"),
        (b"RIFF\x00\x00\x00\x00WEBPVP8 ", "", "image/webp"), (WAV, "", "audio/wav"), (b"ID3\x04", "", "audio/mpeg"),
        (PDF, "", "application/pdf"), (b"a,b\n1,2\n", "table.csv", "text/csv"), (b"\0", "", "application/octet-stream"),
    ],
)  # fmt: skip
def test_the_type_is_that_of_the_bytes_before_that_of_the_name(data: bytes, name: str, type_: str) -> None:
    reference = media.of_bytes(data, name=name)
    assert media.is_reference(reference) and media.type_of(reference) == type_ and media.data_of(reference) == data


def test_a_path_a_data_address_and_bytes_of_the_same_picture_are_one_reference(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(PNG)
    uri = f"data:image/png;base64,{base64.b64encode(PNG).decode()}"
    cells = [
        "a.png",
        str(tmp_path / "a.png"),
        uri,
        PNG,
        {"bytes": PNG, "path": "a.png"},
        {"bytes": None, "path": "a.png"},
    ]
    found = {media.read_cell(cell, kind="image", base=tmp_path, where="row 1") for cell in cells}
    assert len(found) == 1 and media.data_uri(found.pop()) == uri
    assert (
        media.read_cell("https://example.org/a.png", kind="image", base=tmp_path, where="")
        == "https://example.org/a.png"
    )


@pytest.mark.parametrize(
    ("cell", "kind", "said"),
    [
        ("nothing.png", "image", "cannot be read"), ("", "image", "expected the path or address"),
        (3, "image", "expected the path or address"), (PDF, "image", "not of `type: image`: got 'application/pdf'"),
        (PNG, "audio", "not of `type: audio`"), ("data:nonsense", "image", "data: address cannot be read"),
    ],
)  # fmt: skip
def test_what_is_no_picture_is_named_with_its_place(tmp_path: Path, cell: object, kind: str, said: str) -> None:
    with pytest.raises(DatasetError, match=f"pictures.csv: row 3.*{said}"):
        media.read_cell(cell, kind=kind, base=tmp_path, where="pictures.csv: row 3")  # type: ignore[arg-type]


def test_a_file_that_has_changed_is_never_sent_under_its_old_name(tmp_path: Path) -> None:
    path = tmp_path / "unique-a.png"
    path.write_bytes(PNG + b"before")
    reference = media.of_file(path)
    path.write_bytes(PNG + b"after")
    with pytest.raises(DatasetError, match="has changed since the job began"):
        media.data_of(reference)


@pytest.mark.parametrize("order", [("one", "other"), ("other", "one")])
@pytest.mark.parametrize("happens", ["is deleted", "has changed"])
def test_a_file_in_two_folders_is_read_from_the_copy_that_is_still_the_same(
    tmp_path: Path, happens: str, order: tuple[str, str]
) -> None:
    content = PNG + f"{happens} {order}".encode()
    for name in order:
        (tmp_path / name).write_bytes(content)
        reference = media.of_file(tmp_path / name)
    if happens == "is deleted":
        (tmp_path / "one").unlink()
    else:
        (tmp_path / "one").write_bytes(PNG + b"after")
    assert media.paths_of(reference) == tuple(tmp_path / name for name in reversed(order))
    assert media.data_of(reference) == content


def test_of_many_rows_with_the_same_file_the_last_are_known(tmp_path: Path) -> None:
    for number in range(20):
        (tmp_path / f"{number}.png").write_bytes(PNG + b"the same in many rows")
        reference = media.of_file(tmp_path / f"{number}.png")
    assert tmp_path / "19.png" == media.paths_of(reference)[0] and len(media.paths_of(reference)) < 20


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{base64.b64encode(PNG).decode()}", "detail": "low"}},
        {"type": "input_audio", "input_audio": {"data": base64.b64encode(WAV).decode(), "format": "wav"}},
        {"type": "file", "file": {"file_data": f"data:application/pdf;base64,{base64.b64encode(PDF).decode()}", "filename": "a.pdf"}},
        {"type": "file", "file": {"file_id": "file-1"}},
        {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}},
        {"type": "text", "text": "media: is a word"},
    ],
)  # fmt: skip
def test_a_part_is_sent_as_it_was_given_and_stored_without_its_bytes(part: dict[str, object]) -> None:
    short = media.referenced(part)
    assert "base64" not in str(short) and len(str(short)) < 220
    assert media.expanded({"role": "user", "content": [short]}) == {"role": "user", "content": [part]}


def test_other_kinds_of_parts_are_refused() -> None:
    with pytest.raises(ValueError, match="'video_url'"):
        media.referenced({"type": "video_url"})
