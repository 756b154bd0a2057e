"""How large running sandboxes are: what they need, what their nodes have left, and who agrees."""
