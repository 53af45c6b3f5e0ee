"""Searches, personalised: what to do with a request, how to rewrite it, and the proxy in front.

Pure (bytes and values in, decisions and bytes out): ``target``, ``jsontext``, ``instructions``,
``queries``, ``body_keys``, ``classify``, ``script``, ``strength``, ``rewrite``, ``msearch``,
``answers``, ``sniff``, ``wire``. With I/O: ``tastes``, ``plan``, ``connection``, ``answer``,
``upstream``, ``proxy``. In words: ``docs/rewriting.md``.
"""
