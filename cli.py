"""Launcher for a checkout: `python cli.py compress image.png`.  Installed, it is `bitsback`."""

from bitsback.cli.main import run

if __name__ == "__main__":
    run()
