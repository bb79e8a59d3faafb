"""Findings: one validated table of nodules and candidates, and an adapter for every source.

Positions are read, never found. Detecting or segmenting nodules is out of scope: they come from
annotations, a reader's click, a detector's output or a mask (docs/points.md).
"""
