"""Trials of a long-lived sandbox: faults, forks, signals, freezes, hostile callbacks."""
