"""What the fleet's functions share, in rooms that import one way.

From the top floor down: ``reconciliation`` -> ``dispatch`` -> ``admission``, ``images``,
``explanation`` -> ``runner`` -> ``github`` -> ``job`` -> ``observability`` -> ``aws``,
``environment``. ``job`` is pure; ``github.transport`` is the only socket to GitHub, ``aws.client``
and ``aws.light_client`` are the only ways to AWS, ``environment`` is the only reader of the
environment. Nothing is imported here or in a room's ``__init__``, so each function loads no more
than it uses.
"""
