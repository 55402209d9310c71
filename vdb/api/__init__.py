"""The HTTP door: routes, the envelope, and the only place that knows status codes."""
