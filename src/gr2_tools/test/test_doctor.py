"""The doctor really tries things, and says what to do."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from gr2_tools import doctor, doctor_checks
from gr2_tools.doctor_checks import FAIL, OK, WARN, Probe


def test_report_of_this_machine(processes) -> None:
    """All of it, as a script would call it."""
    code, out, _ = processes.finish(processes.verb("doctor", "--json"), timeout=60)
    report = json.loads(out)
    checks = {c["name"]: c for c in report["checks"]}
    assert code == (0 if report["ok"] else 1)
    assert report["seconds"] < 40
    assert {"ROS 2", "gr2_msgs", "DDS between processes", "EGL rendering", "200 Hz timer", "disk"} <= checks.keys()
    assert checks["gr2_msgs"]["status"] == OK
    assert checks["DDS between processes"]["status"] in (OK, WARN)
    assert "of 300 small messages" in checks["DDS between processes"]["found"]
    assert "segment 8 MiB" in checks["Fast DDS profile"]["found"]
    for check in checks.values():
        assert check["status"] == OK or check["advice"], check


def test_table_tells_what_prevents_the_simulation(capsys: pytest.CaptureFixture[str]) -> None:
    doctor._print([doctor_checks.Row("a", OK, "[x]"), doctor_checks.Row("b", FAIL, "broken", "mend it")], True)
    out = capsys.readouterr().out
    assert "[x]" in out
    assert "mend it" in out
    assert "cannot run" in out


def test_profile_problems(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for variable in doctor_checks.PROFILE_VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    assert doctor_checks.profile().status == WARN
    path = tmp_path / "profile.xml"
    monkeypatch.setenv("FASTRTPS_DEFAULT_PROFILES_FILE", str(path))
    assert doctor_checks.profile().status == FAIL
    path.write_text("<dds><segment_size>524288</segment_size></dds>")
    assert doctor_checks.profile().status == WARN
    path.write_text("<dds><segment_size>8388608</segment_size></dds>")
    assert doctor_checks.profile().status == OK


def test_missing_build_tools_matter_only_before_the_build(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert doctor_checks.build_tools(needed=True).status == FAIL
    row = doctor_checks.build_tools(needed=False)
    assert row.status == WARN
    assert "cmake" in row.found


def test_rendering_without_a_driver_is_a_finding() -> None:
    row = doctor_checks.rendering(Probe("render", {"MUJOCO_GL": "nonsense"}))
    assert row.status == FAIL
    assert row.advice


def test_probe_that_hangs_or_dies() -> None:
    assert "no answer" in Probe("nodes").result(0.01)["error"]
    assert "error" in Probe("no_such_probe").result(10.0)


def test_leftovers_of_killed_processes_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    shm = Path("/dev/shm")
    if not os.access(shm, os.W_OK):
        pytest.skip("needs /dev/shm")
    leftover = shm / f"fastrtps_test{os.getpid()}"
    before = int(doctor_checks.shared_memory().found.split()[0])
    leftover.write_bytes(b"x")
    try:
        after = int(doctor_checks.shared_memory().found.split()[0])
    finally:
        leftover.unlink()
    assert after >= 1
    assert after >= before - 20, "other processes come and go meanwhile"


def test_disk_that_is_not_there(tmp_path: Path) -> None:
    row = doctor_checks.disk(tmp_path / "nowhere")
    assert (row.status, "nowhere" in row.found) == (WARN, True)
