"""Mutants: each guard of the rules, taken away once, and the test that must notice."""

from tests.rules import (
    mutants_applying,
    mutants_backends,
    mutants_commit,
    mutants_engine,
    mutants_methods,
    mutants_receiving,
    mutants_worker,
)
from tests.rules.mutant import Mutant

MUTANTS: tuple[Mutant, ...] = (
    *mutants_applying.MUTANTS,
    *mutants_commit.MUTANTS,
    *mutants_worker.MUTANTS,
    *mutants_engine.MUTANTS,
    *mutants_methods.MUTANTS,
    *mutants_receiving.MUTANTS,
    *mutants_backends.MUTANTS,
)
