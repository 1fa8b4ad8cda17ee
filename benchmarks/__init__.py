"""The figures that users choose by: ours and the alternatives', in one run, as ratios."""
