"""how long a control cycle takes, beside mink and Pink, and how well the arm follows

One trajectory (a loop of the tool past the table, a box and the arm itself, 50 monitored pairs) is measured hot and
paced at 200 Hz, stage by stage, with OSQP and DAQP, without and with manipulability; then in alternating segments with
mink and Pink in an environment of their own; then on generated arms of 6 to 30 joints and with 0 to 400 pairs; then in
the simulator. docs/wbc_timing.md says what was measured where.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from benchmarks.report import machine, write_json
from benchmarks.wbc.chains import growth
from benchmarks.wbc.cycle import hot, paced, stages
from benchmarks.wbc.scene import bench_robot

_SOLVERS = ("osqp", "daqp")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``gr2 bench wbc``."""
    parser.add_argument("--cycles", type=int, default=6000, help="cycles of each hot run (default: %(default)s)")
    parser.add_argument("--ticks", type=int, default=12000, help="cycles of the paced run (default: %(default)s)")
    parser.add_argument("--no-peers", action="store_true", help="leave out mink and Pink")
    parser.add_argument("--with-stack", action="store_true", help="measure the paced node in the running stack too")
    parser.add_argument("--domain", type=int, default=91, help="ROS domain of that stack (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="a few seconds, to see that it works; no figures to quote")
    parser.add_argument("--json", type=Path, help="write the figures to this file too")


def run(args: argparse.Namespace) -> int:
    """Measure and print."""
    report = measure(args)
    print(table(report))
    if args.json:
        write_json(args.json, report)
    return 0


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """All figures that the options ask for."""
    cycles, ticks = (200, 100) if args.quick else (args.cycles, args.ticks)
    robot = bench_robot()
    report: dict[str, Any] = {"machine": machine()}
    for solver in _SOLVERS:
        for manipulability in (False, True):
            name = _name(solver, manipulability)
            report[name] = hot(robot, solver, manipulability, cycles)
            report[name]["stages_us"] = stages(robot, solver, manipulability, cycles // 3)
    report["paced"] = paced(robot, ticks) | {"where": "alone"}
    if not args.no_peers:
        from benchmarks.wbc.peers import PeerFailed, compare

        root = Path(os.environ.get("GR2_ROOT", ".")).resolve()
        try:
            peers = compare(robot, root, 1 if args.quick else 8, 60 if args.quick else max(60, cycles // 15))
        except PeerFailed as failed:
            raise SystemExit(f"gr2 bench wbc: {failed}") from failed
        report["ratio"], report["ratio_wall"] = peers.pop("ratio"), peers.pop("ratio_wall")
        report["peers"] = peers
    if args.quick:
        report["growth"] = growth(100, joints=(6,), pairs=(10,))
    else:
        report["growth"] = growth(max(200, cycles // 6))
    report |= _simulated(3.0 if args.quick else 12.0)
    if args.with_stack:
        from benchmarks.wbc.live import with_stack

        report["paced_alone"] = report["paced"]
        report["paced"] = with_stack(ticks, args.domain)
    report["machine_after"] = machine()
    return report


def table(report: dict[str, Any]) -> str:
    """The figures for people."""
    computer = report["machine"]
    lines = [
        f"{computer['processor']}, {computer['cores']} cores, Python {computer['python']}, "
        f"load {computer['load']:.1f} before and {report['machine_after']['load']:.1f} after",
        "",
        f"{'cycle [us]':34s} {'p50':>8s} {'p99':>8s} {'max':>8s} {'cpu p50':>8s} {'cpu p99':>8s}",
    ]
    rows = [(_name(solver, manipulability), report[_name(solver, manipulability)]) for solver, manipulability in _RUNS]
    rows += [(f"paced, {report['paced']['where']}", report["paced"])]
    if "paced_alone" in report:
        rows += [("paced, alone", report["paced_alone"])]
    rows += [(f"  beside peers: {name}", row) for name, row in report.get("peers", {}).items() if name != "versions"]
    for kind in ("joints", "pairs"):
        rows += [(f"{count} {kind}", row) for count, row in report["growth"][kind].items()]
    for name, row in rows:
        shown = [f"{row[key]:8.0f}" if key in row else " " * 8 for key in _COLUMNS]
        lines.append(f"{name:34s} {' '.join(shown)}")
    lines += ["", "stages, p50 [us]"]
    for solver, manipulability in _RUNS:
        name = _name(solver, manipulability)
        parts = ", ".join(f"{stage} {spent:.0f}" for stage, spent in report[name]["stages_us"].items())
        lines.append(f"{name:24s} {parts}")
    one = report["paced"]
    lines += ["", f"paced: {one['missed']} of {one['ticks']} deadlines missed ({one.get('scheduling', one['where'])})"]
    if "ratio" in report:
        shown = ", ".join(f"{name} {value:.1f}" for name, value in report["ratio"].items())
        lines.append(f"time of a peer over ours (cpu p50): {shown}")
    for name in ("tracking", "tracking_fast"):
        row = report[name]
        lines.append(
            f"tracking at {row['speed_asked']} m/s (reached {row['speed_median']:.2f}): "
            f"median {row['median_mm']:.2f} mm, p95 {row['p95_mm']:.2f} mm"
        )
    return "\n".join(lines)


_COLUMNS = ("p50_us", "p99_us", "max_us", "cpu_p50_us", "cpu_p99_us")
_RUNS = tuple((solver, manipulability) for solver in _SOLVERS for manipulability in (False, True))


def _name(solver: str, manipulability: bool) -> str:
    return "hot" + "_manipulability" * manipulability + f"_{solver}" * (solver != "osqp")


def _simulated(seconds: float) -> dict[str, Any]:
    from benchmarks.wbc.tracking import tracking

    return {"tracking": tracking(0.2, seconds), "tracking_fast": tracking(0.5, seconds)}
