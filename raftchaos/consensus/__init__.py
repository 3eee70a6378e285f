"""The replicated log: PySyncObj, mended, behind one small class. DESIGN.md beside this file says why it is as it is."""
