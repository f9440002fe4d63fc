"""Training, evaluation and calibration of SimVG on rendered line sets."""
