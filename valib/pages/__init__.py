"""The book, a school's page, and their numbers, words and figures."""
