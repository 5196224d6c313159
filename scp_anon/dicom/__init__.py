"""DICOM itself: dictionary, UIDs, the Part 10 file format and the encoding of data sets.

Knows nothing of de-identification, sockets or the spool; everything else may use it.
"""
