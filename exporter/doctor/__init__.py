"""`cluster-ai doctor`: looks at each target and says what makes monitoring fail or mislead, and how to mend it.

One module a system, as with the collectors; what they share (reaching a target, TLS, secrets, clocks, one collection)
has modules of its own. Every kind of finding is a `Kind` at the top of the module that finds it.
"""
