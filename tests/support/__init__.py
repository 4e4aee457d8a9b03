"""Shared by the tests: real databases, real server processes, clients that keep a journal."""
