"""SROS 2 for the stack: what each process may say and hear, made from the contracts; docs/security.md."""
