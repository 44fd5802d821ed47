"""One HTML page that compares two systems on a test set, and a folder of its tables."""
