"""Which videos there are: files in folders, and the episodes of datasets."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from gr2_policy.data import layout
from gr2_policy.data.reader import Dataset
from gr2_policy.data.writer import DatasetError

ENDINGS = (".mp4", ".mkv", ".webm", ".mov", ".avi", ".m4v", ".mpg", ".mpeg")


@dataclass(frozen=True)
class Source:
    """A video, or a part of one.

    Attributes:
        name: unique and the same on every machine: collection, and file or episode.
        path: its file.
        collection: what it belongs to.
        begin, end: of the part [s]; `end` None for the rest.
        caption: what is said about it; may be empty.
        hands: its maker says that it shows hands (or what stands for them) acting.
    """

    name: str
    path: str
    collection: str
    begin: float = 0.0
    end: float | None = None
    caption: str = ""
    hands: bool = False


def find_sources(paths: Sequence[Path]) -> list[Source]:
    """All videos in files and folders, in a fixed order.

    A video may have a file of the same name that ends in ``.json`` beside it, with `caption` and `hands`. A folder that
    is a LeRobotDataset gives its episodes, as its first camera sees them.

    Raises:
        DatasetError: a path does not exist, a dataset or description is damaged, or two collections have one name.
    """
    found: list[Source] = []
    for path in paths:
        if not path.exists():
            raise DatasetError(f"{path} does not exist")
        if (path / layout.INFO).exists():
            found += _episodes(path)
        else:
            found += _files(path)
    names = {source.name for source in found}
    if len(names) < len(found):
        twice = next(source.name for source in found if sum(other.name == source.name for other in found) > 1)
        raise DatasetError(f"two videos are called '{twice}': rename one of the folders")
    return found


def _files(path: Path) -> Iterator[Source]:
    root = path if path.is_dir() else path.parent
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    for file in files:
        if file.suffix.lower() not in ENDINGS or not file.is_file():
            continue
        told = file.with_suffix(".json")
        about = {}
        if told.exists():
            try:
                about = json.loads(told.read_text(encoding="utf-8"))
                caption, hands = str(about.get("caption", "")), bool(about.get("hands", False))
            except (OSError, ValueError, AttributeError) as error:
                raise DatasetError(f"{told} cannot be used: {error!r}") from error
        else:
            caption, hands = "", False
        name = f"{root.name}/{file.relative_to(root).as_posix()}"
        yield Source(name, str(file.resolve()), root.name, caption=caption, hands=hands)


def _episodes(folder: Path) -> Iterator[Source]:
    dataset = Dataset(folder)
    view = next(iter(dataset.shape.views))
    for info in dataset.episodes:
        path, first = info.videos[view]
        yield Source(
            name=f"{folder.name}/episode-{info.number:06d}",
            path=str(path.resolve()),
            collection=folder.name,
            begin=first / dataset.fps,
            end=(first + info.length) / dataset.fps,
            caption=info.instruction,
            hands="embodiment" in info.notes or dataset.shape.robot,
        )
