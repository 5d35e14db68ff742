"""A study's parameters, the account and the proposal of its records, and the files of its results."""
