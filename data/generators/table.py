"""The generator adapters that can be named, built in or installed (entry-point group `paragone.generators`).

The demo's own models are not among them: they are objects, built from the weights that the demo trains.
"""

from paragone.data.registry import Registry

GENERATORS = Registry("generators", {})
