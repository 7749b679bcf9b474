"""What the fleet's functions share.

Imports go one way: entry points -> this package -> stdlib, boto3, Powertools. ``labels``,
``images``, ``pricing``, ``webhook`` and ``github`` are pure; ``transport`` is the only socket to
GitHub, ``aws`` and ``eventbus`` are the only ways to AWS, ``settings`` the only reader of the
environment. Nothing is imported here, so each function loads no more than it uses.
"""
