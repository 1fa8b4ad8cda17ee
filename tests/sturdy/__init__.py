"""What a sandbox may meet in a long life: faults, forks, signals, freezes, hostile callbacks."""
