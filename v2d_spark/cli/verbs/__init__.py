"""The verbs: each is one module here, named as it is, with a `command`; it is loaded when it is asked for."""
