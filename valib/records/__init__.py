"""Student records in: reading and checking them, bundled data, what may be shown of schools."""
