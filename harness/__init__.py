"""The harness: what to measure, in which environment, in which turns, and where the results go."""
