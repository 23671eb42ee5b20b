"""Adapters of the store contract: `memory` (this process alone) and `sql` (SQLite in one file)."""
