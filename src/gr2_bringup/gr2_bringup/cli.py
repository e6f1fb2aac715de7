"""The ``gr2`` command: one parser, one module per verb."""

from __future__ import annotations

import argparse
import importlib
import os
import sys

from gr2_bringup import stack
from gr2_bringup.verbs import VERBS, top_level_help


def main(arguments: list[str] | None = None) -> int:
    """Run a verb.

    Returns:
        the exit code: 0 done, 1 not done, 2 a wrong call, 130 interrupted.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments or arguments[0] in {"-h", "--help", "help"}:
        print(top_level_help())
        return 0
    verbs = {verb.name: verb for verb in VERBS}
    if arguments[0] not in verbs:
        print(f"gr2: there is no verb '{arguments[0]}' (there are: {', '.join(verbs)})", file=sys.stderr)
        return 2
    verb = verbs[arguments[0]]
    module = importlib.import_module(verb.module)
    parser = argparse.ArgumentParser(
        prog=f"gr2 {verb.name}",
        description=module.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    module.add_arguments(parser)
    if getattr(module, "PASS_ON", False):
        args, rest = parser.parse_known_args(arguments[1:])
        args.rest = rest[1:] if rest[:1] == ["--"] else rest
    else:
        args = parser.parse_args(arguments[1:])
    for name, value in stack.environment(stack.share_folder()).items():
        os.environ.setdefault(name, value)  # before rclpy starts; a user's own settings win
    try:
        return int(module.run(args))
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        sys.stderr.close()  # whoever read our output has left
        return 1


if __name__ == "__main__":
    sys.exit(main())
