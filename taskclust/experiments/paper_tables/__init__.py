"""Counts of the data set and of parameters, to compare with the paper's Tables 3, 4 and 8."""
