"""The formulas compiled: traced as they stand, and written out as text of C."""
