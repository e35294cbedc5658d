"""A bundle behind HTTP: requests in JSON, and the Ray Serve deployment that answers them."""
