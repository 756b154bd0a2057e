"""Measurements, by hand or `make bench`: never part of the tests."""
