"""AWS on loopback in one process: ministack's services with moto's Step Functions engine.

Run it with ``python -m cdk_runner_fleet.local.emulator --port N --tasks-dir DIR``; it prints one
JSON line on stdout when it is ready. What is emulated is never "verified on AWS".

Every change to the packages underneath goes through :mod:`.upstream`, one module a subject:
``engine`` and ``expressions`` (Step Functions), ``integrations`` (its service calls), ``functions``
(Lambda), ``tasks`` (ECS), ``builds`` (CodeBuild), ``cloudformation``, ``access`` (IAM) and
``faults`` (failures on request). What a task starts is in ``launch``: the shipped entrypoint with
``runner`` in the place of actions/runner, or with ``buildah`` an image that has the ``stand_in``.
"""
