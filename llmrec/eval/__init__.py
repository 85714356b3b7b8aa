"""Metrics, significance, comparison and reports.

``metrics`` and ``significance`` are plain functions on arrays; ``evaluate`` compares methods on the same targets;
``report`` prints the comparison or writes it as one HTML file.
"""
