"""Probes, verdicts, intervals, tables, charts, and a diagnosis of a finished run."""
