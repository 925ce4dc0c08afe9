"""What is worth a person's attention: the numbers at which it begins, shared by pages and rules."""
