"""Counting and logging: the bottom layer, so that every other one may count."""
