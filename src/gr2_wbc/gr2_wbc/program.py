"""What the executable ``wbc_node`` runs. The node's imports take half a second; Ctrl-C during them is no crash."""

from __future__ import annotations

import signal
import sys


def main() -> int:
    """Run the node; returns its exit status."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from gr2_wbc.wbc_node import main as run  # imported late, with the handler above in place

    return run()


if __name__ == "__main__":
    sys.exit(main())
