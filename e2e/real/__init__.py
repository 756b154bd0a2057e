"""Against a real kube-apiserver: what an embedded API only promises to be like."""
