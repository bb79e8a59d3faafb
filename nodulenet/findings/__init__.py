"""Findings: one validated table of nodules and candidates, and an adapter for every source."""
