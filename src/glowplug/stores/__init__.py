"""Adapters of the store contract: `memory` (this process alone), `sql` (SQLite, PostgreSQL) and `mongo`."""
