"""A bundle served over HTTP: JSON requests, and the Ray Serve deployment that answers them."""
