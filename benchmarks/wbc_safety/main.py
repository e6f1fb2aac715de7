"""whether the controller stays inside its bounds, whatever it is sent

Random splices, randomised control cycles with adversarial chunks and faults, paths into the table, obstacles and the
arm itself, stop time and distance for each fault, and targets that cannot be reached. Everything is checked by code
that sees only the commands (positions at 1 kHz), by another distance engine (coal) and by contacts in MuJoCo. It is
deterministic for each seed, runs in processes of low priority, and fails if any bound was broken.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.report import machine, write_json
from benchmarks.wbc_safety import cycles, forced, splices, stops, targets
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from gr2_wbc.robot import Robot
from gr2_wbc.robots import load_robot

PARTS = ("splices", "cycles", "forced", "stops", "targets")
_CYCLES, _SPLICES = 5_000, 250  # in one job
_TOLERATED = -0.5e-3  # [m] below the safe distance

Job = tuple[str, int, int]


class _Worker:
    """What each process keeps."""

    robot: Robot


def _start(robot: str) -> None:
    os.nice(15)
    _Worker.robot = load_robot(robot)


def _work(job: Job) -> tuple[Job, float, Any]:
    """Carry out a job: kind, amount and number. Returns it with the processor time [s] and what was found."""
    kind, amount, number = job
    robot, begun = _Worker.robot, time.process_time()
    found: Any
    if kind == "reference splices":
        found = splices.reference_splices(robot, amount, number)
    elif kind == "joint splices":
        found = splices.joint_splices(robot, amount, number)
    elif kind == "cycles":
        found = cycles.run_cycles(robot, amount, number)
    elif kind == "forced":
        found = forced.forced_runs(robot, 1, number)
    elif kind == "stops":
        found = [stops.measure_stop(robot, stops.FAULTS[number], speed) for speed in stops.SPEEDS]
    else:
        name = list(targets.TARGETS)[number]
        found = [targets.target_run(robot, name, solver) for solver in ("osqp", "daqp")]
    return job, time.process_time() - begun, found


def _jobs(args: argparse.Namespace) -> list[Job]:
    seed = 10_000 * args.seed
    jobs: list[Job] = []
    if "stops" in args.parts:
        jobs += [("stops", 1, number) for number in range(len(stops.FAULTS))]
    if "targets" in args.parts:
        jobs += [("targets", 1, number) for number in range(len(targets.TARGETS))]
    if "forced" in args.parts:
        jobs += [("forced", 1, seed + number) for number in range(args.runs)]
    if "splices" in args.parts:
        for kind in ("reference splices", "joint splices"):
            jobs += [(kind, amount, seed + number) for number, amount in enumerate(_split(args.splices, _SPLICES))]
    if "cycles" in args.parts:
        jobs += [("cycles", amount, seed + number) for number, amount in enumerate(_split(args.cycles, _CYCLES))]
    return jobs


def _split(total: int, part: int) -> Iterator[int]:
    while total > 0:
        yield min(total, part)
        total -= part


def _carry_out(args: argparse.Namespace, console: Console) -> tuple[dict[str, list[Any]], float]:
    jobs = _jobs(args)
    found: dict[str, list[Any]] = {}
    processor_time = 0.0
    columns = (
        *(TextColumn("{task.description:18}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    context = multiprocessing.get_context("spawn")
    with (
        Progress(*columns, console=console, speed_estimate_period=120.0) as progress,
        context.Pool(args.workers, _start, (args.robot,)) as pool,
    ):
        bars = {
            kind: progress.add_task(kind, total=sum(amount for name, amount, _ in jobs if name == kind))
            for kind in dict.fromkeys(name for name, _, _ in jobs)
        }
        for (kind, amount, _), used, result in pool.imap_unordered(_work, jobs):
            found.setdefault(kind, []).append(result)
            processor_time += used
            progress.advance(bars[kind], amount)
    return found, processor_time


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``gr2 bench wbc_safety``."""
    parser.add_argument("--cycles", type=int, default=1_000_000, help="randomised cycles (default: %(default)s)")
    parser.add_argument("--splices", type=int, default=10_000, help="random splices (default: %(default)s)")
    parser.add_argument("--runs", type=int, default=10, help="forced collisions of each kind (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="processes (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="another one, other random numbers (default: %(default)s)")
    parser.add_argument("--robot", default="gen3_2f85", help="name or folder (default: %(default)s)")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="what to run (default: everything)")
    parser.add_argument("--json", type=Path, help="write the figures to this file too")


def run(args: argparse.Namespace) -> int:
    """Run, print, and tell by the status whether all bounds held."""
    console = Console()
    begun, load = time.monotonic(), os.getloadavg()[0]
    found, processor_time = _carry_out(args, console)
    report: dict[str, Any] = {}
    for kind, summarise in (
        ("reference splices", _reference),
        ("joint splices", _joints),
        ("cycles", _cycles),
        ("forced", _forced),
        ("stops", _stops),
        ("targets", _targets),
    ):
        if kind in found:
            report[kind.replace(" ", "_")] = summarise(found[kind], console)
    violations = sum(part["violations"] for part in report.values())
    report |= {
        "violations": violations,
        "seed": args.seed,
        "seconds": time.monotonic() - begun,
        "processor_seconds": processor_time,
        "machine": machine() | {"load_before": load},
    }
    console.print(f"{violations} violations in {report['seconds']:.0f} s ({processor_time:.0f} s of processor time)")
    if args.json:
        write_json(args.json, report)
    return 1 if violations else 0


def _spread(values: list[float]) -> dict[str, float]:
    p50, p95, p99, most = np.percentile(np.array(values), (50, 95, 99, 100)).tolist()
    return {"p50": p50, "p95": p95, "p99": p99, "max": most}


def _table(console: Console, title: str, heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    table = Table(title=escape(title), title_justify="left")
    for number, head in enumerate(heads):
        table.add_column(escape(head), justify="right" if number else "left")
    for row in rows:
        table.add_row(*map(escape, row))
    console.print(table)


def _spreads(console: Console, title: str, spreads: dict[str, dict[str, float]]) -> None:
    rows = [(name, *(f"{value:.4g}" for value in spread.values())) for name, spread in spreads.items()]
    _table(console, title, ("", "p50", "p95", "p99", "max"), rows)


def _reference(results: list[splices.ReferenceSteps], console: Console) -> dict[str, Any]:
    names = ("position", "velocity", "acceleration", "linear", "angular", "speed", "lateness")
    spreads = {name: _spread([value for each in results for value in getattr(each, name)]) for name in names}
    count = sum(len(each.position) for each in results)
    violations = sum(each.violations for each in results)
    title = f"{count} splices of the reference: steps [m, rad], [/s], [/s2]; accelerations and speed until the next one"
    _spreads(console, title, spreads)
    return {"splices": count, "violations": violations, **spreads}


def _joints(results: list[splices.JointSteps], console: Console) -> dict[str, Any]:
    spreads = {
        "acceleration": _spread([value for each in results for value in each.peak]),
        "step": _spread([value for each in results for value in each.step]),
    }
    count, violations = sum(len(each.peak) for each in results), sum(each.violations for each in results)
    _spreads(console, f"{count} splices through the controller: joint accelerations over their limits", spreads)
    first = [text for each in results for text in each.findings.first][:20]
    for text in first:
        console.print(text, markup=False)
    return {"splices": count, "violations": violations, "first": first, **spreads}


def _cycles(results: list[cycles.Summary], console: Console) -> dict[str, Any]:
    total = cycles.Summary()
    for each in results:
        total.add(each)
    findings = total.findings
    rows = [
        ("cycles, commands sent", f"{total.cycles}, {total.commands}"),
        ("chunks sent, accepted", f"{sum(total.chunks.values())}, {total.accepted}"),
        ("positions looked at", str(findings.samples)),
        ("largest velocity / limit", f"{findings.velocity:.9f}"),
        ("largest acceleration / limit", f"{findings.acceleration:.9f}"),
        ("furthest beyond a position limit", f"{findings.beyond:.3g} rad"),
        ("violations", str(total.violations)),
    ]
    rows += [(f"  {name}", str(count)) for name, count in findings.violations.items()]
    rows += [(name, str(count)) for name, count in sorted(total.events.items())]
    _table(console, "Randomised cycles", ("", ""), rows)
    for text in (*findings.first, *total.errors[:20]):
        console.print(text, markup=False)
    return {
        "cycles": total.cycles,
        "commands": total.commands,
        "samples": findings.samples,
        "violations": total.violations,
        "broken": dict(findings.violations),
        "first": findings.first,
        "errors": total.errors[:20],
        "velocity_share": findings.velocity,
        "acceleration_share": findings.acceleration,
        "beyond_rad": findings.beyond,
        "chunks": dict(total.chunks),
        "accepted": total.accepted,
        "events": dict(total.events),
        "states": dict(total.states),
        "stops": dict(total.stops),
    }


def _forced(results: list[list[forced.ForcedRun]], console: Console) -> dict[str, Any]:
    runs = [one for each in results for one in each]
    rows, report = [], {}
    for kind in forced.KINDS:
        for solver in ("osqp", "daqp"):
            some = [one for one in runs if (one.kind, one.solver) == (kind, solver)]
            least = {name: min(getattr(one, name) for one in some) for name in ("commanded", "measured")}
            contacts, near = sum(one.contacts for one in some), sum(one.near for one in some)
            figures = (f"{1e3 * value:.2f}" for value in least.values())
            rows.append((f"{kind}, {solver}", str(len(some)), str(near), *figures, str(contacts)))
            report[f"{kind}_{solver}"] = {"runs": len(some), "near": near, "contacts": contacts, **least}
    title = "Forced collisions: smallest distance minus safe distance [mm]"
    _table(console, title, ("", "runs", "near", "commanded", "simulated", "contacts"), rows)
    broken = [one for one in runs if one.commanded < _TOLERATED or one.measured < _TOLERATED or one.contacts]
    for one in broken:
        console.print(str(one), markup=False)
    return {"violations": len(broken), "broken": [asdict(one) for one in broken], **report}


def _stops(results: list[list[stops.Stop]], console: Console) -> dict[str, Any]:
    found = sorted((one for each in results for one in each), key=lambda one: stops.FAULTS.index(one.fault))
    rows = [
        (
            one.fault,
            f"{one.speed:.2f}",
            f"{one.joint_speed:.2f}",
            f"{one.time:.3f}",
            f"{1e3 * one.tool:.0f}",
            f"{one.joint:.3f}",
            one.state,
        )
        for one in found
    ]
    heads = ("fault", "tool m/s", "joint rad/s", "time s", "tool mm", "joint rad", "state then")
    _table(console, "Stops", heads, rows)
    return {"violations": 0, "stops": [asdict(one) for one in found]}


def _targets(results: list[list[targets.TargetRun]], console: Console) -> dict[str, Any]:
    found = [one for each in results for one in each]
    rows = [
        (
            f"{one.name}, {one.solver}",
            f"{one.velocity:.3f}",
            f"{one.manipulability:.4f}",
            f"{one.pulses:.1f}",
            f"{one.reversals:.1f}",
            f"{1e3 * one.ripple:.2f}",
            f"{1e3 * one.rest:.2f}",
            one.state,
        )
        for one in found
    ]
    heads = ("target", "velocity/limit", "manipulability", "pulses/s", "reversals/s", "ripple mrad/s", "rest", "state")
    _table(console, "Targets that cannot be reached", heads, rows)
    broken = [one for one in found if one.violations or one.reversals > targets.CHATTER or one.rest > targets.REST]
    return {"violations": len(broken), "targets": [asdict(one) for one in found]}
