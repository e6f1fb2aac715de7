"""Makes the private environment of a checkout, once, and hands over to the ``gr2`` command in it.

Runs before anything is installed, so it uses the standard library only. Every step leaves a stamp when it is
done; an interrupted set-up goes on at the step it was in, and a finished one costs a few file reads.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(Path(__file__).resolve().parent))

import system_packages  # noqa: E402
from verbs import VERBS, top_level_help  # noqa: E402

VENV = Path(os.environ.get("GR2_VENV", ROOT / ".venv"))
STAMPS = VENV / "gr2-stamps.json"
ENVIRONMENT = ROOT / "install" / "gr2-environment.json"
LOG = ROOT / "log" / "setup.log"
WORKSPACE = ("src", "interfaces")  # the latter: what PyPI lacks and a ROS 2 machine has
TORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"


class SetupError(RuntimeError):
    """Set-up cannot go on; the message says what to do."""


def say(text: str) -> None:
    print(f"gr2: {text}", file=sys.stderr, flush=True)


# --- stamps ---


def read_stamps() -> dict[str, str]:
    try:
        return dict(json.loads(STAMPS.read_text()))
    except (OSError, ValueError):
        return {}


def write_stamp(step: str, value: str) -> None:
    stamps = read_stamps() | {step: value}
    aside = STAMPS.with_suffix(".tmp")
    aside.write_text(json.dumps(stamps, indent=1))
    aside.replace(STAMPS)


def digest(parts: Iterator[bytes] | list[bytes]) -> str:
    total = hashlib.sha256()
    for part in parts:
        total.update(len(part).to_bytes(8, "big") + part)
    return total.hexdigest()


def file_digest(*paths: Path) -> str:
    return digest([path.read_bytes() for path in paths])


def workspace_digest() -> str:
    """Of all that a colcon build depends on; Python packages are linked, not copied, so they do not count."""

    def parts() -> Iterator[bytes]:
        packages = [path.parent for base in WORKSPACE for path in (ROOT / base).glob("*/package.xml")]
        for package in sorted(packages):
            for path in sorted(package.rglob("*")):
                folder = path.relative_to(package).parts[0]
                if path.is_dir() or folder in {package.name, "test", "build"} or ".egg-info" in str(path):
                    continue
                yield str(path.relative_to(ROOT)).encode()
                if folder not in {"launch", "config"}:
                    yield path.read_bytes()

    return digest(parts())


def compiled_parts_exist() -> bool:
    """Whether each package with C sources (``kernels/``) has its compiled part for this Python beside its code."""
    library = f"*.cpython-{sys.version_info[0]}{sys.version_info[1]}*.so"
    packages = [folder.parent for folder in (ROOT / "src").glob("*/kernels")]
    return all(any((package / package.name).glob(library)) for package in packages)


# --- running commands ---


def run(title: str, command: list[str], env: dict[str, str] | None = None) -> None:
    """Run a long command quietly: its output goes to the log, its progress to one line on the terminal.

    Raises:
        SetupError: it failed; the message carries the end of its output.
    """
    LOG.parent.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    lines: list[str] = []
    terminal = sys.stderr.isatty()
    if not terminal:
        say(f"{title} …")
    with open(LOG, "a", encoding="utf-8") as log:
        log.write(f"\n$ {' '.join(command)}\n")
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        assert process.stdout is not None
        try:
            for line in process.stdout:
                log.write(line)
                lines.append(line.rstrip())
                if terminal:
                    detail = line.strip()[:60]
                    print(
                        f"\r\033[Kgr2: {title} … {time.monotonic() - start:.0f} s  {detail}",
                        end="",
                        file=sys.stderr,
                    )
            code = process.wait()
        except KeyboardInterrupt:
            process.terminate()
            process.wait()
            raise
    if terminal:
        print("\r\033[K", end="", file=sys.stderr)
    if code != 0:
        tail = "\n  ".join(lines[-15:])
        raise SetupError(f"{title} failed (exit code {code}). Its last lines (all of them: {LOG}):\n  {tail}")
    say(f"{title}: done in {time.monotonic() - start:.0f} s")


def venv_python() -> str:
    return str(VENV / "bin" / "python")


def clean_environment() -> dict[str, str]:
    """The caller's environment without another ROS or Python environment in it."""
    drop = {
        "PYTHONPATH",
        "PYTHONHOME",
        "AMENT_PREFIX_PATH",
        "CMAKE_PREFIX_PATH",
        "COLCON_PREFIX_PATH",
        "VIRTUAL_ENV",
    }
    env = {k: v for k, v in os.environ.items() if k not in drop and not k.startswith("_ROS_WHEELS")}
    env["LD_LIBRARY_PATH"] = ":".join(p for p in env.get("LD_LIBRARY_PATH", "").split(":") if p and "/ros" not in p)
    env["VIRTUAL_ENV"] = str(VENV)
    env["AMENT_PREFIX_PATH"] = env["CMAKE_PREFIX_PATH"] = str(VENV)
    env["PATH"] = f"{VENV / 'bin'}:{env.get('PATH', '/usr/bin:/bin')}"
    env["PIP_DISABLE_PIP_VERSION_CHECK"] = "1"
    return env


# --- the steps ---


def make_venv() -> None:
    if VENV.exists() and any(VENV.iterdir()) and not (VENV / "pyvenv.cfg").exists():
        raise SetupError(f"{VENV} exists and is not a Python environment; move it away or set GR2_VENV.")
    run("making the Python environment", [sys.executable, "-m", "venv", "--clear", str(VENV)])


def pip_install(title: str, *arguments: str) -> None:
    run(
        title,
        [venv_python(), "-m", "pip", "install", "--progress-bar", "off", *arguments],
        clean_environment(),
    )


def install_ros() -> None:
    pip_install("installing ROS 2 Jazzy from PyPI", "--no-deps", "-r", str(ROOT / "requirements/ros.txt"))
    patched = patch_wheels()
    say(f"repaired the builder's paths in {patched} CMake files of the ROS wheels")


def patch_wheels() -> int:
    """Replace the wheel builder's own paths, baked into the exported CMake files, by those of this machine.

    Returns:
        the number of files changed.
    """
    include = sysconfig.get_paths()["include"]
    site = subprocess.run(
        [venv_python(), "-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    rules = (
        (re.compile(r"/opt/python/cp\d+-cp\d+/include/python\d\.\d+"), include),
        (re.compile(r"/opt/python/cp\d+-cp\d+/lib/python\d\.\d+/site-packages"), site),
    )
    changed = 0
    for path in (VENV / "share").rglob("*.cmake"):
        text = old = path.read_text(encoding="utf-8")
        for pattern, replacement in rules:
            text = pattern.sub(replacement, text)
        if text != old:
            path.write_text(text, encoding="utf-8")
            changed += 1
    return changed


def install_rest() -> None:
    pip_install("installing MuJoCo, pinocchio, OSQP and tools", "--no-deps", "-r", str(ROOT / "requirements/gr2.txt"))


def install_torch() -> None:
    """The CPU build of PyTorch, unless a GPU is there: the default one would bring gigabytes of CUDA."""
    choice = os.environ.get("GR2_TORCH", "cuda" if Path("/proc/driver/nvidia/version").exists() else "cpu")
    requirements = str(ROOT / "requirements/torch.txt")
    if choice == "none":
        say("PyTorch left out (GR2_TORCH=none); learned policies will not run")
        return
    if choice == "cuda":
        pip_install("installing PyTorch with CUDA", "-r", requirements)
        return
    if choice != "cpu":
        raise SetupError(f"GR2_TORCH is '{choice}'; it may be cpu, cuda or none.")
    others = [line for line in Path(requirements).read_text().split() if "==" in line and not line.startswith("torch")]
    version = re.search(r"^torch==(\S+)", Path(requirements).read_text(), re.M)
    assert version is not None
    pinned = f"torch=={version.group(1)}+cpu"
    index = ["--extra-index-url", TORCH_CPU_INDEX] if reachable(TORCH_CPU_INDEX) else []
    try:
        pip_install("installing PyTorch (CPU)", "--no-deps", *index, pinned, *others)
    except SetupError as error:
        if "No matching distribution" not in str(error):
            raise
        say(
            f"PyTorch left out: no index here has {pinned} for Python {sys.version_info[0]}.{sys.version_info[1]}. "
            "Simulation, control and the teacher need none; learned policies do: put the wheel where pip finds it "
            "(PIP_FIND_LINKS) and run ./gr2 again with GR2_TORCH=cpu."
        )


def reachable(url: str, timeout: float = 4.0) -> bool:
    from urllib.error import URLError
    from urllib.request import Request, urlopen

    try:
        with urlopen(Request(url + "/torch/", method="HEAD"), timeout=timeout):
            return True
    except (URLError, OSError, ValueError):
        return False


def build_workspace() -> None:
    command = ["colcon", "--log-base", "log", "build", "--symlink-install", "--base-paths", *WORKSPACE]
    command += ["--event-handlers", "console_direct-", "--cmake-args", "-DBUILD_TESTING=OFF"]
    command[0] = str(VENV / "bin" / "colcon")
    try:
        run("building the workspace with colcon", command, clean_environment())
    except SetupError:
        say("the build failed; trying once more from an empty build folder")
        shutil.rmtree(ROOT / "build", ignore_errors=True)
        shutil.rmtree(ROOT / "install", ignore_errors=True)
        run("building the workspace with colcon", command, clean_environment())
    write_environment()


def write_environment() -> None:
    """Source the workspace once and keep what it set, so that later starts need no shell."""
    base = clean_environment()
    script = 'source "$0" && env -0'
    sourced = subprocess.run(
        ["bash", "-c", script, str(ROOT / "install" / "local_setup.bash")],
        env=base,
        capture_output=True,
        text=True,
    )
    if sourced.returncode != 0:
        raise SetupError(f"install/local_setup.bash cannot be sourced: {sourced.stderr.strip()}")
    after = dict(item.split("=", 1) for item in sourced.stdout.split("\0") if "=" in item)
    prepended: dict[str, list[str]] = {}
    for name in ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "AMENT_PREFIX_PATH", "CMAKE_PREFIX_PATH"):
        old = [p for p in base.get(name, "").split(":") if p]
        new = [p for p in after.get(name, "").split(":") if p and p not in old]
        prepended[name] = new
    prepended["PATH"].append(str(VENV / "bin"))
    for name in ("AMENT_PREFIX_PATH", "CMAKE_PREFIX_PATH"):
        prepended[name].append(str(VENV))
    aside = ENVIRONMENT.with_suffix(".tmp")
    aside.write_text(json.dumps(prepended, indent=1))
    aside.replace(ENVIRONMENT)


def install_extra(name: str) -> Callable[[], None]:
    """What one verb needs beside the rest, from ``requirements/name``."""
    path = ROOT / "requirements" / name
    return lambda: pip_install(f"installing {name}", "--no-deps", "-r", str(path))


def steps(extras: tuple[str, ...] = ()) -> list[tuple[str, str, Callable[[], None]]]:
    """Name, what it depends on as a hash, action; ``extras``: requirement files of the verb at hand."""
    requirements = ROOT / "requirements"
    return [
        ("venv", f"{sys.version_info[0]}.{sys.version_info[1]} {VENV}", make_venv),
        ("ros", file_digest(requirements / "ros.txt"), install_ros),
        ("rest", file_digest(requirements / "gr2.txt"), install_rest),
        ("torch", file_digest(requirements / "torch.txt") + os.environ.get("GR2_TORCH", ""), install_torch),
        *((name, file_digest(requirements / name), install_extra(name)) for name in extras),
        ("workspace", f"{ROOT} {workspace_digest()}", build_workspace),
    ]


def pending(extras: tuple[str, ...] = ()) -> list[tuple[str, str, Callable[[], None]]]:
    done = read_stamps()
    left = []
    stale = False
    for name, value, action in steps(extras):
        missing = name == "workspace" and not (ENVIRONMENT.exists() and compiled_parts_exist())
        known = done.get(name)
        if name == "torch" and known is not None and "GR2_TORCH" not in os.environ:
            known = known[:64]  # a build chosen once by hand is kept
        if stale or missing or known != value:
            left.append((name, value, action))
            stale = stale or name in {"venv", "ros"}
    return left


def set_up(extras: tuple[str, ...] = ()) -> None:
    """Bring the environment up to date.

    Raises:
        SetupError: it cannot be done; the message says what to do.
    """
    left = pending(extras)
    if not left:
        return
    system_packages.ensure(say)
    VENV.mkdir(parents=True, exist_ok=True)
    with open(VENV.parent / ".venv.lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            say("another ./gr2 is setting this checkout up; waiting for it …")
            fcntl.flock(lock, fcntl.LOCK_EX)
        for name, value, action in pending(extras):
            action()
            write_stamp(name, value)


def run_environment() -> dict[str, str]:
    """Environment in which rclpy, gr2_msgs and the packages of this workspace are importable."""
    env = clean_environment()
    for name, parts in json.loads(ENVIRONMENT.read_text()).items():
        old = [p for p in env.get(name, "").split(":") if p and p not in parts]
        env[name] = ":".join(parts + old)
    env["GR2_ROOT"] = str(ROOT)
    return env


def main(arguments: list[str]) -> int:
    if not arguments or arguments[0] in {"-h", "--help", "help"}:
        print(top_level_help())
        return 0
    verbs = {verb.name: verb for verb in VERBS}
    if arguments[0] not in verbs:
        known = ", ".join(verbs)
        print(f"gr2: there is no verb '{arguments[0]}' (there are: {known}). See ./gr2 --help", file=sys.stderr)
        return 2
    try:
        set_up(verbs[arguments[0]].requirements)
    except (SetupError, system_packages.MissingPackages) as error:
        say(str(error))
        return 1
    except KeyboardInterrupt:
        say("set-up interrupted; the next ./gr2 goes on from here")
        return 130
    except OSError as error:
        say(f"set-up failed: {error}")
        return 1
    sys.stdout.flush()
    os.execve(venv_python(), [venv_python(), "-m", "gr2_bringup.cli", *arguments], run_environment())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
