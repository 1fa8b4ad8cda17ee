"""The figures that users choose by, beside what they would pick instead, in one run, as ratios."""
