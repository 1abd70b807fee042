"""One attempt at a job: admission, plan, delivery, outcome."""
