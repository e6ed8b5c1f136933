"""A tenant as an adversary, on a real API server: what is tried, what stops it, and that nothing else would.

    PYTHONPATH=tests python -m security [--kubernetes 1.36]      all checks, as a table and as build/security.json

Three words are enough:

- A **wall** is what the API server keeps and asks: a policy, a quota, a role, a schema. It knows its own refusal in an
  answer, and can be taken down for a while.
- An **attempt** is what somebody does; it gives the API server's answers.
- A **check** has an attack, the wall that stops it, and a control: the same without what is wrong, which is accepted.

Every check runs three times: while the operator runs, after it was killed, and with its wall down, where the attack
must succeed; otherwise it proves nothing.
"""
