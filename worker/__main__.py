"""The entry of the process: `makima-tts` and `python -m worker`."""

from worker.first import begin


def main() -> None:
    """Run the command line."""
    begin()
    from worker.cli import main as run

    run()


if __name__ == "__main__":
    main()
