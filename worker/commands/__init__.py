"""What the commands do; `worker.cli` only reads their flags."""
