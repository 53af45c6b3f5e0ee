"""Training: from a shop's products and events to a weights file that is better than its baselines.

``data`` reads and splits, ``vectors`` embeds, ``model`` holds the torch modules, ``learn`` trains
them, ``evaluate`` compares them with the baselines, ``export`` writes the file, ``report`` shows it.
"""
