"""Durable workflows written as ordinary Python generators."""
