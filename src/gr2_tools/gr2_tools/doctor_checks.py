"""The checks of the doctor. Each returns a row; none raises for what it may find."""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import xml.etree.ElementTree as ElementTree
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gr2_tools import doctor_probes

OK, WARN, FAIL = "OK", "WARN", "FAIL"
PROFILE_VARIABLES = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")
SLOW_FRAME = 0.030  # [s] two cameras at 10 Hz leave 50 ms a frame, for much larger scenes than ours
SLOW_DISCOVERY = 1.5  # [s]
LAST_DOMAIN = 232  # Fast DDS has no ports for more
_GB = 1e9


@dataclass(frozen=True)
class Row:
    """One line of the report: what was looked at, OK/WARN/FAIL, what was found, what to do about it."""

    name: str
    status: str
    found: str
    advice: str = ""

    def as_dict(self) -> dict[str, str]:
        """For --json."""
        return asdict(self)


class Probe:
    """A probe of ``doctor_probes``, running in a child process."""

    def __init__(self, name: str, extra_environment: dict[str, str] | None = None) -> None:
        self._name = name
        self._process = subprocess.Popen(
            [sys.executable, "-m", "gr2_tools.doctor_probes", name],
            env={**os.environ, **(extra_environment or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def result(self, timeout: float) -> dict[str, Any]:
        """Its finding; ``{"error": ...}`` if it crashed, or took longer than ``timeout`` [s]."""
        try:
            out, err = self._process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
            return {"error": f"no answer within {timeout:.0f} s"}
        for line in reversed(out.splitlines()):
            try:
                found = json.loads(line)
            except ValueError:
                continue
            if isinstance(found, dict):
                return found
        last = err.strip().splitlines()[-1:] or [f"exit code {self._process.returncode}"]
        return {"error": last[0][:300]}


def system() -> Row:
    """Interpreter and machine."""
    text = f"Python {platform.python_version()}, {_os_name()}, {platform.machine()}"
    if platform.system() != "Linux":
        return Row("system", WARN, text, "only Linux is tested")
    if platform.machine() != "x86_64":
        return Row("system", WARN, text, "the ROS wheels are x86_64 only: use a ROS 2 Jazzy installation")
    return Row("system", OK, text)


def _os_name() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", platform.system())
    except OSError:
        return f"{platform.system()} {platform.release()}"


def ros() -> Row:
    """rclpy and the middleware."""
    try:
        rclpy = importlib.import_module("rclpy")
        identifier = rclpy.utilities.get_rmw_implementation_identifier()
    except (ImportError, AttributeError, RuntimeError) as error:
        return Row(
            "ROS 2", FAIL, f"rclpy does not import: {error}", "run ./gr2 again, or source your ROS 2 installation"
        )
    return Row("ROS 2", OK, f"rclpy {_version('ros-rclpy', 'rclpy')}, {identifier}, {_distro()}")


def _distro() -> str:
    return os.environ.get("ROS_DISTRO", "jazzy wheels")


def messages() -> Row:
    """gr2_msgs, built and usable."""
    try:
        module = importlib.import_module("gr2_msgs.msg")
        serialization = importlib.import_module("rclpy.serialization")
        kinds = [getattr(module, name) for name in ("RobotState", "TrajectoryChunk", "WbcStatus")]
        for kind in kinds:
            serialization.deserialize_message(serialization.serialize_message(kind()), kind)
    except (ImportError, AttributeError, RuntimeError, TypeError) as error:
        return Row("gr2_msgs", FAIL, f"not usable: {error}", "build the workspace: ./gr2 does it by itself")
    return Row("gr2_msgs", OK, "built, (de)serialises")


def build_tools(needed: bool) -> Row:
    """What building messages takes; only needed while they are not built."""
    missing = [
        text
        for text, there in (
            ("a C++ compiler", shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")),
            ("cmake", shutil.which("cmake")),
            ("Python headers", Path(sysconfig.get_path("include"), "Python.h").is_file()),
        )
        if not there
    ]
    if not missing:
        return Row("build tools", OK, "C++ compiler, cmake, Python headers")
    advice = "Debian, Ubuntu: apt install g++ cmake python3-dev"
    return Row("build tools", FAIL if needed else WARN, f"missing: {', '.join(missing)}", advice)


def profile() -> Row:
    """The Fast DDS profile for large images."""
    for variable in PROFILE_VARIABLES:
        path = os.environ.get(variable)
        if not path:
            continue
        segment = _segment_size(Path(path))
        if segment is None:
            return Row(
                "Fast DDS profile",
                FAIL,
                f"{variable}={path} cannot be read",
                "unset it, or name a readable XML file",
            )
        if segment < 2 * doctor_probes.IMAGE_BYTES:
            return Row(
                "Fast DDS profile",
                WARN,
                f"{path}: no large shared-memory segment",
                "images above 512 kB lose frames: use fastdds_large_images.xml of gr2_bringup",
            )
        return Row("Fast DDS profile", OK, f"{Path(path).name}: segment {segment / 2**20:.0f} MiB")
    found = bundled_profile()
    where = str(found) if found else "fastdds_large_images.xml of gr2_bringup"
    return Row(
        "Fast DDS profile",
        WARN,
        f"{PROFILE_VARIABLES[0]} is not set",
        f"images above 512 kB lose frames: set it to {where} (./gr2 and the launch files do)",
    )


def bundled_profile() -> Path | None:
    """The profile of gr2_bringup, if that is installed."""
    try:
        share = importlib.import_module("ament_index_python.packages").get_package_share_directory("gr2_bringup")
    except (ImportError, LookupError, ValueError):
        return None
    path = Path(share, "config", "fastdds_large_images.xml")
    return path if path.is_file() else None


def _segment_size(path: Path) -> int | None:
    """Largest shared-memory segment in a profile file [B]; 0: none; None: unreadable."""
    try:
        root = ElementTree.parse(path).getroot()
        return max((int(e.text or 0) for e in root.iter() if e.tag.endswith("segment_size")), default=0)
    except (OSError, ElementTree.ParseError, ValueError):
        return None


def dds() -> list[Row]:
    """A real conversation between two processes, in a domain of its own."""
    environment = {"ROS_DOMAIN_ID": str(60 + os.getpid() % 40)}
    known = next((os.environ[v] for v in PROFILE_VARIABLES if os.environ.get(v)), None)
    used = known or bundled_profile()
    if used:
        environment[PROFILE_VARIABLES[0]] = str(used)
    subscriber = Probe("subscribe", environment)
    publisher = Probe("publish", environment)
    sent = publisher.result(12.0)
    got = subscriber.result(12.0)
    advice = (
        "two processes cannot talk: check /dev/shm (docker: --ipc=host or --shm-size=512m), a firewall on the "
        "loopback interface, and the Fast DDS profile"
    )
    for side in (sent, got):
        if "error" in side:
            return [Row("DDS between processes", FAIL, side["error"], advice)]
    n, m = sent["sent"], got["got"]
    small = f"{m['small']} of {n['small']} small messages (reliable, {doctor_probes.SMALL_RATE} Hz)"
    image = f"{m['images']} of {n['images']} images of 1 MB (best effort, {doctor_probes.IMAGE_RATE} Hz)"
    small += f"; found each other in {sent['discovery']:.1f} s"
    if not sent["matched"] or not m["small"]:
        return [Row("DDS between processes", FAIL, small, advice)]
    rows = [Row("DDS between processes", OK, small)]
    if m["small"] < n["small"]:
        rows = [Row("DDS between processes", WARN, small, "the machine is overloaded, or the loopback is filtered")]
    elif sent["discovery"] > SLOW_DISCOVERY:
        rows = [Row("DDS between processes", WARN, small, "nodes find each other late: see Fast DDS profile")]
    lost = 1 - m["images"] / n["images"]
    how = "with" if used else "without"
    if lost > 0.05:
        rows.append(
            Row("DDS large images", WARN, f"{image}, {how} the profile", "images lose frames: see Fast DDS profile")
        )
    else:
        rows.append(Row("DDS large images", OK, f"{image}, {how} the profile"))
    return rows


def domain() -> Row:
    """Who else is in the user's domain."""
    number = os.environ.get("ROS_DOMAIN_ID", "0") or "0"
    if not (number.isdecimal() and int(number) <= LAST_DOMAIN):
        return Row(
            "ROS domain",
            FAIL,
            f"ROS_DOMAIN_ID is {number!r}: ROS would not start",
            f"unset it, or set a number from 0 to {LAST_DOMAIN} (better 101)",
        )
    found = Probe("nodes").result(10.0)
    reach = os.environ.get("ROS_AUTOMATIC_DISCOVERY_RANGE", "SUBNET")
    if "error" in found:
        return Row("ROS domain", WARN, f"domain {number}: {found['error']}", "see the rows above")
    names = found["nodes"]
    if not names:
        return Row("ROS domain", OK, f"domain {number} ({reach}): nobody else")
    shown = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
    return Row(
        "ROS domain",
        WARN,
        f"domain {number} ({reach}): {shown}",
        "a stack is running already; for a second one set another ROS_DOMAIN_ID (0 to 101)",
    )


def rendering(probe: Probe) -> Row:
    """Off-screen rendering, as the simulator's cameras need it."""
    found = probe.result(25.0)
    advice = "Debian, Ubuntu: apt install libegl1 libgl1-mesa-dri libgles2 (with a GPU: its driver's EGL library)"
    if "error" in found:
        return Row("EGL rendering", FAIL, found["error"], advice)
    if found["spread"] < 1.0:
        return Row("EGL rendering", FAIL, f"{found['renderer']}: the image is blank", advice)
    text = f"{found['renderer']}: {1e3 * found['frame']:.1f} ms a frame of 256x256 (MuJoCo {found['mujoco']})"
    if found["frame"] > SLOW_FRAME:
        return Row("EGL rendering", WARN, text, "slow: the simulator's cameras may fall behind; give it more cores")
    return Row("EGL rendering", OK, text)


def timing(probe: Probe) -> list[Row]:
    """Timer precision and real-time scheduling."""
    found = probe.result(15.0)
    if "error" in found:
        return [Row("200 Hz timer", WARN, found["error"], "see the rows above")]
    text = f"late p50 {1e3 * found['p50']:.2f} ms, p99 {1e3 * found['p99']:.2f} ms"
    late = found["p99"] > 0.005
    rows = [
        Row(
            "200 Hz timer",
            WARN if late else OK,
            text,
            "the machine is busy: control cycles will be late; close other programs" if late else "",
        )
    ]
    refused = found["realtime_refused"]
    if refused:
        rows.append(
            Row(
                "real-time scheduling",
                WARN,
                f"SCHED_FIFO: {refused}",
                "fine for simulation; for a robot: 'USER - rtprio 80' in /etc/security/limits.conf "
                "(docker: --cap-add SYS_NICE)",
            )
        )
    else:
        rows.append(Row("real-time scheduling", OK, "SCHED_FIFO is permitted"))
    return rows


def processor() -> Row:
    """Cores this process may use, and their load."""
    cores = len(os.sched_getaffinity(0))
    quota = _cgroup_cores()
    usable = min(cores, quota) if quota else float(cores)
    load = os.getloadavg()[0]
    text = f"{usable:g} cores, load {load:.1f}"
    if usable < 2:
        return Row("processor", WARN, text, "the stack wants two cores: expect late control cycles")
    if load > usable:
        return Row("processor", WARN, text, "other programs keep the machine busy")
    return Row("processor", OK, text)


def _cgroup_cores() -> float | None:
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError):
        return None


def memory() -> Row:
    """Memory left."""
    try:
        fields = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines())
        total, free = (1024 * int(fields[k].split()[0]) for k in ("MemTotal", "MemAvailable"))
    except (OSError, ValueError, KeyError):
        return Row("memory", WARN, "unknown: /proc/meminfo cannot be read")
    text = f"{free / _GB:.1f} of {total / _GB:.1f} GB available"
    return Row("memory", WARN, text, "the stack takes up to 2 GB") if free < 2 * _GB else Row("memory", OK, text)


def disk(folder: Path) -> Row:
    """Space for recordings."""
    try:
        free = shutil.disk_usage(folder).free
    except OSError as error:
        return Row("disk", WARN, f"{folder}: {error.strerror}", "name another folder with --bags")
    text = f"{free / _GB:.1f} GB free at {folder.resolve()}"
    if free < 2 * _GB:
        return Row("disk", WARN, text, "a recording takes up to 0.3 GB a minute: free some space")
    return Row("disk", OK, text)


def gpu() -> Row:
    """GPU and torch, as far as can be told without loading them."""
    torch = _version("torch")
    text = f"torch {torch}" if torch else "no torch (only needed to run or train models)"
    if not (shutil.which("nvidia-smi") and Path("/dev/nvidiactl").exists()):
        return Row("GPU", OK, f"none; {text}")
    try:
        listing = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=5, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return Row("GPU", WARN, f"nvidia-smi does not answer; {text}", "check the NVIDIA driver")
    names = [line.split(":", 1)[1].split("(")[0].strip() for line in listing.splitlines() if ":" in line]
    return Row("GPU", OK, f"{', '.join(names) or 'none'}; {text}")


def shared_memory() -> Row:
    """Segments that crashed ROS processes left behind."""
    files = list(Path("/dev/shm").glob("fastrtps_*")) + list(Path("/dev/shm").glob("sem.fastrtps_*"))
    used = _mapped()
    left = [f for f in files if f.name.removeprefix("sem.") not in used and f.name not in used]
    size = 0
    for file in left:
        try:
            size += file.stat().st_blocks * 512
        except OSError:
            continue  # gone meanwhile
    free = shutil.disk_usage("/dev/shm").free if Path("/dev/shm").is_dir() else 0
    text = f"{len(left)} leftovers of ended processes, {size / 1e6:.0f} MB; {free / _GB:.1f} GB free"
    if free < 0.1 * _GB:
        return Row("/dev/shm", WARN, text, "too small for images: `fastdds shm clean`; docker: --shm-size=512m")
    if size > 0.2 * _GB or len(left) > 500:
        return Row("/dev/shm", WARN, text, "run `fastdds shm clean`")
    return Row("/dev/shm", OK, text)


def _mapped() -> set[str]:
    """Names of files in /dev/shm that a process we may look at has mapped."""
    names: set[str] = set()
    for maps in Path("/proc").glob("[0-9]*/maps"):
        try:
            text = maps.read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue  # ended, or not ours to see
        names.update(line.rsplit("/", 1)[1] for line in text.splitlines() if "/dev/shm/" in line)
    return names


def _version(*names: str) -> str:
    for name in names:
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return ""
