"""``gr2 bench policy`` runs and writes what it promises; how fast it is, only the real run says."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

from gr2_policy.model.config import SIZES, load_size

ROOT = Path(__file__).resolve().parents[4]


@pytest.mark.skipif(not (ROOT / "benchmarks/policy/main.py").is_file(), reason="needs the checkout's benchmarks")
def test_quick_run_writes_every_figure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks.policy import main

    parser = argparse.ArgumentParser()
    main.add_arguments(parser)
    path = tmp_path / "figures.json"
    assert main.run(parser.parse_args(["--sizes", "nano", "--quick", "--no-peers", "--json", str(path)])) == 0
    report = json.loads(path.read_text())
    figures = report["sizes"]["nano"]
    for name in main.FIGURES:
        assert figures[name] > 0.0, name
    assert figures["ratio"] == {}
    assert figures["chunks"] >= 4
    assert figures["chunk_p99_ms"] >= figures["chunk_p50_ms"]
    assert figures["weights_per_pass_mb"] == pytest.approx(0.127, rel=0.05)  # two layers of 64 in int8, and the logits
    assert report["machine"]["processor"]
    assert report["ceilings"]["read_gb_per_s"] > 0.1


@pytest.mark.skipif(not (ROOT / "benchmarks/policy/main.py").is_file(), reason="needs the checkout's benchmarks")
@pytest.mark.parametrize("size", SIZES)
def test_every_size_makes_chunks_in_every_turn(size: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one whose window holds no more than a frame and the next."""
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks.policy import main

    assert main.chunks_a_turn(load_size(size)) >= 3
