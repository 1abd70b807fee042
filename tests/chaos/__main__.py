"""`python -m tests.chaos`: one run; exit status 1 on a violation, or when a run of full length broke too little."""

from __future__ import annotations

import argparse
import json
import logging
import random
import shutil
import sys
import tempfile
from pathlib import Path

from tests.chaos import evidence
from tests.chaos.drive import CASTS, Order, Outcome, drive
from tests.chaos.plan import DEFAULT_MINUTES, shortfall
from tests.chaos.setups import SETUPS, MissingError
from tests.chaos.table import figures, table


def main() -> int:
    options = _options()
    order = Order(options.seed, options.minutes, options.setup, options.engine, options.naive, not options.no_damage)
    print(f"seed {order.seed}, {order.minutes:g} minutes on {order.setup} with {order.engine}", flush=True)
    logging.disable(logging.WARNING)  # of the undisturbed worker: which jobs it refuses is in the findings
    folder = Path(tempfile.mkdtemp(prefix="makima-tts-chaos-"))
    try:
        outcome = drive(order, folder)
    except MissingError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("broken off", file=sys.stderr)
        return 130
    else:
        return _tell(outcome, order, folder, options.json)
    finally:
        if not (folder / "evidence").exists():
            shutil.rmtree(folder)


def _tell(outcome: Outcome, order: Order, folder: Path, json_file: Path | None) -> int:
    run = outcome.run
    print(table(run))
    if json_file is not None:
        json_file.write_text(json.dumps(figures(run), indent=2))
    if run.violations:
        hurt = evidence.write(folder / "evidence", outcome)
        print(f"the workers' logs, and the streams of {len(hurt)} sessions, are kept in {folder}")
    counts = {**run.ledger.faults, "jobs": len(run.ledger.jobs)}
    missed = shortfall(counts, order.minutes, order.has_damage)
    for sentence in missed:
        print(f"too little: {sentence}")
    return int(bool(run.violations) or (bool(missed) and order.minutes >= DEFAULT_MINUTES))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), help="by default any; it is printed")
    parser.add_argument("--minutes", type=float, default=DEFAULT_MINUTES, help="of breaking; default %(default)s")
    parser.add_argument("--setup", choices=sorted(SETUPS), default="valkey")
    parser.add_argument("--engine", choices=sorted(CASTS), default="preview")
    parser.add_argument("--naive", action="store_true", help="let the writers heed no fence: the run has to fail")
    parser.add_argument("--no-damage", action="store_true", help="leave what Redis holds, its clocks and rights alone")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
