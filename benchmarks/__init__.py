"""The project's figures: ratios and counts taken in one run, printed as tables."""
