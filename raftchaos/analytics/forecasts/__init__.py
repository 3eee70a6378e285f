"""Forecasts: transformation, orders, ARIMA, exponential smoothing, Fourier terms, their combination and its
intervals."""
