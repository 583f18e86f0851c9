"""Declarations, one module for each way of writing a call."""
