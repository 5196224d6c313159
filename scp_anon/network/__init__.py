"""DICOM message exchange over TCP (PS3.7, PS3.8): the only place that knows sockets.

pynetdicom decodes and negotiates associations; the data phase after A-ASSOCIATE-AC is ours, and blocking: one thread
an association, one copy of each byte.
"""
