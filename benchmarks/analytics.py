"""What analytics finds and how often it is wrong, on data whose truth is known.

    python benchmarks/analytics.py PART [OPTION…]

Each part has a module in `analytics_parts` that says what it measures; `PART --help` lists its options.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

PARTS = sorted(path.stem for path in (Path(__file__).parent / "analytics_parts").glob("[a-z]*.py"))


def main(arguments: list[str]) -> int:
    """Run one part."""
    if not arguments or arguments[0] not in PARTS:
        print(f"expected one of {', '.join(PARTS)}", file=sys.stderr)
        return 2
    importlib.import_module(f"benchmarks.analytics_parts.{arguments[0]}").main(arguments[1:])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
