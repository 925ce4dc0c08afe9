"""How the stack runs."""
