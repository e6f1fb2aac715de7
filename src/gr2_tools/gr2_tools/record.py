"""The verb ``gr2 record``: options, and how it talks to the terminal."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from gr2_tools.recorder import RecordOptions
from gr2_tools.recorder_node import record_bag
from gr2_tools.rerun_export import RerunMissing, export_and_tell, load_rerun
from gr2_tools.terminal import print_line

DESCRIPTION = """Record the running stack into a bag (rosbag2, MCAP) that `gr2 replay` and `ros2 bag play` play.

Without topics, those of the stack are taken (images, joint states, chunks, commands, status, the simulator's truth);
topics that appear later are joined. Ctrl-C completes the bag: until then it is called NAME.partial. A recorder that
was killed leaves a NAME.partial that `gr2 replay` still reads, but for its last second.
"""

EXAMPLES = """examples:
  gr2 record                              the stack, into gr2_DATE-TIME
  gr2 record -o runs/pick --duration 60   one minute into runs/pick
  gr2 record /joint_states '/wbc*'        some topics; quote wildcards
  gr2 record --all --exclude '/*camera*'  everything visible but the cameras
  gr2 record -o runs/pick --rerun         runs/pick.rrd as well, for Rerun
  gr2 record --use-sim-time               times of the bag are simulation time (then replay with --clock)
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the verb, its description and examples."""
    parser.description = DESCRIPTION
    parser.epilog = EXAMPLES
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("topics", nargs="*", metavar="TOPIC", help="topics to record; shell wildcards allowed")
    parser.add_argument("-o", "--output", type=Path, help="bag folder to create (default: gr2_DATE-TIME)")
    parser.add_argument("-a", "--all", action="store_true", help="record every visible topic")
    parser.add_argument(
        "-x",
        "--exclude",
        action="append",
        default=[],
        metavar="PATTERN",
        help="leave a topic out (repeatable)",
    )
    parser.add_argument("-d", "--duration", type=float, default=0.0, metavar="S", help="stop after S seconds")
    parser.add_argument("--use-sim-time", action="store_true", help="log times from /clock instead of the system clock")
    parser.add_argument(
        "--compression", choices=("zstd", "none"), default="zstd", help="of the bag's chunks (default: zstd)"
    )
    parser.add_argument(
        "--status-period", type=float, default=5.0, metavar="S", help="seconds between status lines; 0: none"
    )
    parser.add_argument("--rerun", action="store_true", help="afterwards also convert it for Rerun (needs rerun-sdk)")


def run(args: argparse.Namespace) -> int:
    """Records as told.

    Returns:
        0 the bag is complete, 1 it could not be created or written, 2 an option is unusable.
    """
    options = RecordOptions(
        output=args.output,
        topics=args.topics,
        record_all=args.all,
        exclude=args.exclude,
        duration=args.duration,
        use_sim_time=args.use_sim_time,
        compression=args.compression,
        status_period=args.status_period,
    )
    if not args.rerun:
        return record_bag(options, _say, _warn)
    try:
        load_rerun()  # rather now than after an hour of recording
    except RerunMissing as missing:
        _warn(str(missing))
        return 2
    bag = options.output = options.folder()
    return record_bag(options, _say, _warn) or export_and_tell(bag, bag.with_name(f"{bag.name}.rrd"))


def _say(text: str) -> None:
    print_line(sys.stdout, f"record: {text}")


def _warn(text: str) -> None:
    print_line(sys.stderr, f"record: {text}")
