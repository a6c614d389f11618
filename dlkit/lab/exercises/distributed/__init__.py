"""Numbers that several ranks must agree on."""
