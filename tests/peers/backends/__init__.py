"""The rows of the faults table that need a real process: one module a row, each with `run(work, options)`."""
