"""How fast and how large the operator is, against the raw floor: the same objects by plain POSTs, measured in one run.

    PYTHONPATH=tests python -m bench [--quick]

Machines differ and are busy, so what counts is ratios. Each round takes two control planes, one after the other and
each alone on the machine. Both are new, with the charts, two pools of simulated nodes, and an operator that has made
the pools ready.

1. On the first the operator provisions. The clock runs from the first POST of a tenant until every tenant is Ready and
   the last of its objects stands. A witness with watches of its own sees that; the operator is not asked.
2. On the second the operator is stopped, and the objects that the witness saw are created by plain POSTs: the bodies
   encoded in advance, by the operator's own account, as many requests at once as the operator makes, in each namespace
   in the order in which the operator wrote them, one after the other. Tenants and statuses are left out: they are no
   part of the floor.

CPU time tells the same story on a machine that others use too: that of the control plane and of whoever writes, and not
that of the witness.

The rounds alternate, so that a machine that becomes slower or faster does so for both. In the last round, on the first
control plane and with all of that in place:

3. Children of all kinds, chosen at random, are gone at once: the operator is frozen while the API server deletes them,
   and the clock runs from its thaw until the witness has seen all of them again. For the floor the operator is stopped,
   the same children are deleted, and plain POSTs bring them back. This alternates. Told beside it, without a floor: the
   same while the operator sees each deletion, from the first DELETE on, and how long the deletions alone took.
4. The operator is stopped and started. It is steady when its caches are complete, nothing waits in its queue, and for
   a second it has neither asked the API server for anything nor reconciled anything; the second is not counted.

5. GPU reservations, one of each tenant, whose windows start at the same second, are accepted before. From that second
   on the clock runs until the administrator's watch tells of the raise of each quota. For the floor the operator is
   stopped, the same quotas are lowered, and plain PATCHes raise them.
6. A tenant's editor creates pods, one after the other: batches with the policies in force, and in turn batches of the
   same pods, which need no filling in, without them.

The peak of memory is the highest VmHWM of all these processes. At last the pure parts are timed by themselves, in CPU
time. Timings never fail the bench: it fails if something could not be measured.
"""
