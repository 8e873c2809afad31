"""engines: what makes livecam's model and persona files.

livecam runs what engines makes and never imports it.
"""
