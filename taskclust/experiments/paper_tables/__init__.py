"""The paper's Tables 3, 4 and 8: counts of the data set and of parameters."""
