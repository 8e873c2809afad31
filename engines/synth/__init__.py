"""Rendered people who do not exist: identity, expression, light, camera, exact labels."""
