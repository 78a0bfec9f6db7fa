"""Tests of the observers, one file each."""
