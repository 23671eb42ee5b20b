"""The history of the tables, run by Alembic when an older database is opened."""
