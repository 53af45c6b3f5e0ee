"""Searches, personalised: what to do with a request, how to rewrite it, and the proxy in front.

Pure (bytes and values in, decisions and bytes out): ``target``, ``jsontext``, ``instructions``,
``queries``, ``body_keys``, ``classify``, ``script``, ``strength``, ``rewrite``, ``msearch``,
``answers``, ``sniff``. With I/O: ``upstream``, ``proxy``. In words: ``docs/rewriting.md``.
"""
