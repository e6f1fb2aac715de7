"""The set-up script, as far as it can be tested without the network: stamps, repairs, words for the user."""

import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "gr2_bringup"
sys.path.insert(0, str(SOURCE))
import bootstrap  # noqa: E402
import system_packages  # noqa: E402


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty checkout with one package and a set-up whose steps only note that they ran."""
    package = tmp_path / "src" / "gr2_one"
    (package / "gr2_one").mkdir(parents=True)
    (package / "launch").mkdir()
    (package / "package.xml").write_text("<package/>")
    (package / "gr2_one" / "code.py").write_text("x = 1")
    (tmp_path / "requirements").mkdir()
    for name in ("ros", "gr2", "torch"):
        (tmp_path / "requirements" / f"{name}.txt").write_text(f"{name}==1\n")
    (tmp_path / "install").mkdir()
    monkeypatch.setattr(bootstrap, "ROOT", tmp_path)
    monkeypatch.setattr(bootstrap, "VENV", tmp_path / ".venv")
    monkeypatch.setattr(bootstrap, "STAMPS", tmp_path / ".venv" / "gr2-stamps.json")
    monkeypatch.setattr(bootstrap, "ENVIRONMENT", tmp_path / "install" / "gr2-environment.json")
    monkeypatch.setattr(system_packages, "ensure", lambda say: None)
    monkeypatch.delenv("GR2_TORCH", raising=False)
    return tmp_path


@pytest.fixture
def ran(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    names: list[str] = []
    for step in ("make_venv", "install_ros", "install_rest", "install_torch"):
        monkeypatch.setattr(bootstrap, step, lambda step=step: names.append(step))

    def build() -> None:
        names.append("build_workspace")
        bootstrap.ENVIRONMENT.write_text("{}")

    monkeypatch.setattr(bootstrap, "build_workspace", build)
    return names


ALL = ["make_venv", "install_ros", "install_rest", "install_torch", "build_workspace"]


def test_every_step_runs_once(ran: list[str]) -> None:
    bootstrap.set_up()
    bootstrap.set_up()
    assert ran == ALL


def test_interrupted_set_up_goes_on_where_it_was(ran: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    install_rest = bootstrap.install_rest
    monkeypatch.setattr(bootstrap, "install_rest", interrupted)
    with pytest.raises(KeyboardInterrupt):
        bootstrap.set_up()
    monkeypatch.setattr(bootstrap, "install_rest", install_rest)
    bootstrap.set_up()
    assert ran == ALL


def test_changed_requirements_are_installed_again(ran: list[str], checkout: Path) -> None:
    bootstrap.set_up()
    ran.clear()
    (checkout / "requirements" / "gr2.txt").write_text("gr2==2\n")
    bootstrap.set_up()
    assert ran == ["install_rest"]


def test_workspace_is_built_again_for_messages_and_launch_files_but_not_for_code(
    ran: list[str], checkout: Path
) -> None:
    bootstrap.set_up()
    ran.clear()
    package = checkout / "src" / "gr2_one"
    (package / "gr2_one" / "code.py").write_text("x = 2")
    (package / "gr2_one" / "more.py").write_text("y = 1")
    bootstrap.set_up()
    assert ran == []
    (package / "launch" / "new.launch.py").write_text("")
    bootstrap.set_up()
    assert ran == ["build_workspace"]
    (package / "package.xml").write_text("<package>2</package>")
    bootstrap.set_up()
    assert ran == ["build_workspace"] * 2


def test_a_compiled_part_is_built_again_when_its_source_changed_or_it_is_gone(ran: list[str], checkout: Path) -> None:
    package = checkout / "src" / "gr2_one"
    library = package / "gr2_one" / f"_kernels.cpython-{sys.version_info[0]}{sys.version_info[1]}-any.so"
    (package / "kernels").mkdir()
    (package / "kernels" / "one.c").write_text("int one;")
    library.write_text("")
    bootstrap.set_up()
    ran.clear()
    bootstrap.set_up()
    assert ran == []
    (package / "kernels" / "one.c").write_text("int two;")
    bootstrap.set_up()
    assert ran == ["build_workspace"]
    library.unlink()
    bootstrap.set_up()
    assert ran == ["build_workspace"] * 2


def test_moved_checkout_builds_its_workspace_again(ran: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    bootstrap.set_up()
    ran.clear()
    bootstrap.ENVIRONMENT.unlink()
    bootstrap.set_up()
    assert ran == ["build_workspace"]


def test_broken_stamps_mean_nothing_is_done(ran: list[str]) -> None:
    bootstrap.set_up()
    ran.clear()
    bootstrap.STAMPS.write_text('{"venv": ')
    bootstrap.set_up()
    assert ran == ALL


def test_builders_paths_are_replaced(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = checkout / ".venv" / "share" / "x" / "cmake"
    folder.mkdir(parents=True)
    builder = "/opt/python/cp312-cp312"
    text = f'set(i "{builder}/include/python3.12;{builder}/lib/python3.12/site-packages/numpy/_core/include")'
    (folder / "export.cmake").write_text(text)
    monkeypatch.setattr(bootstrap, "venv_python", lambda: sys.executable)
    assert bootstrap.patch_wheels() == 1
    after = (folder / "export.cmake").read_text()
    assert "/opt/python" not in after
    include, numpy = after.split('"')[1].split(";")
    assert (Path(include) / "Python.h").exists()
    assert numpy.endswith("site-packages/numpy/_core/include")
    assert bootstrap.patch_wheels() == 0


def test_foreign_folder_is_not_overwritten(checkout: Path) -> None:
    (checkout / ".venv").mkdir()
    (checkout / ".venv" / "thesis.tex").write_text("years of work")
    with pytest.raises(bootstrap.SetupError, match="not a Python environment"):
        bootstrap.make_venv()
    assert (checkout / ".venv" / "thesis.tex").exists()


def test_failed_command_shows_its_last_lines(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "LOG", checkout / "log" / "setup.log")
    with pytest.raises(bootstrap.SetupError, match=r"(?s)digging failed.*rock below"):
        bootstrap.run("digging", [sys.executable, "-c", "print('rock below'); raise SystemExit(3)"])
    assert "rock below" in (checkout / "log" / "setup.log").read_text()


def test_missing_system_packages_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    need = system_packages.Need("a teapot (brews)", ("teapot-dev",), lambda: False)
    monkeypatch.setattr(system_packages, "NEEDS", (need,))
    monkeypatch.setattr(system_packages.os, "geteuid", lambda: 1000)
    lines: list[str] = []
    with pytest.raises(system_packages.MissingPackages, match="sudo apt install teapot-dev"):
        system_packages.ensure(lines.append)
    assert lines == ["missing: a teapot (brews)"]


def test_wrong_verb_is_named_with_the_right_ones() -> None:
    done = subprocess.run(
        [sys.executable, str(SOURCE / "bootstrap.py"), "smi"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "no verb 'smi'" in done.stderr
    assert "sim" in done.stderr
