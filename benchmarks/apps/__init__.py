"""Apps of users, as the benchmarks need them; each a program: `python -m benchmarks.apps.NAME PORT ...`."""
