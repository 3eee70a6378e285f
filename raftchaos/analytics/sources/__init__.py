"""Data of anybody, read row by row in bounded memory, with a word on what was done about its gaps and oddities."""
