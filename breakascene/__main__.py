"""Run the command line: `python -m breakascene`."""

from breakascene.cli.app import app

if __name__ == "__main__":
    app(prog_name="python -m breakascene")
