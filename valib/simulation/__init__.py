"""Worlds whose truth is known, the methods in them, and how well each did."""
