"""The commands' work; `worker.cli` reads their flags."""
