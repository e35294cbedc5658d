"""What earlier studies are worth to a new one: configurations, weights, and how alike data are.

Everything is read from MLflow; configurations are mapped into the new study's space. Imports are
left to the modules, since ``requests`` is needed where PyTorch is not.
"""
