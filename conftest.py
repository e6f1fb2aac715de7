"""For all tests: ROS domains that are not used again at once.

``domain_coordinator`` hands out the lowest free domain, which a test before may have left with participants that were
killed and are still announced, or a leaked context. Here each test gets the next one, beginning anywhere.
"""

import itertools
import random

_numbers = itertools.count(random.randrange(100))


class NextDomain:
    """Selector in the manner of ``domain_coordinator``: 1 ... 100, never the same twice in a row."""

    def __call__(self) -> int:
        return next(_numbers) % 100 + 1


try:
    from domain_coordinator import impl
except ImportError:  # the pure packages' tests run without ROS
    pass
else:
    impl.default_selector = NextDomain
