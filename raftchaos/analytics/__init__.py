"""Numbers about events: recording, anomalies, trends, forecasts, relations. The only room that may import numpy.

Nothing is imported here, so that main can name what runs in the analyst process without loading it.
"""
