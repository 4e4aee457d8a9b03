"""Tests, and under `support` the servers, clients and comparisons they share."""
