"""Agent roles as plain classes: each has a conversation, a memory and hard rules that code enforces."""
