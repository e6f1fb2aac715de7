"""The verb ``gr2 replay``: options, and how it talks to the terminal."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from gr2_tools.errors import BagError
from gr2_tools.player_node import PlayOptions, parse_remap, play_bag
from gr2_tools.terminal import print_line

DESCRIPTION = """Play a bag onto live topics, at the pace it was recorded.

Plays rosbag2 bags of any storage (MCAP, sqlite3), folders and single files, also unfinished or cut-off ones as far as
they go. Publishers offer what was recorded (reliable or best effort, latched). At the end it says how punctual it
was. A bag of a simulation carries /clock: nodes with use_sim_time then follow the bag.
"""

EXAMPLES = """examples:
  gr2 replay runs/pick                        all of it
  gr2 replay runs/pick --rate 0.5 --loop      at half speed, over and over
  gr2 replay runs/pick --start 10 --duration 5
  gr2 replay runs/pick --topics '/*camera/*' /joint_states
  gr2 replay runs/pick --exclude /joint_commands --remap /instruction:=/recorded/instruction
  gr2 replay run.db3 --clock                  with a /clock of the times of recording
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the verb, its description and examples."""
    parser.description = DESCRIPTION
    parser.epilog = EXAMPLES
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("bag", type=Path, help="bag folder, or a .mcap or .db3 file")
    parser.add_argument("-r", "--rate", type=float, default=1.0, help="speed (default: 1)")
    parser.add_argument("-l", "--loop", action="store_true", help="start again at the end, until Ctrl-C")
    parser.add_argument("--start", type=float, default=0.0, metavar="S", help="begin S seconds into the bag")
    parser.add_argument("--duration", type=float, default=0.0, metavar="S", help="play S seconds of the bag")
    parser.add_argument("--topics", nargs="+", default=[], metavar="PATTERN", help="only these")
    parser.add_argument("-x", "--exclude", nargs="+", default=[], metavar="PATTERN", help="not these")
    parser.add_argument(
        "--clock",
        nargs="?",
        type=float,
        const=200.0,
        default=0.0,
        metavar="HZ",
        help="publish /clock from the times of recording (default rate: 200), instead of a recorded one",
    )
    parser.add_argument("--remap", nargs="+", default=[], metavar="A:=B", help="publish what was recorded on A on B")
    parser.add_argument(
        "--wait",
        type=float,
        default=1.0,
        metavar="S",
        help="time for listeners to find us before the first message; up to 3 s more while nobody does (default: 1)",
    )


def run(args: argparse.Namespace) -> int:
    """Plays as told.

    Returns:
        0 played, or stopped by Ctrl-C; 2 the bag or an option is unusable.
    """
    try:
        options = PlayOptions(
            bag=args.bag,
            rate=args.rate,
            loop=args.loop,
            start=args.start,
            duration=args.duration,
            topics=args.topics,
            exclude=args.exclude,
            clock_hz=args.clock,
            remap=parse_remap(args.remap),
            wait=args.wait,
        )
    except BagError as error:
        _say(str(error))
        return 2
    return play_bag(options, _say)


def _say(text: str) -> None:
    print_line(sys.stderr, f"replay: {text}")
