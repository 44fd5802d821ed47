"""Word confidences: their calibration, and how reliable they are."""
