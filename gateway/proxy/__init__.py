"""The data plane: requests in, the same requests out to their sandboxes, answers back."""
