"""Handwritten digits: generate, read, train and convert, on scikit-learn's real digits and a small U-Net."""
