"""Each step of curation on its own."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gr2_policy.curation.captions import TemplateCaptioner, reject_caption, tidied, too_common
from gr2_policy.curation.clips import Clip, clips_of
from gr2_policy.curation.decode import moments
from gr2_policy.curation.fingerprint import BITS, differing, find_duplicates, fingerprint
from gr2_policy.curation.hands import (
    SIDE,
    DetectorUnavailable,
    Palm,
    PalmDetector,
    anchors,
    letterboxed,
    model_path,
    read_palms,
    reject_hands,
)
from gr2_policy.curation.motion import moving_share, reject_motion
from gr2_policy.curation.settings import CaptionSettings, Cutting, HandCheck, MotionBounds, Settings, load_settings
from gr2_policy.curation.shards import Sample, ShardError, encode, read_shard, write_shard
from gr2_policy.curation.sources import Source, find_sources
from gr2_policy.curation.statistics import verb_of
from gr2_policy.data.reader import Dataset
from gr2_policy.data.video import VideoError
from gr2_policy.data.writer import DatasetError
from gr2_policy.model.config import ConfigError

SAMPLE = Path(__file__).parents[4] / "docs" / "video_sample"
Draw = Callable[..., np.ndarray]
Film = Callable[..., Path]
CUTTING = Cutting(fps=10, size=32, shortest=2.0, longest=4.0)


def clips(path: Path, cutting: Cutting = CUTTING, **of: object) -> list[Clip]:
    source = Source("a/b", str(path), "a", **of)  # type: ignore[arg-type]
    return list(clips_of(source, moments(source, cutting.fps, cutting.size), cutting))


# --- shots and clips ---


def test_shots_are_found_and_clips_last_as_long_as_wished(draw: Draw, film: Film) -> None:
    path = film("a.mp4", draw(1, 75), draw(2, 30), draw(3, 225))  # 3 s, 1.2 s, 9 s
    found = clips(path)
    assert [clip.begin for clip in found] == pytest.approx([0.0, 4.2, 8.2], abs=0.101)
    assert [clip.seconds for clip in found] == pytest.approx([3.0, 4.0, 4.0], abs=0.101)  # 1.2 s, and a rest of 1 s, go
    assert all(clip.frames.shape[1:] == (32, 32, 3) and clip.fps == 10 for clip in found)
    assert len({clip.key for clip in found}) == 3
    assert [clip.key for clip in clips(path)] == [clip.key for clip in found]


@pytest.mark.parametrize("fps", [5, 10, 24, 30, 60])
def test_any_rate_becomes_the_rate_of_clips(draw: Draw, film: Film, fps: int) -> None:
    path = film("a.mp4", draw(1, 3 * fps, speed=40.0 / fps), fps=fps)
    (clip,) = clips(path)
    assert clip.seconds == pytest.approx(3.0, abs=0.11)
    original = draw(1, 3 * fps, speed=40.0 / fps)[:, :, 8:56]
    for second in (0.5, 1.5, 2.5):
        frame = original[int(second * fps + 1e-6)]
        coarse = frame[::2, ::2][:24, :24].astype(float).mean()
        assert clip.frames[int(second * 10)].astype(float).mean() == pytest.approx(coarse, abs=12.0)


def test_quick_motion_is_no_cut(draw: Draw, film: Film) -> None:
    assert len(clips(film("a.mp4", draw(4, 75, speed=9.0)))) == 1


def test_a_part_of_a_video(draw: Draw, film: Film) -> None:
    path = film("a.mp4", draw(1, 75), draw(2, 75), draw(3, 75))
    (clip,) = clips(path, begin=3.0, end=6.0)
    assert clip.seconds == pytest.approx(3.0, abs=0.101)
    (whole,) = [c for c in clips(path) if abs(c.begin - 3.0) < 0.11]
    assert np.abs(clip.frames[5].astype(int) - whole.frames[5]).mean() < 6.0


def test_damage_is_told_and_what_was_before_is_given(draw: Draw, film: Film, tmp_path: Path) -> None:
    path = film("a.mkv.mp4", *(draw(seed, 75) for seed in range(4)))
    (tmp_path / "text.mp4").write_text("no video at all")
    with pytest.raises(VideoError, match=r"text\.mp4"):
        clips(tmp_path / "text.mp4")
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(VideoError, match=r"cut\.mp4"):
        clips(cut)


def test_any_damage_is_a_video_error(draw: Draw, film: Film, tmp_path: Path) -> None:
    """Bytes changed at random, in the head above all: any other error would make a whole job fail for one video."""
    whole = film("a.mp4", draw(1, 30)).read_bytes()
    random, path = np.random.default_rng(3), tmp_path / "b.mp4"
    outcomes = set()
    for number in range(60):
        changed = bytearray(whole)
        area = slice(0, 60) if number % 3 == 0 else slice(len(whole) - 1500, len(whole))
        for place in random.integers(area.start, area.stop, int(random.integers(1, 30))):
            changed[int(place)] = int(random.integers(256))
        path.write_bytes(changed)
        try:
            clips(path, Cutting(size=32, shortest=0.5))
            outcomes.add("read")
        except VideoError:
            outcomes.add("refused")
    assert outcomes == {"read", "refused"}


# --- what is wanted ---


def test_motion(draw: Draw) -> None:
    moving = draw(1, 30)
    assert reject_motion(moving, MotionBounds()) == ""
    still = np.repeat(moving[:1], 30, axis=0)
    assert reject_motion(still, MotionBounds()) == "still"
    noise = np.random.default_rng(0).integers(0, 256, (20, 64, 64, 3), dtype=np.uint8)
    assert reject_motion(noise, MotionBounds()) == "all moves"
    grain = (still.astype(int) + np.random.default_rng(0).integers(-4, 5, still.shape)).clip(0, 255).astype(np.uint8)
    assert moving_share(grain) < 0.002


class Scripted:
    """Finds a palm of this score at these places, one after the other."""

    def __init__(self, score: float, places: list[float]) -> None:
        self.score, self.places = score, list(places)

    def palms(self, picture: np.ndarray) -> list[Palm]:
        place = self.places.pop(0)
        return [Palm(self.score, place, 0.5, 0.1, 0.1)] if place >= 0.0 else []


def test_hands_must_be_there_and_act(draw: Draw) -> None:
    frames, check = draw(1, 30), HandCheck(frames=8)
    assert reject_hands(frames, Scripted(0.9, [0.1 * i for i in range(8)]), check) == ""
    assert reject_hands(frames, Scripted(0.9, [0.5] * 8), check) == "hands at rest"
    assert reject_hands(frames, Scripted(0.4, [0.1 * i for i in range(8)]), check) == "no hands"
    assert reject_hands(frames, Scripted(0.9, [0.5, *[-1.0] * 7]), check) == "no hands"


def test_the_detectors_answer_is_read() -> None:
    middles = anchors()
    assert middles.shape == (2016, 2)
    assert (middles[0] == middles[1]).all()
    np.testing.assert_allclose(middles[1152], [0.5 / 12, 0.5 / 12])
    boxes, scores = np.zeros((2016, 18)), np.zeros(2016)
    for index, score in ((100, 0.9), (101, 0.8), (1500, 0.7), (7, 0.2)):
        boxes[index, :4], scores[index] = (9.6, -9.6, 19.2, 19.2), score
    found = read_palms(boxes, scores, 0.3)
    assert [palm.score for palm in found] == [0.9, 0.7]  # 101 covers the same place as 100
    np.testing.assert_allclose((found[0].x, found[0].y), middles[100] + [0.05, -0.05])
    assert found[0].width == pytest.approx(0.1)
    picture = letterboxed(np.full((60, 120, 3), 255, np.uint8))
    assert picture.shape == (SIDE, SIDE, 3)
    assert (picture[0] == 0.0).all()
    assert (picture[SIDE // 2] == 1.0).all()


def test_a_missing_detector_is_told(tmp_path: Path) -> None:
    with pytest.raises(DetectorUnavailable, match="gr2 curate fetch"):
        PalmDetector(tmp_path / "none.tflite")


@pytest.mark.skipif(not model_path().exists(), reason="the hand detector is not here; ./gr2 curate fetch gets it")
def test_the_real_detector_tells_rendered_hands_from_none(draw: Draw) -> None:
    pytest.importorskip("ai_edge_litert", reason="requirements/curate.txt is not installed")
    detector, check = PalmDetector(), HandCheck()
    dataset = Dataset(SAMPLE)
    people = [info.number for info in dataset.episodes if info.notes["embodiment"] == "person"][:8]
    kept = [number for number in people if not reject_hands(dataset.read(number).images["head"], detector, check)]
    assert len(kept) >= 2  # from afar, in 96 px, most escape it
    assert reject_hands(draw(1, 40, 96, 96), detector, check) == "no hands"


def altered(frames: np.ndarray) -> dict[str, np.ndarray]:
    bright = (frames.astype(float) * 1.15 + 6.0).clip(0, 255).astype(np.uint8)
    noisy = (frames.astype(int) + np.random.default_rng(0).integers(-9, 10, frames.shape)).clip(0, 255).astype(np.uint8)
    return {"brighter": bright, "noisy": noisy, "cropped": frames[:, 2:-2, 2:-2], "smaller": frames[:, ::2, ::2]}


def test_near_duplicates_are_found_and_only_those() -> None:
    """Rendered clips share rooms and things, and are told apart; what was only re-made is not."""
    dataset = Dataset(SAMPLE)
    originals = [dataset.read(number).images["head"] for number in range(0, 24, 2)]
    prints = [(f"clip-{number}", fingerprint(frames)) for number, frames in enumerate(originals)]
    assert all(len(print_) * 8 == BITS for _, print_ in prints)
    assert find_duplicates(prints, Settings().duplicates.most) == {}
    copies = [
        (f"{kind}-{number}", fingerprint(frames))
        for number, original in enumerate(originals)
        for kind, frames in altered(original).items()
    ]
    found = find_duplicates([*prints, *copies], Settings().duplicates.most)
    assert len(found) >= 0.9 * len(copies)
    assert all(one.split("-")[1] == other.split("-")[1] for one, other in found.items())
    assert max(differing(prints[0][1], prints[1][1])) > 0.25


# --- captions ---


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("picks up the red block", ""),
        ("", "caption: empty"),
        ("123 %", "caption: empty"),
        ("opens", "caption: too short"),
        ("word " * 60, "caption: too long"),
        ("I cannot see what happens here", "caption: says nothing"),
        ("the block the block the block the block", "caption: repeats itself"),
        ("a b !!!! #### $$$$ %%%% 1234 5678", "caption: not words"),
    ],
)
def test_bad_captions_are_refused(text: str, reason: str) -> None:
    assert reject_caption(text, CaptionSettings()) == reason


def test_what_is_said_of_all_says_nothing() -> None:
    many = ["A person does something"] * 30 + [f"opens drawer {number}" for number in range(50)]
    assert too_common(many, CaptionSettings()) == {"a person does something"}
    assert TemplateCaptioner().captions([], ["Opens the drawer. ", "<s>lifts  it</s>"]) == [
        "Opens the drawer",
        "lifts it",
    ]
    assert tidied('"x  y"') == "x y"


@pytest.mark.parametrize(
    ("caption", "verb"),
    [
        ("a hand picks up the mug", "pick"), ("someone taking the cup", "take"), ("Cutting bread", "cut"),
        ("the woman took a knife", "take"), ("carries it away", "carry"), ("the cat sleeps", ""),
        ("uncapping it", "uncap"),
    ],
)  # fmt: skip
def test_verbs(caption: str, verb: str) -> None:
    assert verb_of(caption) == verb


# --- sources, shards, settings ---


def test_sources(draw: Draw, film: Film, tmp_path: Path) -> None:
    film("real/b/two.mp4", draw(1, 20))
    film("real/one.mp4", draw(2, 20))
    (tmp_path / "real/one.json").write_text(json.dumps({"caption": "opens it", "hands": True}))
    (tmp_path / "real/notes.txt").write_text("x")
    found = find_sources([tmp_path / "real", SAMPLE])
    assert [source.name for source in found[:2]] == ["real/b/two.mp4", "real/one.mp4"]
    assert (found[1].caption, found[1].hands, found[0].hands) == ("opens it", True, False)
    assert len(found) == 2 + 24
    dataset = Dataset(SAMPLE)
    assert all(source.hands and source.caption == dataset.episodes[i].instruction for i, source in enumerate(found[2:]))
    (clip,) = clips(Path(found[5].path), Cutting(size=96), begin=found[5].begin, end=found[5].end)
    original = dataset.read(3).images["head"]
    assert len(clip.frames) == len(original)
    assert np.abs(clip.frames.astype(int) - original).mean() < 2.0
    for wrong in ([tmp_path / "nothing"], [SAMPLE, SAMPLE]):
        with pytest.raises(DatasetError):
            find_sources(wrong)
    (tmp_path / "real/one.json").write_text("[")
    with pytest.raises(DatasetError, match=r"one\.json"):
        find_sources([tmp_path / "real"])


def test_shards_come_back_and_are_the_same_each_time(draw: Draw, tmp_path: Path) -> None:
    frames = draw(1, 20, 32, 32)
    video = encode(frames, 10, 0, tmp_path)
    tokens = np.arange(40, dtype=np.uint16).reshape(20, 2)
    samples = [Sample("aa", video, {"caption": "x"}, tokens), Sample("bb", video, {"caption": "y"})]
    count, digest = write_shard(tmp_path / "one.tar", samples)
    assert (count, digest) == write_shard(tmp_path / "two.tar", samples)
    first, second = read_shard(tmp_path / "one.tar")
    np.testing.assert_array_equal(first.frames(tmp_path), frames)
    np.testing.assert_array_equal(first.tokens, tokens)
    assert (second.about, second.tokens) == ({"caption": "y"}, None)
    assert [sample.key for sample in read_shard(tmp_path / "one.tar", frozenset({"bb"}))] == ["bb"]
    with tarfile.open(tmp_path / "one.tar") as tar:  # as others read it
        assert [member.name for member in tar] == ["aa.mp4", "aa.json", "aa.tokens.npy", "bb.mp4", "bb.json"]
        content = tar.extractfile("aa.tokens.npy")
        assert content is not None
        np.testing.assert_array_equal(np.load(io.BytesIO(content.read())), tokens)
    (tmp_path / "one.tar").write_bytes((tmp_path / "two.tar").read_bytes()[:1500])
    with pytest.raises(ShardError, match=r"one\.tar"):
        list(read_shard(tmp_path / "one.tar"))
    assert {path.name for path in tmp_path.iterdir()} == {"one.tar", "two.tar"}


def test_settings(tmp_path: Path) -> None:
    assert load_settings() == replace(Settings(), captions=load_settings().captions)
    assert "colour" in load_settings().captions.prompt
    assert load_settings(changes={"cutting.fps": 5, "job": 2}).cutting.fps == 5
    for changes, message in (
        ({"cutting.speed": 1}, "cutting.speed"),
        ({"hands.use": "maybe"}, "maybe"),
        ({"captions.captioner": "transformers"}, r"captions\.model"),
        ({"cutting.size": 33}, "even"),
    ):
        with pytest.raises(ConfigError, match=message):
            load_settings(changes=changes)
    (tmp_path / "x.yaml").write_text("[1]")
    with pytest.raises(ConfigError, match="no mapping"):
        load_settings(tmp_path / "x.yaml")
